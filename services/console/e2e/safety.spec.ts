// Whatever a model, a tool or a person writes stays text. The page's guard also watches for requests to elsewhere and for scripts.

import type { Page } from "@playwright/test";
import { expect, expectSame, openSession, test } from "./support/test";

const EVIL = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>[x](javascript:window.pwned=1)`;

test.describe("hostile text", () => {
  test.use({ options: { recordings: ["hostile"], paceMs: 1 } });

  test("of a model stays text", async ({ page, node }) => {
    await node.open("s1", EVIL);
    await openSession(page, "s1");
    await node.say("s1", EVIL);
    await node.idle("s1");
    for (const fold of await page.locator(".fold").all()) await fold.click();
    await expect(page.getByRole("region", { name: "Sources" })).toBeVisible();
    await harmless(page);
    await expectSame(page, node, "s1");
    await page.getByRole("button", { name: "Debugging panel" }).click();
    await page.getByRole("button", { name: "Step back" }).click();
    await expect(page.getByRole("region", { name: "What changed" }).locator("li").first()).toBeVisible();
    await harmless(page);
  });
});

test.describe("hostile facts", () => {
  test.use({ options: { slots: 0 } });

  test("of workers and people stay text", async ({ page, node }) => {
    await node.open("s1");
    const file = (url: string, media_type: string) => ({ file: { url, media_type, name: EVIL } });
    await node.command("s1", {
      send: {
        parts: [
          { text: { text: EVIL } },
          file("javascript:window.pwned=1", "image/png"),
          file("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>", "image/svg+xml"),
          file("data:text/html,<script>window.pwned=1</script>", "text/html"),
          file("https://outside.invalid/x.png", "image/png"),
          file("//outside.invalid/x.png", "image/png"),
        ],
        answer: { model: EVIL },
      },
    });
    await openSession(page, "s1");
    const worker = await node.worker("s1");
    worker.say(
      { tool_call: { call: EVIL, name: EVIL, needs_approval: true } },
      { tool_arguments: { call: EVIL, text: `{"x": "${EVIL.replaceAll('"', "'")}"}` } },
      { tool_ready: { call: EVIL } },
      { citation: { url: "javascript:window.pwned=1", title: EVIL, quote: EVIL } },
    );
    await expect(page.getByRole("button", { name: "Allow" })).toBeVisible();
    await harmless(page);
    await page.getByRole("button", { name: "Allow" }).click();
    worker.say({ tool_result: { call: EVIL, content: EVIL, is_error: true } });
    worker.say({ failed: { code: EVIL, message: EVIL, retryable: false } });
    await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
    await node.command("s1", { set_title: { title: EVIL } });
    await expect(page.getByRole("heading", { level: 1 })).toHaveText(EVIL);
    await harmless(page);
    await expectSame(page, node, "s1");
  });
});

test("the page is served under a strict policy", async ({ browser, node }) => {
  const page = await browser.newPage();
  const response = await page.goto(node.url);
  const policy = (await response?.allHeaders())?.["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toMatch(/unsafe|\*|https?:/);
  // The browser holds the page to it.
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    try {
      script.textContent = "window.pwned = 1";
      document.body.append(script);
    } catch {
      // Trusted types forbid even this.
    }
    return "pwned" in window;
  });
  expect(ran).toBe(false);
  await page.close();
});

async function harmless(page: Page): Promise<void> {
  const found = await page.evaluate(() => {
    const bad = [
      ...document.querySelectorAll("#root :is(script, iframe, object, embed, style, base, form[action], img[src='x'])"),
    ].map((one) => one.outerHTML);
    const handlers = [...document.querySelectorAll("#root *")].filter((one) =>
      [...one.attributes].some((attribute) => attribute.name.startsWith("on")),
    );
    const links = [...document.querySelectorAll<HTMLAnchorElement>("#root a[href]")].map(
      (link) => new URL(link.href, location.href).protocol,
    );
    const images = [...document.querySelectorAll<HTMLImageElement>("#root img")].map((image) => image.src);
    return {
      bad,
      handlers: handlers.map((one) => one.outerHTML),
      links: links.filter((protocol) => !/^(https?|mailto):$/.test(protocol)),
      images: images.filter((source) => !/^data:image\/(png|jpeg|gif|webp|avif);/.test(source)),
      pwned: "pwned" in window,
    };
  });
  expect(found).toEqual({ bad: [], handlers: [], links: [], images: [], pwned: false });
}
