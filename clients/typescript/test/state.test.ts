import assert from "node:assert/strict";
import { test } from "node:test";

import { apply, Misfit } from "../src/apply.js";
import { KeyedList, MessageList } from "../src/list.js";
import { payloadText, textOf } from "../src/state.js";
import type { Message, SessionState } from "../src/state.js";
import { readMessage, readView } from "../src/wire.js";
import type { Wire } from "../src/wire.js";

const wire = (id: string, parent?: string): Wire => ({
  id,
  ...(parent && { parent }),
  role: "ROLE_USER",
  parts: [{ text: { text: id } }],
});

function session(count: number): SessionState {
  const messages = Array.from({ length: count }, (_, at) => wire(`m${at}`, at ? `m${at - 1}` : undefined));
  return readView({ session: { status: "SESSION_STATUS_OPEN" }, messages }, 0);
}

test("a list of any length holds what was put into it", () => {
  for (const length of [0, 1, 31, 32, 33, 1023, 1024, 1025, 32_769]) {
    const items = Array.from({ length }, (_, at) => ({ id: `i${at}`, value: at }));
    let grown = new KeyedList<{ id: string; value: number }>();
    const filled = new KeyedList<{ id: string; value: number }>().pushed(items);
    for (const item of items) grown = grown.pushed([item]);
    for (const list of [grown, filled]) {
      assert.equal(list.length, length);
      assert.deepEqual(list.slice(), items);
      assert.equal(list.at(-1), items.at(-1));
      assert.equal(list.at(length), undefined);
      for (const at of [0, 31, 32, 1023, 1024, length - 1].filter((at) => at >= 0 && at < length)) {
        const changed = list.replaced(at, { id: `i${at}`, value: -1 });
        assert.equal(changed.get(`i${at}`)?.value, -1);
        assert.equal(list.get(`i${at}`)?.value, at, "the list that it was made of stays as it was");
        assert.equal(changed.shape, list.shape);
      }
    }
  }
});

test("an earlier list doesn't know what a later one holds", () => {
  const before = session(3).messages;
  const after = before.pushed([readMessage(wire("new", "m1"))]);
  assert.equal(before.has("new"), false);
  assert.deepEqual(
    before.children("m1").map(({ id }) => id),
    ["m2"],
  );
  assert.deepEqual(
    after.children("m1").map(({ id }) => id),
    ["m2", "new"],
  );
  assert.notEqual(before.shape, after.shape);
});

test("messages form a tree", () => {
  const rows: [string, string?][] = [["a"], ["b", "a"], ["c", "b"], ["d", "a"], ["e", "d"], ["f", "gone"]];
  const list = new MessageList().pushed(rows.map((row) => readMessage(wire(...row))));
  const ids = (messages: Message[]) => messages.map(({ id }) => id).join("");
  assert.equal(ids(list.children()), "a");
  assert.equal(ids(list.children("a")), "bd");
  assert.equal(ids(list.children("gone")), "f", "of a parent outside the window too");
  assert.equal(ids(list.branch("c")), "abc");
  assert.equal(ids(list.branch("f")), "f");
  assert.equal(ids(list.branch("x")), "");
  assert.equal(list.leaf("a"), "e", "over the newest of each");
  assert.equal(list.leaf("b"), "c");
});

test("only what a delta changes is another object", () => {
  const before = session(100);
  const after = apply(before, [{ part_appended: { message: "m50", part: 0, at: 3, text: "!" } }]);
  before.messages.map((message, at) => assert.equal(message === after.messages.at(at), at !== 50, message.id));
  assert.equal(before.runs, after.runs);
  assert.equal(before.session, after.session);
  assert.equal(before.messages.shape, after.messages.shape);
  assert.equal(textOf(after.messages.get("m50") as Message), "m50!");
});

test("a snapshot that says the same makes no new objects", () => {
  const wires = [wire("a"), wire("b", "a")];
  const before = readView({ messages: wires, runs: [{ id: "r", usage: { input: "1" } }] }, 0);
  const changed = { ...wire("b", "a"), parts: [{ text: { text: "b" } }, { text: { text: "more" } }] };
  const after = readView({ messages: [wires[0] as Wire, changed], runs: [{ id: "r", usage: { input: "1" } }] }, 0, before);
  assert.equal(after.messages.get("a"), before.messages.get("a"));
  assert.equal(after.runs.get("r"), before.runs.get("r"));
  assert.notEqual(after.messages.get("b"), before.messages.get("b"));
  assert.equal(after.messages.get("b")?.parts[0], before.messages.get("b")?.parts[0]);
});

test("a message outside the window is passed over, one that is missing isn't", () => {
  const op = { part_appended: { message: "old", part: 0, at: 0, text: "x" } };
  const windowed = { ...session(3), olderMessages: 1 };
  assert.deepEqual(apply(windowed, [op]).messages.slice(), windowed.messages.slice());
  assert.throws(() => apply(session(3), [op]), Misfit);
});

test("a long answer is counted once, not at each token", () => {
  let state = session(1);
  let at = 2;
  for (let token = 0; token < 50_000; token++) {
    const text = token % 2 ? " ü" : " 👋";
    state = apply(state, [{ part_appended: { message: "m0", part: 0, at, text } }]);
    at += token % 2 ? 3 : 5;
  }
  const text = textOf(state.messages.at(0) as Message);
  assert.equal(new TextEncoder().encode(text).length, at);
});

test("what a later release adds changes nothing of what is known", () => {
  const message = { id: "m", role: "ROLE_ORACLE", parts: [{ hologram: { deep: [1] } }, {}, { text: { text: "x", later: 1 } }] };
  const state = readView({ messages: [message], later: {} } as Wire, 0);
  assert.deepEqual(state.messages.at(0)?.parts, [{ kind: "unknown" }, { kind: "unknown" }, { kind: "text", text: "x", later: 1 }]);
  assert.equal(state.messages.at(0)?.role, "oracle");
});

test("values of the application are bytes", () => {
  const custom = { note: { content_type: "text/plain", payload: "R3LDvGV6aQ==" } };
  const value = readView({ custom }, 0).custom.get("note");
  assert.equal(value && payloadText(value), "Grüezi");
});
