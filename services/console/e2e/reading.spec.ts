// Whatever happens to a reader, the page ends up with exactly what the node's state says.

import { answer, expect, expectSame, live, openSession, say, test } from "./support/test";

test.use({ options: { recordings: ["tour"], paceMs: 15 } });

test("an answer streams in, and is what the state says", async ({ page, node }) => {
  await page.goto("/");
  await say(page, "How does a write-ahead log work?");
  await expect(answer(page)).toContainText("write-ahead log");
  const session = new URL(page.url()).hash.split("/")[2] ?? "";
  await expect(page.getByText("still writing", { exact: false })).toHaveCount(0);
  await expectSame(page, node, session);
  await expect(page.locator("math[display=block] mfrac"), "formulas are set").toHaveCount(1);
  await expect(page.getByRole("heading", { name: "How does a write-ahead log work?" })).toBeVisible();
});

test("a reload in mid-answer goes on where it was", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await say(page, "go");
  await expect(answer(page)).toContainText("durable");
  await page.reload();
  await expect(answer(page)).toContainText("durable");
  await page.reload();
  await live(page);
  await expectSame(page, node, "s1");
});

test("a second tab shows the same, live", async ({ page, context, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  const second = await context.newPage();
  await openSession(second, "s1");
  await say(page, "go");
  await expect(answer(second)).toContainText("durable");
  await expectSame(page, node, "s1");
  await expectSame(second, node, "s1");
});

test("offline the page says so, and online it goes on", async ({ page, context, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await say(page, "go");
  await expect(answer(page)).toContainText("durable");
  await context.setOffline(true);
  await expect(page.locator(".pill")).toHaveText("You are offline");
  await node.idle("s1");
  await context.setOffline(false);
  await live(page);
  await expectSame(page, node, "s1");
});

test("a node that is killed and started again loses nothing", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await say(page, "go");
  await expect(answer(page)).toContainText("durable");
  await node.kill();
  await expect(page.locator(".pill")).toHaveText(/Connection lost|Reconnecting…/);
  await node.start();
  await live(page);
  await expectSame(page, node, "s1");
});

test("a node that drains is left and found again", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await say(page, "go");
  await expect(answer(page)).toContainText("durable");
  await node.drain();
  await expect(page.locator(".pill")).toHaveText("The node restarts");
  await node.start();
  await live(page);
  await expectSame(page, node, "s1");
});
