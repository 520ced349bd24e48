/**
 * The state of a session, as docs/protocol.md describes it, in the words of TypeScript: names in camel case, values of an enum
 * as the word after its prefix (`RUN_STATUS_RUNNING` is `"running"`), a `oneof` as a union told apart by `kind`, times as numbers.
 *
 * Everything here is immutable: a change makes new objects for what changed and keeps the others, so `===` says whether
 * something changed.
 */

import type { KeyedList, MessageList } from "./list.js";

/** The readable state of a session. */
export interface SessionState {
  readonly session: SessionInfo;
  /** In the order they were added; they form a tree by `parent`. May hold the newest only: see `olderMessages`. */
  readonly messages: MessageList;
  /** In the order they were asked for. May hold runs whose messages are not in `messages`. */
  readonly runs: KeyedList<Run>;
  /** The runs that haven't ended, in the order they were asked for. */
  readonly openRuns: readonly Run[];
  /** The application's newest value of each kind. */
  readonly custom: ReadonlyMap<string, CustomValue>;
  /** Older messages that the node has and `messages` hasn't: {@link LiveSession.loadOlder} brings them. */
  readonly olderMessages: number;
}

/** What concerns the session as a whole. */
export interface SessionInfo {
  readonly title?: string;
  /** Whose it is, as the application names people. */
  readonly user?: string;
  readonly status: SessionStatus;
  /** Why it was closed, once it is. */
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly openedAtMs: number;
}

/** `absent`: nobody has opened it. */
export type SessionStatus = "unspecified" | "absent" | "open" | "closed" | "erased";

export interface Message {
  readonly id: string;
  /** What it follows. Two messages with one parent are branches. */
  readonly parent?: string;
  readonly role: Role;
  /** Who wrote it, as the node's authenticator named them. */
  readonly author?: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** The run that writes or wrote it; its status says whether the text is final. */
  readonly run?: string;
  readonly parts: readonly Part[];
}

export type Role = "unspecified" | "system" | "user" | "assistant" | "tool";

/** A piece of a message. Show nothing for `unknown`: a later release wrote it. */
export type Part =
  TextPart | ReasoningPart | ToolCallPart | CitationPart | FilePart | SteeringPart | StepPart | { readonly kind: "unknown" };

/** Text, as Markdown where a model wrote it. */
export interface TextPart {
  readonly kind: "text";
  readonly text: string;
}

/** What the model thought before it answered. */
export interface ReasoningPart {
  readonly kind: "reasoning";
  readonly text: string;
}

export interface ToolCallPart {
  readonly kind: "tool_call";
  /** The model's id of the call, unique within the message. */
  readonly call: string;
  /** Which tool. */
  readonly name: string;
  /** JSON text, complete once the status is `ready`. */
  readonly arguments: string;
  readonly status: ToolStatus;
  /** What it gave back, or why a person refused it. */
  readonly result?: string;
}

/** `awaiting_approval`: a person must allow it, by {@link LiveSession.decideTool}. */
export type ToolStatus =
  "unspecified" | "writing" | "writing_for_approval" | "awaiting_approval" | "ready" | "refused" | "done" | "failed";

/** A source that an answer rests on. It doesn't interrupt the text around it. */
export interface CitationPart {
  readonly kind: "citation";
  readonly url?: string;
  readonly title?: string;
  /** Which document it is, where it has no address. */
  readonly source?: string;
  /** The words it rests on. */
  readonly quote?: string;
}

/** An image or file by reference: Fanfold keeps no files. */
export interface FilePart {
  readonly kind: "file";
  readonly url: string;
  /** `image/…` is shown as an image. */
  readonly mediaType: string;
  readonly name?: string;
}

/** What a person added while the run went on. */
export interface SteeringPart {
  readonly kind: "steering";
  readonly text: string;
  readonly author?: string;
}

/** The model stopped here and went on afterwards. */
export interface StepPart {
  readonly kind: "step";
  readonly reason: FinishReason;
}

export interface FinishReason {
  readonly kind: "unspecified" | "stop" | "length" | "tool_calls" | "content_filter" | "other";
  /** The provider's own word, with the kind `other`. */
  readonly other: string;
}

/** One generation, which writes one message. */
export interface Run {
  readonly id: string;
  /** The message it answers. */
  readonly prompt: string;
  /** The message it writes. */
  readonly reply: string;
  readonly status: RunStatus;
  /** The model wanted, then the model that answers. */
  readonly model?: string;
  /** The current or last attempt. */
  readonly attempt?: string;
  readonly attempts: number;
  readonly attemptsMax: number;
  /** Who works or last worked on it. */
  readonly worker?: string;
  /** Why the model stopped, once completed. */
  readonly finish?: FinishReason;
  /** Of the run once it was cancelled, failed or orphaned; of the last attempt while it is queued again. */
  readonly error?: RunError;
  /** What it has cost so far. */
  readonly usage?: Usage;
  /** What it waits for, or has waited for until it is taken up again. */
  readonly waiting?: Waiting;
  /** Milliseconds since 1970, as the two below. */
  readonly requestedAtMs: number;
  readonly startedAtMs?: number;
  readonly endedAtMs?: number;
  /** When it thought; absent: not at all. */
  readonly thoughts?: readonly Thought[];
}

/** What a run waits for. */
export interface Waiting {
  /** Calls of its reply that a person must allow: {@link LiveSession.decideTool}. */
  readonly calls: readonly string[];
  /** When they are refused for want of a decision, in ms since 1970. */
  readonly untilMs: number;
}

/** When one part of reasoning was written, in ms since 1970. */
export interface Thought {
  /** Which part of the reply. */
  readonly part: number;
  readonly fromMs: number;
  /** Absent while it goes on. */
  readonly uptoMs?: number;
}

/** Waiting is for a person, such as to allow a tool call. The last four are final: see {@link isFinal}. */
export type RunStatus = "unspecified" | "queued" | "running" | "waiting" | "completed" | "cancelled" | "failed" | "orphaned";

export interface RunError {
  /** A word for programs. */
  readonly code: string;
  /** A sentence for people. */
  readonly message: string;
}

/** Tokens, as the provider counts them. */
export interface Usage {
  /** Read, cached ones included. */
  readonly input: number;
  /** Written, reasoning included. */
  readonly output: number;
  readonly reasoning: number;
  readonly cachedInput: number;
}

/** A value of the application's. {@link payloadText} and {@link payloadBytes} read the payload. */
export interface CustomValue {
  /** How to read the payload, as a media type. */
  readonly contentType: string;
  /** Base64. */
  readonly payload: string;
}

/** Somebody who is there. */
export interface Present {
  /** As the node's authenticator named them. */
  readonly who: string;
  /** `present`, `typing` or another word. */
  readonly doing: string;
}

const FINAL: ReadonlySet<RunStatus> = new Set<RunStatus>(["completed", "cancelled", "failed", "orphaned"]);

/** Whether nothing more can become of the run. */
export function isFinal(run: Run): boolean {
  return FINAL.has(run.status);
}

/** The text of a message's text parts, joined. */
export function textOf(message: Message): string {
  return message.parts.reduce((text, part) => (part.kind === "text" ? text + part.text : text), "");
}

/** The bytes of a custom value. */
export function payloadBytes(value: CustomValue): Uint8Array {
  return Uint8Array.from(atob(value.payload), (character) => character.charCodeAt(0));
}

/** The payload of a custom value as UTF-8 text. */
export function payloadText(value: CustomValue): string {
  return new TextDecoder().decode(payloadBytes(value));
}
