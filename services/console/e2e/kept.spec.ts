// What a person wrote is never lost: not by a reload, a lost network, a refusal or another session.

import type { Page } from "@playwright/test";
import { expect, expectSame, live, openSession, say, test } from "./support/test";

test.use({ options: { recordings: ["short"], paceMs: 0 } });

const field = (page: Page) => page.getByRole("textbox", { name: "Message" });

test("what is sent without a network arrives once, also when the page is reloaded", async ({ page, context, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await context.setOffline(true);
  await expect(page.locator(".pill")).toHaveText("You are offline");
  await say(page, "Said in a tunnel");
  await say(page, "And another");
  await expect(page.locator(".message.pending .said")).toHaveText(["Said in a tunnel", "And another"]);
  await context.setOffline(false);
  await page.reload();
  await live(page);
  await expect(page.locator(".message.user:not(.pending) .said")).toHaveText(["Said in a tunnel", "And another"]);
  await expect(page.locator(".message.pending")).toHaveCount(0);
  await page.reload();
  await live(page);
  const state = await expectSame(page, node, "s1");
  expect(state.messages.filter(({ role }) => role === "ROLE_USER")).toHaveLength(2);
});

test("what is half written outlasts a reload", async ({ page, node }) => {
  await node.open("s1");
  await openSession(page, "s1");
  await say(page, "A question");
  await node.idle("s1");
  await field(page).fill("Half a thou");
  await page.getByRole("button", { name: "Add an image by its address" }).click();
  await page.getByRole("textbox", { name: "Address of an image" }).fill("https://outside.invalid/cat.png");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Edit" }).first().click();
  await page.getByRole("textbox", { name: "Edit message" }).fill("A better quest");
  await page.reload();
  await live(page);
  await expect(field(page)).toHaveValue("Half a thou");
  await expect(page.getByRole("list", { name: "Images of this message" }).getByRole("listitem")).toHaveCount(1);
  await page.getByRole("button", { name: "Edit" }).first().click();
  await expect(page.getByRole("textbox", { name: "Edit message" })).toHaveValue("A better quest");
  await page.getByRole("textbox", { name: "Edit message" }).fill("");
  await expect(page.getByRole("textbox", { name: "Edit message" })).toHaveValue("");
});

test("what is refused stays in its conversation until its writer has decided", async ({ page, node }) => {
  const long = "too long ".repeat(300_000);
  await node.open("s1");
  await node.open("s2");
  await openSession(page, "s1");
  await say(page, long);
  // Gone on to something else before the node has answered.
  await page.goto("/#/s/s2");
  await live(page);
  await page.goto("/#/s/s1");
  await live(page);
  const refused = page.getByRole("article", { name: "You, not sent" });
  await expect(refused).toContainText("Not sent. That is too long for one message.");
  await page.reload();
  await live(page);
  await expect(refused).toContainText("Not sent.");
  await field(page).fill("Written since");
  await refused.getByRole("button", { name: "Send again" }).click();
  await expect(refused).toContainText("Not sent.");
  await refused.getByRole("button", { name: "Take it back" }).click();
  await expect(refused).toHaveCount(0);
  await expect(field(page)).toHaveValue(`${long.trim()}\n\nWritten since`);
  await say(page, "Short");
  await expect(page.locator(".message.user:not(.pending) .said")).toHaveText(["Short"]);
  await expectSame(page, node, "s1");
});
