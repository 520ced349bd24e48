// The debugging panel: the past as the node folds it, and where connections came back.

import { expect, expectSame, live, openSession, shown, test } from "./support/test";

test.use({ options: { recordings: ["short"], paceMs: 5 } });

test("each offset shows the state of then, what the record says and what it changed", async ({ page, node }) => {
  await node.open("s1", "A talk");
  await node.say("s1", "question");
  await node.idle("s1");
  await openSession(page, "s1");
  await page.getByRole("button", { name: "Debugging panel" }).click();
  const panel = page.getByRole("complementary", { name: "Debugging panel" });
  await expect(panel.locator("output")).toContainText(/(\d+) of \1/);
  const { records } = await node.rest<{ records: { offset: string }[] }>("/v1/sessions/s1/events?limit=1000");

  for (let back = 1; back <= 4; back++) {
    await panel.getByRole("button", { name: "Step back" }).click();
    const at = records.at(-1 - back)?.offset ?? "";
    await expect(page.getByText(`The session as it was at offset ${at}.`)).toBeVisible();
    const { view } = await node.rest<{ view: { messages: { id: string; parts: { text?: { text: string } }[] }[] } }>(
      `/v1/sessions/s1?at=${at}`,
    );
    const texts = Object.fromEntries(
      view.messages.map(({ id, parts }) => [
        id,
        parts
          .map((part) => part.text?.text ?? "")
          .join("")
          .replace(/\s+/g, ""),
      ]),
    );
    await expect.poll(() => shown(page)).toEqual(texts);
    await expect(panel.getByRole("region", { name: "The record" })).toContainText(`"offset": "${at}"`);
  }
  await expect(panel.getByRole("region", { name: "What changed" })).toContainText("(text) grew");
  await panel.getByRole("slider").fill("1");
  await expect(panel.getByRole("region", { name: "What changed" })).toContainText("added");
  // A link to a moment of the past.
  await page.reload();
  await expect(page.getByText("The session as it was at offset 2.")).toBeVisible();
  await page.getByRole("button", { name: "Back to now" }).click();
  await expectSame(page, node, "s1");
});

test("a connection that is cut comes back where it was, and is listed", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await page.getByRole("button", { name: "Debugging panel" }).click();
  const list = page.getByRole("region", { name: "Connections" });
  await expect(list.getByRole("listitem")).toHaveCount(1);
  await node.say("s1", "question");
  await page.getByRole("button", { name: "Cut the connection" }).click();
  await expect(list.getByRole("listitem").first()).toContainText("This tab resumed: nothing missed, nothing twice");
  await live(page);
  await expectSame(page, node, "s1");
});
