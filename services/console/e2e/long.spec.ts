// Much text, many messages, little network.

import type { Page } from "@playwright/test";
import type { Node } from "./support/node";
import { Proxy } from "./support/proxy";
import { answer, expect, expectSame, expectSameEnd, live, openSession, say, shown, test } from "./support/test";
import { tokens } from "./support/texts";

const TOKENS = 10_000;
const MESSAGES = 2_000;
const PARTS = 3_000;

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

  test("reaches a reader whose network stood still in one piece, not in all those that were written", async ({
    browser,
    node,
    someone,
  }) => {
    await node.open("s1");
    const proxy = new Proxy(new URL(node.url));
    const context = await browser.newContext({ baseURL: await proxy.start() });
    const [page, control] = [await context.newPage(), await someone()];
    const [slow, fast] = [received(page), received(control)];
    await openSession(page, "s1");
    await openSession(control, "s1");
    await say(control, "go");
    const worker = await node.worker("s1");
    worker.text("It begins.\n\n");
    await expect(answer(page)).toContainText("It begins.");
    proxy.hold();
    // More than what systems hold back by themselves.
    for (let part = 0; part < PARTS; part++) {
      worker.text(`part ${part} ${"and so on ".repeat(20)}${part % 20 === 19 ? "\n\n" : ""}`);
      // The other reader keeps up, so that it has them one by one.
      if (part % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await worker.complete();
    await expectSameEnd(control, node, "s1");
    proxy.release();
    await expectSameEnd(page, node, "s1");
    expect(slow.frames).toBeLessThan(fast.frames);
    const written = (await node.state("s1")).messages.at(-1)?.parts.map((part) => String(part.text?.text)).join("").length ?? 0;
    expect(slow.longest, "a merged delta, or a snapshot, with most of it").toBeGreaterThan(written / 2);
    expect(fast.longest, "which the other reader didn't need").toBeLessThan(written / 2);
    await context.close();
    proxy.stop();
  });
});

// What comes over a page's sockets.
function received(page: Page): { frames: number; longest: number } {
  const all = { frames: 0, longest: 0 };
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      all.frames += 1;
      all.longest = Math.max(all.longest, payload.length);
    }),
  );
  return all;
}

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
    // The message that is being read, and how far below the edge it stands.
    const read = () =>
      scroller.evaluate((element) => {
        const edge = element.getBoundingClientRect().top;
        const all = [...element.querySelectorAll("[data-message]")].map((message) => ({
          id: message.getAttribute("data-message") ?? "",
          top: message.getBoundingClientRect().top - edge,
        }));
        return all.filter(({ top }) => top >= 0).sort((a, b) => a.top - b.top)[0];
      });
    await scroller.evaluate((element) => {
      element.scrollTop = 400;
    });
    const before = await read();
    await expect(page.locator(".older")).toHaveCount(0);
    const topOf = () =>
      scroller.evaluate(
        (element, id) =>
          (element.querySelector(`[data-message="${id}"]`)?.getBoundingClientRect().top ?? Number.NaN) -
          element.getBoundingClientRect().top,
        before?.id ?? "",
      );
    await expect.poll(async () => Math.abs((await topOf()) - (before?.top ?? 0))).toBeLessThan(3);
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
