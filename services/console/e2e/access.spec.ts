// For everybody: by keyboard alone, by axe's rules in light and dark, on a phone.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import { answer, expect, expectSame, listen, live, openSession, say, test, wayTo } from "./support/test";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

declare const axe: {
  run(options: object): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }>;
};

async function expectNoViolations(page: Page): Promise<void> {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) => ({ id, nodes: nodes.map((node) => `${node.html} ${node.failureSummary}`) }));
  });
  expect(violations).toEqual([]);
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`in ${colorScheme}`, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: "reduce" }, options: { recordings: ["tour", "tools"], paceMs: 0 } });

    test("axe finds nothing in a conversation and the debugging panel", async ({ page, node }) => {
      await node.open("s1", "A talk");
      await openSession(page, "s1");
      await say(page, "go");
      await node.idle("s1");
      await expect(answer(page)).toContainText("manual");
      await expectNoViolations(page);
      await page.locator(".scroller").evaluate((scroller) => {
        scroller.scrollTop = 0;
      });
      await page.getByRole("button", { name: /^Thought/ }).click();
      await expect(page.locator(".hljs-keyword").first()).toBeVisible();
      await expectNoViolations(page);
      await say(page, "tools");
      await expect(page.getByRole("region", { name: "Tool get_forecast" })).toBeVisible();
      await page.getByRole("button", { name: "Debugging panel" }).click();
      await page.getByRole("button", { name: "Step back" }).click();
      await expect(page.getByText("Back to now")).toBeVisible();
      await expectNoViolations(page);
    });

    test("axe finds nothing on the first page, in menus and where something is wrong", async ({ page, node }) => {
      await page.goto("/");
      await expect(page.getByRole("button", { name: "Start a session" })).toBeVisible();
      await expectNoViolations(page);
      await node.open("s1", "A talk");
      await openSession(page, "s1");
      await page.getByRole("button", { name: "More about this session" }).click();
      await expectNoViolations(page);
      await page.getByRole("menuitem", { name: "End the session" }).click();
      await expectNoViolations(page);
      await page.getByRole("button", { name: "Cancel" }).click();
      await node.kill();
      await expect(page.locator(".strip")).toBeVisible();
      await expectNoViolations(page);
      await node.start();
      await page.goto("/#/s/nowhere");
      await expect(page.getByRole("heading", { name: "There is no such session." })).toBeVisible();
      await expectNoViolations(page);
    });
  });
}

test.describe("with reduced motion", () => {
  test.use({ options: { slots: 0 } });

  test("nothing moves by itself, and everything still happens", async ({ page, node }) => {
    await node.open("s1", "A talk");
    await openSession(page, "s1");
    await say(page, "go");
    await expect(page.locator(".dots")).toBeVisible();
    expect(await moving(page), "without the wish something moves, or this test sees nothing").not.toEqual([]);
    await page.emulateMedia({ reducedMotion: "reduce" });
    await expect.poll(() => moving(page)).toEqual([]);
    const worker = await node.worker("s1");
    worker.say({ reasoning: { text: "Let me think." } });
    await expect(page.getByRole("button", { name: /Thinking/ })).toBeVisible();
    expect(await moving(page)).toEqual([]);
    worker.text(Array.from({ length: 80 }, (_, at) => `Line ${at}`).join("\n\n"));
    // It follows the end without gliding there.
    await expect(answer(page).getByText("Line 79")).toBeInViewport();
    expect(await moving(page)).toEqual([]);
    await worker.complete();
    await page.getByRole("button", { name: "Debugging panel" }).click();
    await page.getByRole("button", { name: "More about this session" }).click();
    expect(await moving(page)).toEqual([]);
  });
});

// What moves, or glides where it is sent.
function moving(page: Page): Promise<string[]> {
  return page.evaluate(() => [
    ...document
      .getAnimations()
      .filter(({ playState, effect }) => playState === "running" && Number(effect?.getComputedTiming().duration) > 1)
      .map((animation) => String((animation as CSSAnimation).animationName ?? "a transition")),
    ...[...document.querySelectorAll("*")]
      .filter((element) => getComputedStyle(element).scrollBehavior === "smooth")
      .map((element) => `${element.className} glides`),
  ]);
}

test.describe("by keyboard", () => {
  test.use({ options: { recordings: ["short"], paceMs: 5 } });

  test("a session is begun, read, changed and taken apart", async ({ page, node }) => {
    await page.goto("/");
    await tabTo(page, "Start a session");
    await page.keyboard.press("Enter");
    await expect(answer(page)).toContainText("Nothing is lost");
    const session = new URL(page.url()).hash.split("/")[2] ?? "";
    await node.idle(session);

    await tabTo(page, "Message");
    await page.keyboard.type("Second question");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("on two lines");
    await page.keyboard.press("Enter");
    await expect(page.locator(".message.user .said").last()).toHaveText(/Second question\non two lines/);
    await node.idle(session);

    await tabTo(page, "Regenerate");
    await page.keyboard.press("Enter");
    await expect(page.locator(".branches")).toContainText("2 / 2");
    await node.idle(session);
    await tabTo(page, "Previous version");
    await page.keyboard.press("Enter");
    await expect(page.locator(".branches")).toContainText("1 / 2");

    await tabTo(page, "More about this session");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("menuitem").first()).toBeFocused();
    await page.keyboard.press("ArrowDown");
    await expect(page.getByRole("menuitem").nth(1)).toBeFocused();
    await page.keyboard.press("Escape");
    await expect(page.getByRole("button", { name: "More about this session" })).toBeFocused();

    await tabTo(page, "Debugging panel");
    await page.keyboard.press("Enter");
    await tabTo(page, "Offset");
    await page.keyboard.press("Home");
    await expect(page.getByText("The session as it was at offset 1.")).toBeVisible();
    await page.keyboard.press("ArrowRight");
    await expect(page.getByText("The session as it was at offset 2.")).toBeVisible();
    await tabTo(page, "Now");
    await page.keyboard.press("Enter");
    await expect(page.getByText("The session as it was at offset")).toBeHidden();
    await page.keyboard.press("Control+k");
    await expect(page.getByRole("searchbox")).toBeFocused();
    const state = await node.state(session);
    const last = state.messages.filter(({ role }) => role === "ROLE_ASSISTANT").at(-2)?.id ?? "";
    await expectSame(page, node, session, wayTo(state, last).map(({ id }) => id));
  });

  test("what had been said before the page came is not read out", async ({ page, node }) => {
    const said = await listen(page);
    await node.open("s1");
    await node.say("s1", "before");
    await node.idle("s1");
    await openSession(page, "s1");
    await expect.poll(said).toContain("Live");
    await expect(answer(page)).toContainText("Nothing is lost");
    await say(page, "now");
    await expect.poll(said).toContainEqual(expect.stringContaining("The assistant says:"));
    expect((await said()).filter((text) => text.includes("The assistant says:"))).toHaveLength(1);
    await expectSame(page, node, "s1");
  });
});

test.describe("with an answer under way", () => {
  test.use({ options: { slots: 0 } });

  test("an answer is told to a screen reader when it begins and when it is there, not word by word", async ({ page, node }) => {
    const said = await listen(page);
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.text("Nothing ");
    await expect.poll(said).toContain("The assistant is answering.");
    for (const word of ["of ", "it ", "is ", "lost."]) {
      worker.text(word);
      await expect(answer(page)).toContainText(word.trim());
    }
    await worker.complete();
    await expect.poll(said).toContain("The assistant says: Nothing of it is lost.");
    expect((await said()).filter((text) => text.includes("assistant"))).toHaveLength(2);
    await expectSame(page, node, "s1");
  });

  test("a screen reader is told what a tool asks for", async ({ page, node }) => {
    const said = await listen(page);
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.say(...call("one"), ...call("two"));
    await expect.poll(async () => (await said()).filter((text) => text.includes("whether it may use delete_files"))).toHaveLength(2);
    await worker.complete();
  });

  test("the keys stay where they are used", async ({ page, node }) => {
    const message = page.getByRole("textbox", { name: "Message" });
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.say(...call("one"));
    const tool = page.getByRole("region", { name: "Tool delete_files" });
    await tool.getByRole("button", { name: "Allow" }).focus();
    await page.keyboard.press("Enter");
    await expect(tool.getByRole("button", { name: /delete_files/ })).toBeFocused();
    worker.text("Half of an ");
    await expect(answer(page)).toHaveText("Half of an");
    await page.getByRole("button", { name: "Stop" }).focus();
    await page.keyboard.press("Enter");
    await expect(page.getByText("Stopped. What was written stays.")).toBeVisible();
    await expect(message).toBeFocused();
    worker.kill();

    const edit = page.getByRole("button", { name: "Edit" }).first();
    await edit.focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("textbox", { name: "Edit message" })).toBeFocused();
    await page.keyboard.press("Escape");
    await expect(edit).toBeFocused();
    await page.keyboard.press("Enter");
    await page.getByRole("textbox", { name: "Edit message" }).fill("changed");
    await page.keyboard.press("Control+Enter");
    await expect(page.locator(".message.user .said")).toHaveText(["changed"]);
    await expect(message).toBeFocused();

    const second = await node.worker("s1");
    second.say({ failed: { code: "refused", message: "The model refused.", retryable: false } });
    await page.getByRole("button", { name: "Try again" }).focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("button", { name: "Try again" })).toHaveCount(0);
    await expect(message).toBeFocused();
    await (await node.worker("s1")).text("Done.").complete();
    await expectSame(page, node, "s1");
  });
});

const call = (call: string) => [
  { tool_call: { call, name: "delete_files", needs_approval: true } },
  { tool_arguments: { call, text: "{}" } },
  { tool_ready: { call } },
];

test.describe("on a phone", () => {
  test.use({
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
    options: { recordings: ["tour"], paceMs: 0 },
  });

  test("everything fits and can be reached", async ({ page, node }) => {
    await page.goto("/");
    await page.getByRole("button", { name: "Start a session" }).tap();
    await live(page);
    const session = new URL(page.url()).hash.split("/")[2] ?? "";
    await expectSame(page, node, session);
    const wide = () =>
      page.evaluate(() => [
        document.documentElement.scrollWidth - innerWidth,
        ...[...document.querySelectorAll(".scroller")].map((one) => one.scrollWidth - one.clientWidth),
      ]);
    expect(Math.max(...(await wide()))).toBeLessThanOrEqual(0);
    await page.getByRole("button", { name: "Show the list of sessions" }).tap();
    await expect(page.getByRole("searchbox")).toBeInViewport();
    await expectNoViolations(page);
    await page.getByRole("link", { name: "New session" }).tap();
    await expect(page.getByRole("searchbox")).not.toBeInViewport();
    await say(page, "From a phone");
    await expect(answer(page)).toContainText("write-ahead");
    await expectSame(page, node, new URL(page.url()).hash.split("/")[2] ?? "");
    await page.getByRole("button", { name: "Debugging panel" }).tap();
    await expect(page.getByRole("slider", { name: "Offset" })).toBeInViewport();
    expect(Math.max(...(await wide()))).toBeLessThanOrEqual(0);
    await expectNoViolations(page);
  });
});

async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      if (!(element instanceof HTMLElement)) return "";
      const label =
        element.getAttribute("aria-label") ?? (element as HTMLInputElement).labels?.[0]?.textContent ?? element.textContent;
      return label?.trim() ?? "";
    });
    if (focused === name) return;
  }
  throw new Error(`the Tab key doesn't lead to “${name}”`);
}
