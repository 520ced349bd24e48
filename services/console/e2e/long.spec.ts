// Much text, many messages, little network.

import type { Node } from "./support/node";
import { answer, expect, expectSame, live, openSession, say, shown, test } from "./support/test";
import { tokens } from "./support/texts";

const TOKENS = 10_000;
const MESSAGES = 2_000;

test.describe("an answer of 10,000 tokens", () => {
  test.use({ options: { slots: 0 } });

  test("is shown whole, and doesn't move who reads further up", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    const all = [...tokens(TOKENS)];
    for (const token of all.slice(0, 1000)) worker.text(token);
    await expect(answer(page)).toContainText("Part 959");
    // The end is where the reader is.
    const left = () =>
      page.locator(".scroller").evaluate((scroller) => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight);
    await expect.poll(left).toBeLessThan(50);

    await page.locator(".scroller").hover();
    await page.mouse.wheel(0, -1500);
    await expect(page.getByRole("button", { name: "Still writing" })).toBeVisible();
    const before = await page.locator(".scroller").evaluate((scroller) => scroller.scrollTop);
    for (const token of all.slice(1000)) worker.text(token);
    await worker.complete();
    await expect.poll(left).toBeGreaterThan(10_000);
    expect(await page.locator(".scroller").evaluate((scroller) => scroller.scrollTop)).toBe(before);
    await page.getByRole("button", { name: "To the end" }).click();
    await expect.poll(left).toBeLessThan(50);
    await expectSame(page, node, "s1");
  });

  test("reaches a reader with little network, in fewer frames", async ({ page, context, node }) => {
    let frames = 0;
    page.on("websocket", (socket) => socket.on("framereceived", () => frames++));
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    await cdp.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: 200,
      downloadThroughput: 20_000,
      uploadThroughput: 20_000,
    });
    for (const token of tokens(TOKENS)) worker.text(token);
    await worker.complete();
    await node.idle("s1");
    await expectSame(page, node, "s1");
    expect(frames).toBeLessThan(TOKENS / 2);
  });
});

test.describe("a session of 2,000 messages", () => {
  test.use({ options: { slots: 0 } });
  // They are written one after the other, and read once by scrolling through all of them.
  test.describe.configure({ timeout: 600_000 });

  test("is shown from its end, and to its beginning when one goes there", async ({ page, node }) => {
    await fill(node, "s1", MESSAGES);
    await openSession(page, "s1");
    await expect(page.locator(".scroller").getByText(`message ${MESSAGES - 1},`)).toBeVisible();
    // What isn't near the window isn't in the page.
    expect(await page.locator("[data-message]").count()).toBeLessThan(60);

    const scroller = page.locator(".scroller");
    const toBeginning = async () => {
      await scroller.evaluate((element) => {
        element.scrollTop = 0;
      });
      return scroller.getByText("message 0,").isVisible();
    };
    await expect.poll(toBeginning, { timeout: 60_000 }).toBe(true);
    await expect(page.locator(".older")).toHaveCount(0);
    await scroller.evaluate((element) => {
      element.scrollTop = element.scrollHeight;
    });
    await expect(page.locator(".scroller").getByText(`message ${MESSAGES - 1},`)).toBeVisible();
    await expectSame(page, node, "s1");
  });

  test("stays where it is read while older messages come in", async ({ page, node }) => {
    await fill(node, "s1", 400);
    await openSession(page, "s1");
    const scroller = page.locator(".scroller");
    await expect(scroller.getByText("message 399,")).toBeVisible();
    await scroller.evaluate((element) => {
      element.scrollTop = 400;
    });
    await expect(page.locator(".older")).toHaveCount(0);
    const texts = await shown(page);
    expect(Object.keys(texts).length).toBeGreaterThan(300);
  });

  test("is opened at any of its messages by a link", async ({ page, node }) => {
    await fill(node, "s1", 600);
    const message = (await node.state("s1")).messages[40]?.id ?? "";
    await page.goto(`/#/s/s1/m/${message}`);
    await live(page);
    await expect(page.locator(`[data-message="${message}"]`)).toBeInViewport();
  });
});

// Each follows the one before, as people talk.
async function fill(node: Node, session: string, count: number): Promise<void> {
  await node.open(session);
  for (let at = 0; at < count; at++) {
    const text = `message ${at}, with **some** words\n\nand a second line`;
    await node.command(session, { send: { parts: [{ text: { text } }], role: at % 2 === 0 ? "ROLE_USER" : "ROLE_ASSISTANT" } });
  }
}
