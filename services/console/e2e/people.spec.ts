// Several people in one session, each of them signed in.

import { tokenOf } from "./support/node";
import { answer, expect, expectSame, listen, live, openSession, say, test } from "./support/test";

test.use({ options: { recordings: ["short"], paceMs: 40, signed: true } });

test("two people see each other, what they type, and the same answer", async ({ someone, node }) => {
  await node.open("s1");
  const [ada, ben] = [await someone("ada"), await someone("ben")];
  await openSession(ada, "s1");
  await openSession(ben, "s1");
  await expect(ada.getByRole("img", { name: "Also here: ben" })).toBeVisible();
  await expect(ben.getByRole("img", { name: "Also here: ada" })).toBeVisible();

  await ada.getByRole("textbox", { name: "Message" }).pressSequentially("What is lost?");
  await expect(ben.getByText("ada is typing…")).toBeVisible();
  await ada.keyboard.press("Enter");
  await expect(ben.getByText("ada is typing…")).toBeHidden();
  await expect(ben.locator(".message.user .author")).toHaveText("ada");
  await expect(ada.locator(".message.user .author")).toHaveCount(0);
  await expect(answer(ben)).toContainText("Nothing is lost");

  await node.idle("s1");
  await say(ben, "And for me?");
  await expect(ada.locator(".message.user .author")).toHaveText("ben");
  const state = await expectSame(ada, node, "s1");
  await expectSame(ben, node, "s1");
  expect(state.messages.map((message) => message.author ?? "")).toEqual(["ada", "", "ben", ""]);

  await ben.close();
  await expect(ada.getByRole("img", { name: "Also here: ben" })).toBeHidden({ timeout: 45_000 });
});

test("a screen reader is told what others say, and who is typing", async ({ someone, node }) => {
  await node.open("s1");
  const [ada, ben] = [await someone("ada"), await someone("ben")];
  const said = await listen(ada);
  await openSession(ada, "s1");
  await openSession(ben, "s1");
  await ben.getByRole("textbox", { name: "Message" }).pressSequentially("Is it so?");
  await expect(ada.getByRole("status").filter({ hasText: "ben is typing…" })).toHaveCount(1);
  await ben.keyboard.press("Enter");
  await expect.poll(said).toContain("ben says: Is it so?");
  await say(ada, "It is");
  await node.idle("s1");
  await expect.poll(said).toContainEqual(expect.stringContaining("The assistant says:"));
  expect((await said()).filter((text) => text.includes("It is"))).toEqual([]);
});

test("a new token of the same person changes nothing on the page", async ({ someone, node }) => {
  await node.open("s1", "A talk");
  const ada = await someone("ada");
  await openSession(ada, "s1");
  await ada.getByRole("textbox", { name: "Message" }).fill("Half a thou");
  // As another tab of this browser does it.
  await ada.evaluate((newValue) => {
    localStorage.setItem("fanfold.token", newValue);
    dispatchEvent(new StorageEvent("storage", { key: "fanfold.token", newValue }));
  }, JSON.stringify(tokenOf("ada")));
  await live(ada);
  await expect(ada.getByRole("textbox", { name: "Message" })).toHaveValue("Half a thou");
});

test("who isn't signed in is asked for a token, in words", async ({ page, node }) => {
  await node.open("s1", "A talk");
  await page.goto("/#/s/s1");
  await expect(page.getByRole("heading", { name: "This node asks who you are." })).toBeVisible();
  await page.getByLabel("Token").fill("nonsense");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "This node asks who you are." })).toBeVisible();
  await page.getByLabel("Token").fill(tokenOf("ada"));
  await page.getByRole("button", { name: "Sign in" }).click();
  await live(page);
  await expect(page.getByRole("heading", { name: "A talk" })).toBeVisible();
  await page.reload();
  await live(page);
  await expect(page.getByRole("link", { name: "A talk" })).not.toHaveAccessibleName(/something new/);
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("heading", { name: "This node asks who you are." })).toBeVisible();

  // Nothing of one person is left for the next one.
  expect(await page.evaluate(() => Object.keys(sessionStorage).filter((key) => key.startsWith("fanfold:")))).toEqual([]);
  await page.getByLabel("Token").fill(tokenOf("ada", "user", "elsewhere"));
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("No sessions yet.", { exact: false })).toBeVisible();
  await expect(page.getByText("A talk")).toHaveCount(0);
});
