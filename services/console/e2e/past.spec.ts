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

test("how this page came is listed, also over a connection that was open before", async ({ page, node }) => {
  for (let at = 0; at < 6; at++) await node.open(`s${at}`, `Talk ${at}`);
  await page.goto("/");
  const list = page.getByRole("region", { name: "Connections" }).getByRole("listitem");
  for (let at = 0; at < 6; at++) {
    await page.getByRole("link", { name: `Talk ${at}` }).click();
    await live(page);
    if (at === 0) await page.getByRole("button", { name: "Debugging panel" }).click();
    await expect(list).toHaveText([/This tab began with a snapshot/]);
  }
});

test("a reload resumes, also where the storage is full", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await page.getByRole("button", { name: "Debugging panel" }).click();
  const list = page.getByRole("region", { name: "Connections" }).getByRole("listitem");
  await node.say("s1", "question");
  await node.idle("s1");
  await expectSame(page, node, "s1");
  const reloaded = async () => {
    await page.reload();
    await live(page);
    await page.getByRole("button", { name: "Debugging panel" }).click();
    await expect(list).toHaveText([/This tab resumed: nothing missed, nothing twice/]);
  };
  await reloaded();
  // What is kept of other sessions fills it, to the last hundred characters.
  await page.evaluate(() => {
    const prefix = `fanfold:${location.origin}`;
    const others: string[] = [];
    for (let length = 400_000; length >= 100; ) {
      try {
        sessionStorage.setItem(`${prefix}/other${others.length}`, "x".repeat(length));
        others.push(`other${others.length}`);
        sessionStorage.setItem(prefix, JSON.stringify([...others, "s1"]));
      } catch {
        length = Math.floor(length / 4);
      }
    }
  });
  await node.say("s1", "another question");
  await node.idle("s1");
  await expectSame(page, node, "s1");
  await reloaded();
  await expectSame(page, node, "s1");
});

test.describe("of an answer that the test writes", () => {
  test.use({ options: { slots: 0 } });

  test("in the past no clock runs and nothing is said of now", async ({ page, node }) => {
    await page.clock.install();
    await node.open("s1", "A talk");
    await openSession(page, "s1");
    await node.say("s1", "question");
    const worker = await node.worker("s1");
    worker.say({ reasoning: { text: "Let me think." } });
    await expect(page.getByRole("button", { name: /Thinking/ })).toBeVisible();
    worker.text(Array.from({ length: 80 }, (_, at) => `Line ${at}`).join("\n\n"));
    await worker.complete();
    await node.idle("s1");
    await page.getByRole("button", { name: "Debugging panel" }).click();
    const { records } = await node.rest<{ records: { offset: string }[] }>("/v1/sessions/s1/events?limit=1000");
    let thinking = 0;
    for (const { offset } of records.slice(1)) {
      await page.goto(`/#/s/s1/at/${offset}`);
      await expect(page.getByText(`The session as it was at offset ${offset}.`)).toBeVisible();
      await expect(page.getByRole("region", { name: "The record" })).toContainText(`"offset": "${offset}"`);
      const talk = page.locator(".conversation");
      await expect(talk.locator(".dots, .thinking, [aria-busy=true], .markdown.open")).toHaveCount(0);
      const before = await talk.innerText();
      await page.clock.runFor(10_000);
      expect(await talk.innerText()).toBe(before);
      expect(before).not.toMatch(/Still writing|No worker has taken this/);
      if (/Thinking · \d/.test(before)) thinking += 1;
    }
    expect(thinking).toBeGreaterThan(0);
  });
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
