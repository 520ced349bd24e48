/**
 * The JSON of docs/protocol.md, and how it becomes the types of `state.ts`. Fields may be missing, as a later or an earlier
 * release may leave them out; what isn't known is passed over.
 */

import { KeyedList, MessageList } from "./list.js";
import { isFinal } from "./state.js";
import type { CustomValue, FinishReason, Message, Part, Run, SessionInfo, SessionState, Thought } from "./state.js";

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
  return fields<SessionInfo>({
    title: wire["title"],
    user: wire["user"],
    status: word(wire["status"], "SESSION_STATUS_"),
    reason: wire["reason"] ?? "",
    openedAtMs: number(wire["opened_at_ms"]),
  });
}

export function readMessage(wire: Wire): Message {
  return fields<Message>({
    id: wire["id"],
    parent: wire["parent"],
    role: word(wire["role"], "ROLE_"),
    author: wire["author"],
    atMs: number(wire["at_ms"]),
    run: wire["run"],
    parts: ((wire["parts"] as Wire[] | undefined) ?? []).map(readPart),
  });
}

export function readPart(wire: Wire): Part {
  const [kind, part] = only(wire);
  switch (kind) {
    case "text":
    case "reasoning":
      return { kind, text: part["text"] ?? "" };
    case "tool_call":
      return fields<Extract<Part, { kind: "tool_call" }>>({
        kind,
        call: part["call"] ?? "",
        name: part["name"] ?? "",
        arguments: part["arguments"] ?? "",
        status: word(part["status"], "TOOL_STATUS_"),
        result: part["result"],
      });
    case "citation":
      return fields<Extract<Part, { kind: "citation" }>>({
        kind,
        url: part["url"],
        title: part["title"],
        source: part["source"],
        quote: part["quote"],
      });
    case "file":
      return fields<Extract<Part, { kind: "file" }>>({
        kind,
        url: part["url"] ?? "",
        mediaType: part["media_type"] ?? "",
        name: part["name"],
      });
    case "steering":
      return fields<Extract<Part, { kind: "steering" }>>({ kind, text: part["text"] ?? "", author: part["author"] });
    case "step":
      return { kind, reason: readFinish(part["reason"] ?? {}) };
    default:
      return { kind: "unknown" };
  }
}

export function readRun(wire: Wire): Run {
  const { usage, finish, error, waiting } = wire;
  return fields<Run>({
    id: wire["id"],
    prompt: wire["prompt"] ?? "",
    reply: wire["reply"] ?? "",
    status: word(wire["status"], "RUN_STATUS_"),
    model: wire["model"],
    attempt: wire["attempt"],
    attempts: wire["attempts"] ?? 0,
    attemptsMax: wire["attempts_max"] ?? 0,
    worker: wire["worker"],
    finish: finish && readFinish(finish),
    error: error && { code: error.code ?? "", message: error.message ?? "" },
    usage: usage && {
      input: number(usage.input),
      output: number(usage.output),
      reasoning: number(usage.reasoning),
      cachedInput: number(usage.cached_input),
    },
    waiting: waiting && { calls: waiting.calls ?? [], untilMs: number(waiting.until_ms) },
    requestedAtMs: number(wire["requested_at_ms"]),
    startedAtMs: time(wire["started_at_ms"]),
    endedAtMs: time(wire["ended_at_ms"]),
    thoughts: wire["thoughts"]?.parts?.map((thought: Wire) =>
      fields<Thought>({ part: thought["part"] ?? 0, fromMs: number(thought["from_ms"]), uptoMs: time(thought["upto_ms"]) }),
    ),
  });
}

export function readCustom(wire: Wire): CustomValue {
  return { contentType: wire["content_type"] ?? "", payload: wire["payload"] ?? "" };
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
  return { kind: word(wire["kind"], "FINISH_KIND_"), other: wire["other"] ?? "" };
}

export function number(value: string | number | undefined): number {
  return Number(value ?? 0);
}

function time(value: string | number | undefined | null): number | undefined {
  return value == null ? undefined : Number(value);
}

/** An object without the fields that are absent. */
export function fields<T>(all: { [K in keyof T]-?: T[K] | null | undefined }): T {
  for (const name in all) if (all[name] == null) delete all[name];
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
