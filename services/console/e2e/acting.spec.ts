// What a reader can do to an answer: stop it, steer it, ask for another, change the question, allow a tool.

import { answer, expect, expectSame, live, newestPath, openSession, say, test } from "./support/test";

test.describe("with an answer under way", () => {
  test.use({ options: { slots: 0 } });

  test("stop keeps what was written", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.text("Half of an ");
    await expect(answer(page)).toHaveText("Half of an");
    await page.getByRole("button", { name: "Stop" }).click();
    await expect(page.getByText("Stopped. What was written stays.")).toBeVisible();
    worker.kill();
    await expect(page.getByRole("button", { name: "Stop" })).toBeHidden();
    const state = await expectSame(page, node, "s1");
    expect(state.runs[0]?.status).toBe("RUN_STATUS_CANCELLED");
  });

  test("steering reaches the run and is shown where it was said", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.text("Before. ");
    await expect(answer(page)).toHaveText("Before.");
    await say(page, "Be brief, please.");
    await expect(page.locator(".steering")).toContainText("You steered: Be brief, please.");
    worker.text("After.");
    await expect(answer(page)).toHaveText("After.");
    await page.getByRole("radio", { name: "Send after it" }).check();
    await say(page, "Next question");
    await expect(page.locator(".message.user .said")).toHaveText(["go", "Next question"]);
    await worker.complete();
    await (await node.worker("s1")).text("Done.").complete();
    const state = await expectSame(page, node, "s1");
    expect(state.messages[1]?.parts.map((part) => Object.keys(part)[0])).toEqual(["text", "steering", "text"]);
  });

  test("a tool call is shown, allowed or refused", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    const call = (call: string) => [
      { tool_call: { call, name: "delete_files", needs_approval: true } },
      { tool_arguments: { call, text: '{"path":' } },
      { tool_arguments: { call, text: '"/notes/x"}' } },
      { tool_ready: { call } },
    ];
    worker.say(...call("one"), ...call("two"));
    const tools = page.getByRole("region", { name: "Tool delete_files" });
    await expect(tools).toHaveCount(2);
    await expect(tools.first()).toContainText('"path": "/notes/x"');
    await tools.first().getByRole("textbox", { name: "Reason" }).fill("I know that folder");
    await tools.first().getByRole("button", { name: "Allow" }).click();
    await tools.last().getByRole("button", { name: "Refuse" }).click();
    await expect(tools.last()).toContainText("was refused");
    worker.say({ tool_result: { call: "one", content: '{"deleted":3}', is_error: false } });
    await expect(tools.first()).toContainText("done");
    await tools.first().getByRole("button", { expanded: false }).click();
    await expect(tools.first()).toContainText('"deleted": 3');
    await worker.complete();
    const state = await expectSame(page, node, "s1");
    expect(state.messages[1]?.parts.map((part) => part.tool_call?.status)).toEqual(["TOOL_STATUS_DONE", "TOOL_STATUS_REFUSED"]);
  });

  test("an answer that waits for a decision is put down, and taken up again after it", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const worker = await node.worker("s1");
    worker.say(
      { tool_call: { call: "one", name: "delete_files", needs_approval: true } },
      { tool_arguments: { call: "one", text: "{}" } },
      { tool_ready: { call: "one" } },
      { waiting: { calls: ["one"], until_ms: String(Date.now() + 3_600_000) } },
    );
    await expect(page.getByText(/It waits for a decision. Without one it counts as refused from .* on\./)).toBeVisible();
    worker.kill();
    await say(page, "Only the old ones.");
    await expect(page.locator(".steering")).toContainText("Only the old ones.");
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page.getByText("Decided. It goes on")).toBeVisible();
    await expect(page.getByText(/failed/)).toHaveCount(0);
    const second = await node.worker("s1");
    await second.text("Done.").complete();
    await expect(page.getByText("Decided.")).toHaveCount(0);
    const state = await expectSame(page, node, "s1");
    expect(state.runs.map((run) => run.status)).toEqual(["RUN_STATUS_COMPLETED"]);
  });

  test("reasoning, sources and images are shown as what they are", async ({ page, node }) => {
    await node.open("s1");
    const dot =
      "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const file = (url: string, name: string) => ({ file: { url, media_type: "image/png", name } });
    await node.command("s1", {
      send: { parts: [{ text: { text: "See" } }, file(dot, "a dot"), file("https://outside.invalid/a.png", "far")], answer: {} },
    });
    await openSession(page, "s1");
    await expect(page.getByRole("img", { name: "a dot" })).toBeVisible();
    await expect(page.getByRole("link", { name: "far outside.invalid" })).toHaveAttribute(
      "href",
      "https://outside.invalid/a.png",
    );

    const worker = await node.worker("s1");
    worker.say({ reasoning: { text: "Let me *think*." } });
    await expect(page.getByRole("button", { name: /Thinking/ })).toBeVisible();
    worker.text("It is so.").say({ citation: { url: "https://example.org/a", title: "A source", quote: "so it is" } });
    const thought = page.getByRole("button", { name: /Thought for/ });
    await expect(thought).toBeVisible();
    await expect(page.getByText("Let me think.")).toBeHidden();
    await thought.click();
    await expect(page.getByText("Let me think.")).toBeVisible();
    await expect(page.getByRole("region", { name: "Sources" }).getByRole("link")).toHaveAttribute(
      "href",
      "https://example.org/a",
    );
    await worker.complete();
    await expectSame(page, node, "s1");
  });

  test("images of a message are named by their addresses", async ({ page, node }) => {
    await page.goto("/");
    const ours = `${node.url}/favicon.svg`;
    const theirs = "https://outside.invalid/photos/cat.JPG?size=2";
    const button = page.getByRole("button", { name: "Add an image by its address" });
    const address = page.getByRole("textbox", { name: "Address of an image" });
    const add = page.getByRole("button", { name: "Add", exact: true });
    await button.click();
    await expect(address).toBeFocused();
    await address.fill("javascript:alert(1)");
    await expect(add).toBeDisabled();
    await page.keyboard.press("Escape");
    await expect(address).toBeHidden();
    for (const url of [ours, theirs, "https://outside.invalid/unwanted.png"]) {
      await button.click();
      await address.fill(url);
      await page.keyboard.press("Enter");
      await expect(page.getByRole("textbox", { name: "Message" })).toBeFocused();
    }
    const images = page.getByRole("list", { name: "Images of this message" }).getByRole("listitem");
    await expect(images).toHaveCount(3);
    await page.getByRole("button", { name: "Leave out https://outside.invalid/unwanted.png" }).click();
    await expect(images).toHaveCount(2);
    await say(page, "What is on these?");
    await live(page);
    await expect(images).toHaveCount(0);
    // What lies on another host is a link: to load it would tell that host who reads.
    await expect(page.getByRole("link", { name: "cat.JPG outside.invalid" })).toHaveAttribute("href", theirs);
    const session = new URL(page.url()).hash.split("/")[2] ?? "";
    const { messages } = await node.state(session);
    expect(messages[0]?.parts).toEqual([
      { text: { text: "What is on these?" } },
      { file: { url: ours, media_type: "image/svg+xml", name: "favicon.svg" } },
      { file: { url: theirs, media_type: "image/jpeg", name: "cat.JPG" } },
    ]);

    // An image needs no words.
    await button.click();
    await address.fill(theirs);
    await add.click();
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(async () => (await node.state(session)).messages.filter(({ role }) => role === "ROLE_USER").length).toBe(2);
    expect((await node.state(session)).messages.findLast(({ role }) => role === "ROLE_USER")?.parts).toHaveLength(1);

    // Another version keeps them, as long as they are wanted.
    for (const end of [1, 2]) {
      const worker = await node.worker(session);
      await worker.text(`Answer ${end}.`).complete();
    }
    await page.getByRole("button", { name: "Edit" }).first().click();
    const carried = page.getByRole("list", { name: "Images of this message" }).getByRole("listitem");
    await expect(carried).toHaveCount(2);
    await page.getByRole("button", { name: `Leave out ${theirs}` }).click();
    await page.getByRole("textbox", { name: "Edit message" }).fill("And on this one?");
    await page.keyboard.press("Control+Enter");
    await expect(page.locator(".message.user .said")).toHaveText(["And on this one?"]);
    await (await node.worker(session)).text("Answer 3.").complete();
    const state = await expectSame(page, node, session);
    expect(state.messages.findLast(({ role }) => role === "ROLE_USER")?.parts).toEqual([
      { text: { text: "And on this one?" } },
      { file: { url: ours, media_type: "image/svg+xml", name: "favicon.svg" } },
    ]);
  });

  test("a worker that dies is told of, and the answer begins anew", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "go");
    const first = await node.worker("s1");
    first.text("Lost words");
    await expect(answer(page)).toHaveText("Lost words");
    first.say({ failed: { code: "crashed", message: "The model crashed.", retryable: true } });
    await expect(page.getByText(/Attempt 1 of 3 failed \(The model crashed\)/)).toBeVisible();
    const second = await node.worker("s1");
    await second.text("Found words").complete();
    await expectSame(page, node, "s1");
    await say(page, "again");
    const third = await node.worker("s1");
    third.say({ failed: { code: "refused", message: "The model refused.", retryable: false } });
    await expect(page.getByText("The model refused.")).toBeVisible();
    await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
    await expectSame(page, node, "s1");
  });
});

test.describe("with answers that are done", () => {
  test.use({ options: { recordings: ["short"], paceMs: 0 } });

  test("another answer and another question are branches, and each can be gone back to", async ({ page, node }) => {
    await node.open("s1");
    await openSession(page, "s1");
    await say(page, "first question");
    await node.idle("s1");
    await page.getByRole("button", { name: "Regenerate" }).click();
    await expect(page.locator(".message.assistant .branches")).toContainText("2 / 2");
    let state = await expectSame(page, node, "s1");
    const [question, one, two] = state.messages.map((message) => message.id);

    await page.getByRole("button", { name: "Previous version" }).click();
    await expect(page.locator(".message.assistant .branches")).toContainText("1 / 2");
    await expectSame(page, node, "s1", [question ?? "", one ?? ""]);
    // What is said now follows the branch that is shown.
    await say(page, "on this branch");
    // The page shows it before the node has it.
    await expect.poll(async () => (await node.state("s1")).messages.length).toBe(5);
    state = await node.idle("s1");
    expect(state.messages.at(-2)?.parent).toBe(one);
    await expectSame(page, node, "s1");

    await page.locator(".message.user").first().hover();
    await page.getByRole("button", { name: "Edit" }).first().click();
    await page.getByRole("textbox", { name: "Edit message" }).fill("changed question");
    await page.keyboard.press("Control+Enter");
    await expect(page.locator(".message.user .said")).toHaveText(["changed question"]);
    state = await expectSame(page, node, "s1");
    expect(newestPath(state)).toHaveLength(2);
    await page.getByRole("button", { name: "Previous version" }).first().click();
    await expect(page.locator(".message.user .said")).toHaveText(["first question", "on this branch"]);

    // A link to a message leads to its branch.
    await page.goto(`/#/s/s1/m/${two}`);
    await expect(page.locator(`[data-message="${two}"]`)).toBeVisible();
    await expectSame(page, node, "s1", [question ?? "", two ?? ""]);
  });

  test("a session is renamed, searched for, ended and erased", async ({ page, node }) => {
    await node.open("s1", "Trains");
    await node.open("s2", "Ships");
    await openSession(page, "s1");
    await page.locator(".bar").hover();
    await page.getByRole("button", { name: "Rename the session" }).click();
    await page.getByRole("textbox", { name: "Title" }).fill("Night trains");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Night trains");
    const list = page.getByRole("navigation", { name: "Sessions" });
    await expect(list.getByRole("link", { name: /Night trains/ })).toBeVisible();

    await page.keyboard.press("Control+k");
    await page.keyboard.type("ship");
    await expect(list.getByRole("link", { name: /trains/ })).toBeHidden();
    await list.getByRole("link", { name: /Ships/ }).click();
    await live(page);
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Ships");

    await page.getByRole("button", { name: "More about this session" }).click();
    await page.getByRole("menuitem", { name: "End the session" }).click();
    await page.getByRole("button", { name: "End it" }).click();
    await expect(page.locator(".pill")).toHaveText("Ended");
    await expect(page.getByRole("textbox", { name: "Message" })).toBeDisabled();

    await page.goto("/#/s/s1");
    await live(page);
    await page.getByRole("button", { name: "More about this session" }).click();
    await page.getByRole("menuitem", { name: "Erase its content" }).click();
    await page.getByRole("button", { name: "Erase it" }).click();
    // The page leaves the session by itself once it is erased.
    await expect(page).not.toHaveURL(/s1/);
    await page.goto("/#/s/s1");
    await expect(page.getByText(/erased|removed this session/).first()).toBeVisible();
  });

  test("what happens elsewhere is marked as unread until it is looked at", async ({ page, node }) => {
    await node.open("s1", "Here");
    await node.open("s2", "Elsewhere");
    await openSession(page, "s1");
    const other = page.getByRole("link", { name: /Elsewhere/ });
    await expect(other).not.toHaveAccessibleName(/something new/);
    await node.say("s2", "news");
    await expect(page.getByRole("link", { name: /Elsewhere \(something new\)/ })).toBeVisible();
    await other.click();
    await live(page);
    await expectSame(page, node, "s2");
    await page.getByRole("link", { name: /Here/ }).click();
    await live(page);
    await expect(other).not.toHaveAccessibleName(/something new/);
  });

  test("a session that isn't there is told of in words", async ({ page }) => {
    await page.goto("/#/s/nowhere");
    await expect(page.getByRole("heading", { name: "There is no such session." })).toBeVisible();
    await expect(page.getByRole("button", { name: "Start a new session" })).toBeVisible();
  });
});
