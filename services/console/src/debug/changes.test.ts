import type { Message, Run, SessionState } from "fanfold";
import { expect, it } from "vitest";
import { changesBetween } from "./changes";

const listOf = <T extends { id: string }>(items: readonly T[]) =>
  Object.assign([...items], { get: (id: string) => items.find((item) => item.id === id) });

function state(messages: readonly Message[], runs: readonly Run[] = [], title?: string): SessionState {
  const session = { status: "open", reason: "", openedAtMs: 0, ...(title ? { title } : {}) };
  return {
    session,
    messages: listOf(messages),
    runs: listOf(runs),
    openRuns: [],
    custom: new Map(),
    olderMessages: 0,
  } as unknown as SessionState;
}

const message = (...parts: Message["parts"]): Message => ({ id: "m1", role: "assistant", atMs: 0, parts });
const text = (text: string) => ({ kind: "text", text }) as const;
const run = (status: Run["status"]): Run => ({
  id: "r1",
  prompt: "m0",
  reply: "m1",
  status,
  attempts: 1,
  attemptsMax: 3,
  requestedAtMs: 0,
});

it("tells what grew by what it grew", () => {
  expect(changesBetween(state([message(text("one"))]), state([message(text("one two"))]))).toEqual([
    { what: "m1 part 0 (text) grew", to: "“ two”" },
  ]);
});

it("tells what is new, what is replaced and what began anew", () => {
  expect(changesBetween(state([]), state([message()]))).toEqual([{ what: "message m1 added", to: "assistant" }]);
  expect(changesBetween(state([message(text("one"))]), state([message(text("two"))]))).toMatchObject([
    { what: "m1 part 0 replaced" },
  ]);
  expect(changesBetween(state([message(text("one"))]), state([message()]))).toEqual([{ what: "message m1 begins anew" }]);
});

it("tells each field of a run and of the session", () => {
  expect(changesBetween(state([], [run("queued")], "A"), state([], [run("running")], "B"))).toEqual([
    { what: "session title", from: "A", to: "B" },
    { what: "run r1 status", from: "queued", to: "running" },
  ]);
});

it("tells nothing where nothing changed", () => {
  expect(changesBetween(state([message(text("x"))], [run("queued")]), state([message(text("x"))], [run("queued")]))).toEqual([]);
});
