// Pictures of the main states, to be looked at. The one of the README is written to docs/.

import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import type { Node } from "./support/node";
import { answer, expect, live, openSession, say, test } from "./support/test";

const README = fileURLToPath(new URL("../../../docs/console.png", import.meta.url));

const take = async (page: Page, name: string) => {
  // The pointer rests on nothing.
  await page.mouse.move(0, 0);
  await page.waitForTimeout(400);
  await page.screenshot({ path: `e2e/out/screenshots/${name}.png` });
};

async function others(node: Node): Promise<void> {
  const titles = [
    "Reading list for the team",
    "Why does the index grow?",
    "Plan the move to the new cluster",
    "Notes of Thursday’s review",
  ];
  for (const [at, title] of titles.entries()) await node.open(`other-${at}`, title);
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme, options: { recordings: ["tour", "tools", "short"], paceMs: 8 } });

    test("first page and conversation", async ({ page, node }) => {
      await page.goto("/");
      await expect(page.getByRole("button", { name: "Start a session" })).toBeVisible();
      await take(page, `${colorScheme}-first`);
      await others(node);
      await node.open("s1", "How does a write-ahead log work?");
      await openSession(page, "s1");
      await say(page, "How does a write-ahead log work? Keep the code small.");
      await expect(page.locator(".code")).toBeVisible();
      await take(page, `${colorScheme}-streaming`);
      await node.idle("s1");
      await page.locator(".scroller").evaluate((scroller) => {
        scroller.scrollTop = 0;
      });
      await expect(page.locator(".hljs-keyword").first()).toBeVisible();
      await take(page, `${colorScheme}-answer`);
      await page.getByRole("button", { name: /^Thought/ }).click();
      await take(page, `${colorScheme}-reasoning`);
      await page.locator(".scroller").evaluate((scroller) => {
        scroller.scrollTop = scroller.scrollHeight;
      });
      await take(page, `${colorScheme}-table`);
      await say(page, "And the weather in Zürich?");
      await node.idle("s1");
      await page.getByRole("region", { name: "Tool get_forecast" }).getByRole("button", { expanded: false }).click();
      await take(page, `${colorScheme}-tool`);
      await page.getByRole("button", { name: "Regenerate" }).last().click();
      await node.idle("s1");
      await page.getByRole("button", { name: "Debugging panel" }).click();
      await page.getByRole("button", { name: "Cut the connection" }).click();
      await live(page);
      await page.getByRole("slider").fill("120");
      await expect(page.getByText("Back to now")).toBeVisible();
      await take(page, `${colorScheme}-debugging`);
      await page.goto("/#/");
      await take(page, `${colorScheme}-new`);
    });
  });

  test.describe(`${colorScheme} with a worker of the test's`, () => {
    test.use({ colorScheme, options: { slots: 0 } });

    test("approval, steering, sources, failure, lost connection", async ({ page, node }) => {
      await others(node);
      await node.open("s1", "Tidy the build folder");
      await openSession(page, "s1");
      await say(page, "Tidy the build folder, please.");
      await expect(page.getByText("No worker has taken this yet", { exact: false })).toBeVisible();
      await take(page, `${colorScheme}-waiting`);
      const worker = await node.worker("s1");
      worker.say({ reasoning: { text: "Old artefacts can go; the cache should stay." } });
      await take(page, `${colorScheme}-thinking`);
      worker.text("I found 214 files that nothing refers to any more. ");
      await say(page, "Leave the cache alone.");
      await expect(page.locator(".steering")).toBeVisible();
      worker
        .text("The cache stays. I need your permission for the rest:")
        .say({ tool_call: { call: "c1", name: "delete_files", needs_approval: true } })
        .say(
          { tool_arguments: { call: "c1", text: '{"pattern":"target/**/*.old","keep":["target/cache"]}' } },
          { tool_ready: { call: "c1" } },
        );
      await expect(page.getByRole("button", { name: "Allow" })).toBeVisible();
      await take(page, `${colorScheme}-approval`);
      await page.getByRole("button", { name: "Allow" }).click();
      worker
        .say({ tool_result: { call: "c1", content: '{"deleted":214,"freed_mb":1830}', is_error: false } })
        .text("Done: 214 files are gone, which frees 1.8 GB.")
        .say({
          citation: {
            url: "https://doc.rust-lang.org/cargo/guide/build-cache.html",
            title: "Build cache",
            quote: "Cargo stores the output of a build into the target directory.",
          },
        })
        .say({ citation: { source: "runbook.md", title: "Team runbook, page 4" } });
      await worker.complete();
      await expect(page.getByRole("region", { name: "Sources" })).toBeVisible();
      await take(page, `${colorScheme}-sources`);
      await say(page, "Again, for last month.");
      (await node.worker("s1"))
        .text("Let me see")
        .say({ failed: { code: "overloaded", message: "The model is overloaded.", retryable: false } });
      await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
      await take(page, `${colorScheme}-failed`);
      await node.kill();
      await expect(page.locator(".strip")).toBeVisible();
      await take(page, `${colorScheme}-lost`);
      await node.start();
      await page.goto("/#/s/nowhere");
      await expect(page.getByRole("heading", { name: "There is no such session." })).toBeVisible();
      await take(page, `${colorScheme}-missing`);
    });
  });

  test.describe(`${colorScheme} with people`, () => {
    test.use({ colorScheme, options: { recordings: ["short"], paceMs: 10, signed: true } });

    test("several people, and signing in", async ({ someone, node }) => {
      await node.open("s1", "Where shall we meet?");
      const [ada, ben, cleo] = [await someone("ada"), await someone("ben"), await someone("cleo")];
      for (const page of [ada, ben, cleo]) await openSession(page, "s1");
      await say(ben, "What is lost when I reload?");
      await node.idle("s1");
      await cleo.getByRole("textbox", { name: "Message" }).fill("So");
      await expect(ada.getByText("cleo is typing…")).toBeVisible();
      await take(ada, `${colorScheme}-people`);
      const stranger = await someone();
      await stranger.goto("/");
      await expect(stranger.getByLabel("Token")).toBeVisible();
      await take(stranger, `${colorScheme}-sign-in`);
    });
  });

  test.describe(`${colorScheme} on a phone`, () => {
    test.use({
      colorScheme,
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
      options: { recordings: ["tour", "tools"], paceMs: 0 },
    });

    test("the same on a phone", async ({ page, node }) => {
      await page.goto("/");
      await expect(page.getByRole("button", { name: "Start a session" })).toBeVisible();
      await take(page, `${colorScheme}-phone-first`);
      await others(node);
      await node.open("s1", "How does a write-ahead log work?");
      await openSession(page, "s1");
      await say(page, "How does it work?");
      await node.idle("s1");
      await expect(answer(page)).toContainText("manual");
      await take(page, `${colorScheme}-phone-answer`);
      await page.getByRole("button", { name: "Show the list of sessions" }).tap();
      await take(page, `${colorScheme}-phone-list`);
      await page.getByRole("button", { name: "Hide the list of sessions" }).first().tap();
      await page.getByRole("button", { name: "Debugging panel" }).tap();
      await take(page, `${colorScheme}-phone-debugging`);
    });
  });
}

test.describe("for the README", () => {
  test.use({ colorScheme: "light", viewport: { width: 1360, height: 800 }, options: { recordings: ["tour"], paceMs: 20 } });

  test("an answer while it streams, with the debugging panel", async ({ page, node }) => {
    await others(node);
    await node.open("s1", "How does a write-ahead log work?");
    await openSession(page, "s1");
    await page.getByRole("button", { name: "Debugging panel" }).click();
    await say(page, "How does a write-ahead log work?");
    await expect(answer(page)).toContainText("What a flush costs");
    await page.getByRole("button", { name: "Cut the connection" }).click();
    await live(page);
    await node.idle("s1");
    await page.getByRole("slider").fill("238");
    await expect(page.getByText("Back to now")).toBeVisible();
    await expect(page.getByRole("region", { name: "What changed" }).locator("li")).toBeVisible();
    await page.waitForTimeout(400);
    await page.screenshot({ path: README });
  });
});
