/**
 * The JSON of docs/protocol.md, and how it becomes the types of `state.ts`. Fields may be missing, as a later or an earlier
 * release may leave them out; what isn't known is passed over.
 */

import { KeyedList, MessageList } from "./list.js";
import { isFinal } from "./state.js";
import type { CustomValue, FinishReason, Message, Part, Run, SessionInfo, SessionState, } from "./state.js";

/** An object of the wire. What its fields are is checked where they are read. */
export type Wire = { readonly [field: string]: any };

export interface WireOp extends Wire {}

export interface WireView {
  readonly session?: Wire;
  readonly messages?: readonly Wire[];
  readonly runs?: readonly Wire[];
  readonly custom?: { readonly [kind: string]: Wire };
}

/** A snapshot's state. What is equal in `before` is taken from there, so that it stays the same object. */
export function readView(view: WireView, olderMessages: number, before?: SessionState): SessionState {
  const messages = (view.messages ?? []).map((wire) => shared(before?.messages.get(wire["id"]), readMessage(wire)));
  const runs = (view.runs ?? []).map((wire) => shared(before?.runs.get(wire["id"]), readRun(wire)));
  const custom = Object.entries(view.custom ?? {}).map(
    ([kind, value]) => [kind, shared(before?.custom.get(kind), readCustom(value))] as const,
  );
  return stateOf(shared(before?.session, readSession(view.session ?? {})), messages, runs, custom, olderMessages);
}

/** A state of what it consists of. */
export function stateOf(
  session: SessionInfo,
  messages: readonly Message[],
  runs: readonly Run[],
  custom: readonly (readonly [string, CustomValue])[],
  olderMessages: number,
): SessionState {
  return {
    session,
    messages: new MessageList().pushed(messages),
    runs: new KeyedList<Run>().pushed(runs),
    openRuns: runs.filter((run) => !isFinal(run)),
    custom: new Map(custom),
    olderMessages,
  };
}

/** What is shown before anything is known. Nothing is ever applied to it. */
export const EMPTY: SessionState = readView({}, 0);

export function readSession(wire: Wire): SessionInfo {
  return { ...fields<SessionInfo>(wire, { reason: "", openedAtMs: 0 }), status: word(wire["status"], "SESSION_STATUS_") };
}

export function readMessage(wire: Wire): Message {
  const parts = (wire["parts"] ?? []) as Wire[];
  return { ...fields<Message>(wire, { atMs: 0 }), role: word(wire["role"], "ROLE_"), parts: parts.map(readPart) };
}

/** What each kind of part has even if the wire leaves it out. */
const PARTS: Record<string, object> = {
  text: { text: "" },
  reasoning: { text: "" },
  tool_call: { call: "", name: "", arguments: "" },
  citation: {},
  file: { url: "", mediaType: "" },
  steering: { text: "" },
  step: {},
};

export function readPart(wire: Wire): Part {
  const [kind = "", value] = only(wire);
  const known = PARTS[kind];
  if (!known) return { kind: "unknown" };
  const part = { ...fields<object>(value, known), kind };
  if (kind === "tool_call") return { ...part, status: word(value["status"], "TOOL_STATUS_") } as Part;
  return (kind === "step" ? { kind, reason: readFinish(value["reason"] ?? {}) } : part) as Part;
}

export function readRun(wire: Wire): Run {
  const { finish, error, usage, waiting, thoughts } = wire;
  return {
    ...fields<Run>(wire, { prompt: "", reply: "", attempts: 0, attemptsMax: 0, requestedAtMs: 0 }),
    status: word(wire["status"], "RUN_STATUS_"),
    ...(finish && { finish: readFinish(finish) }),
    ...(error && { error: fields(error, { code: "", message: "" }) }),
    ...(usage && { usage: fields(usage, { input: 0, output: 0, reasoning: 0, cachedInput: 0 }, true) }),
    ...(waiting && { waiting: fields(waiting, { calls: [], untilMs: 0 }) }),
    ...(thoughts && { thoughts: thoughts.parts?.map((thought: Wire) => fields(thought, { part: 0, fromMs: 0 })) }),
  };
}

export function readCustom(wire: Wire): CustomValue {
  return fields(wire, { contentType: "", payload: "" });
}

/** The value of an enum, without its prefix. One of a later release comes through as its word. */
export function word<T extends string>(value: string | undefined, prefix: string): T {
  return (value ?? "unspecified").replace(prefix, "").toLowerCase() as T;
}

/** The one key of an object and what it holds. */
export function only(wire: Wire): [kind: string | undefined, value: Wire] {
  for (const kind in wire) return [kind, wire[kind]];
  return [undefined, {}];
}

function readFinish(wire: Wire): FinishReason {
  return { ...fields(wire, { other: "" }), kind: word(wire["kind"], "FINISH_KIND_") };
}

/**
 * What the wire says, by the names of this library, over what there always is. Times are numbers, which protobuf's JSON writes as
 * texts; with `numbers`, all is. What a later release adds comes through as it is.
 */
export function fields<T>(wire: Wire, always: Partial<T>, numbers?: boolean): T {
  const all: Record<string, unknown> = { ...always };
  for (const name in wire) {
    const value = wire[name];
    const own = name.replace(/_./g, (joint) => joint.slice(1).toUpperCase());
    if (value != null) all[own] = numbers || name.endsWith("_ms") ? Number(value) : value;
  }
  return all as T;
}

/** `next`, or `before` where both say the same; within `next`, whatever says the same as before is what it was. */
function shared<T>(before: unknown, next: T): T {
  if (typeof before !== "object" || typeof next !== "object" || !before || !next) return next;
  const [old, now] = [before as Record<string, unknown>, next as Record<string, unknown>];
  let same = Object.keys(old).length === Object.keys(now).length;
  for (const name in now) {
    now[name] = shared(old[name], now[name]);
    same &&= now[name] === old[name];
  }
  return same ? (before as T) : next;
}

const encoder = new TextEncoder();

/** How many bytes a text has in UTF-8. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}
