// The list of sessions: pushed by the node, searched in its store; and what the node tells of readers.

import { answer, expect, expectSame, live, openSession, say, test } from "./support/test";

test.use({ options: { slots: 0 } });

test("sessions begin, are renamed and answered elsewhere, and the list shows it by itself", async ({ page, node }) => {
  await node.open("s1", "Here");
  await openSession(page, "s1");
  let asked = 0;
  page.on("request", (request) => request.url().includes("/v1/sessions?") && asked++);
  await node.open("s2", "Elsewhere");
  const other = page.getByRole("navigation", { name: "Sessions" }).getByRole("link", { name: /Elsewhere/ });
  await expect(other).toBeVisible();
  await node.command("s2", { set_title: { title: "Elsewhere, renamed" } });
  await expect(other).toHaveAccessibleName(/Elsewhere, renamed/);
  await node.say("s2", "go");
  await expect(other.getByRole("img", { name: "being answered" })).toBeVisible();
  const worker = await node.worker("s2");
  worker.text("Done.");
  await worker.complete();
  await expect(other.getByRole("img", { name: "being answered" })).toBeHidden();
  expect(asked, "the list is pushed").toBe(0);
  await other.click();
  await live(page);
  await expectSame(page, node, "s2");
});

test("a search finds in the store what the page has never listed", async ({ page, node }) => {
  await node.open("s0", "A needle in the hay");
  for (let at = 1; at <= 55; at++) await node.open(`s${at}`, `Hay number ${at}`);
  await page.goto("/");
  const list = page.getByRole("navigation", { name: "Sessions" });
  await expect(list.getByRole("link", { name: /Hay number/ })).toHaveCount(50);
  await expect(list.getByRole("link", { name: /needle/ })).toHaveCount(0);
  await page.getByRole("searchbox").fill("NEED hay");
  await expect(list.getByRole("link", { name: /needle/ })).toBeVisible();
  await expect(list.getByRole("link", { name: /Hay number/ })).toHaveCount(0);
  await page.getByRole("searchbox").fill("nothing like it");
  await expect(list.getByText("No session has a title with these words.")).toBeVisible();
  await page.getByRole("searchbox").fill("");
  await list.getByRole("button", { name: "Show earlier sessions" }).click();
  await expect(list.getByRole("link", { name: /needle/ })).toBeVisible();
  await expect(list.getByRole("link", { name: /Hay number/ })).toHaveCount(55);
});

test("earlier sessions are kept up like the newest, also after the node was away", async ({ page, node }) => {
  for (let at = 0; at <= 55; at++) await node.open(`s${at}`, `Hay number ${at}`);
  await page.goto("/");
  const list = page.getByRole("navigation", { name: "Sessions" });
  const rows = list.getByRole("link", { name: /Hay number/ });
  await expect(rows).toHaveCount(50);
  await list.getByRole("button", { name: "Show earlier sessions" }).click();
  await expect(rows).toHaveCount(56);
  await expect(list.getByRole("button", { name: "Show earlier sessions" })).toHaveCount(0);
  await node.command("s2", { erase: {} });
  await expect(rows).toHaveCount(55);
  await node.kill();
  await node.start();
  // Early ones become active while the page is away: none may be missing between the newest and those that are still early.
  for (let at = 3; at < 33; at++) await node.command(`s${at}`, { set_title: { title: `Hay number ${at}, turned` } });
  await expect(list.getByRole("link", { name: /turned/ })).toHaveCount(30, { timeout: 45_000 });
  await expect(rows).toHaveCount(55);
  await expect(list.getByRole("link", { name: "Hay number 0" })).toBeVisible();
  await page.getByRole("searchbox").fill("number 1");
  await expect(rows).toHaveCount(11);
  await node.command("s1", { erase: {} });
  await expect(rows).toHaveCount(10);
});

test("the debugging panel shows live how readers come back to the node", async ({ page, node, someone }) => {
  await node.open("s1", "Read by many");
  await openSession(page, "s1");
  await page.getByRole("button", { name: "Debugging panel" }).click();
  const readers = page.getByRole("region", { name: "Readers" });
  await expect(readers).toContainText("1 now");
  await expect(readers.getByRole("listitem")).toHaveCount(1);
  const other = await someone();
  await openSession(other, "s1");
  await expect(readers).toContainText("2 now");
  await page.getByRole("button", { name: "Cut the connection" }).click();
  await live(page);
  await expect(readers.getByRole("listitem").first()).toContainText(/resumed from \d+ at \d+/);
  await other.close();
  await expect(readers).toContainText("1 now");
});

test.describe("reasoning", () => {
  test.use({ options: { recordings: ["tour"], paceMs: 3 } });

  test("is folded away with its time, the same for everybody and after a reload", async ({ page, node, someone }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    await node.idle("s1");
    const said = (page: Parameters<typeof openSession>[0]) => page.getByRole("button", { name: /^Thought for/ }).first();
    const time = await said(page).textContent();
    expect(time).toMatch(/Thought for \d/);
    await page.reload();
    await expect(answer(page)).toBeVisible();
    await expect(said(page)).toHaveText(time ?? "");
    const other = await someone();
    await openSession(other, "s1");
    await expect(said(other)).toHaveText(time ?? "");
  });
});
