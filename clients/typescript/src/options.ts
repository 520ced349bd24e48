/** What callers choose. */

import type { Outcome, Retry } from "./error.js";
import type { Message, Present, SessionState } from "./state.js";
import type { FanfoldError } from "./error.js";

/** Where states are kept across a reload: `sessionStorage` and `localStorage` are such stores, and may be given as they are. */
export interface StateStorage {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

/** What makes a WebSocket: the class of browsers and of Node from release 22 on, or of the package `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => Socket;

/** What is used of a WebSocket. */
export interface Socket {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface FanfoldOptions {
  /** The node's HTTP address, which may have a path. Default: the origin of the page. */
  readonly url?: string;
  /**
   * A JSON Web Token, or what brings one; default: none. A function is called for each connection and, where the token tells
   * its end (`exp`), again after four fifths of its time, to refresh it in band.
   */
  readonly token?: string | (() => string | Promise<string>);
  /** The client's name and version, for the node's log. Default: `fanfold-js/` and the version of this package. */
  readonly clientName?: string;
  /**
   * Where states are kept across a reload; `null`: nowhere. Default: `sessionStorage`, where there is one, which belongs to one
   * tab and goes with it. Who gives `localStorage` must remove what is kept when another person signs in: {@link Fanfold.forget}.
   */
  readonly storage?: StateStorage | null;
  /** `websocket` first and `sse` where it can't be had, in this order by default; one of them: only this. */
  readonly transports?: readonly Transport[];
  /** Default: the global one. Node before release 22 has none; without one, SSE is used. */
  readonly WebSocket?: WebSocketClass;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
  /** What a request sends of cookies; default: `same-origin`. A WebSocket follows its own rules. */
  readonly credentials?: RequestCredentials;
  /** How long a connection may take until it is answered, in ms. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** The first wait after a failure is at most this, in ms; it doubles with each failure in a row. Default: 500. */
  readonly backoffFirstMs?: number;
  /** No wait is longer than this, in ms. Default: 30,000. */
  readonly backoffLongestMs?: number;
  /** Commands that wait for an answer. Another one is refused with `queue_full`. Default: 64. */
  readonly commandsMax?: number;
  /** How long a command may wait for its answer, in ms, over all its retries: `timeout` then. 0: for ever. Default: 120,000. */
  readonly commandTimeoutMs?: number;
}

export type Transport = "websocket" | "sse";

export interface FollowOptions {
  /** The newest messages that a state begins with. Default: 100. */
  readonly window?: number;
}

/** How the connection to the node is doing. A new object whenever something changes. */
export interface Connection {
  /**
   * `idle` nothing is followed, so nothing is connected · `connecting` · `open` · `waiting` for the next try ·
   * `offline` the browser says that there is no network · `stopped` by an error that trying again doesn't help, or closed.
   */
  readonly phase: "idle" | "connecting" | "open" | "waiting" | "offline" | "stopped";
  /** Over what, while connecting or open. */
  readonly transport?: Transport;
  /** The node's name, once it has said it. */
  readonly node?: string;
  /** The node is reached but has lost its log: nothing new comes and nothing can be sent until it has it again. */
  readonly logAway?: boolean;
  /** Failures in a row. */
  readonly failures: number;
  /** When the next try is due, while waiting; in ms since 1970. */
  readonly retryAtMs?: number;
  /** Why the last connection ended, until one is open again. */
  readonly error?: FanfoldError;
}

/**
 * `connecting` nothing is known yet · `catching_up` there is a state, and what came after it is on the way · `live` ·
 * `lost` the state is as it was when the connection was lost · `closed` nothing more will come: see `closed` ·
 * `failed` see `error`.
 */
export type Phase = "connecting" | "catching_up" | "live" | "lost" | "closed" | "failed";

/** A session as of now. A new object whenever something changes, the same one otherwise. */
export interface Snapshot {
  readonly id: string;
  readonly phase: Phase;
  /** Empty until the first one came, while the phase is `connecting`. */
  readonly state: SessionState;
  /** Who is there. */
  readonly presence: readonly Present[];
  /** The offset that `state` is of; grows, may skip. `"0"` before the first. */
  readonly offset: string;
  /** The last offset that the node was heard to have. */
  readonly head: string;
  /** Why nothing more will come. */
  readonly closed?: Closed;
  /** Why it can't be read. */
  readonly error?: FanfoldError;
}

/**
 * `closed` and `erased` for good, `revoked` the caller may no longer read it, `left` by {@link LiveSession.leave} or
 * {@link Fanfold.close}.
 */
export interface Closed {
  readonly code: "closed" | "erased" | "revoked" | "left" | (string & {});
  /** What the closer said. */
  readonly reason: string;
}

/** What has happened to a session, as told to its listeners. */
export type SessionEvent =
  | { readonly kind: "state"; readonly by: "delta" | "snapshot" | "storage"; readonly changed: ReadonlySet<string> }
  | { readonly kind: "presence" }
  | {
      /** A connection was made, and this is how the session goes on over it. */
      readonly kind: "subscribed";
      readonly how: "resumed" | "snapshot" | "fresh";
      /** Why a snapshot follows instead of what was missed, such as `too_old`. */
      readonly resetReason?: string;
      readonly transport: Transport;
      readonly atMs: number;
    }
  | { readonly kind: "phase" };

/** What became of a command. */
export interface Receipt {
  readonly command: string;
  readonly session: string;
  /** Whether a command of this id was judged before; what it asked for was done then. */
  readonly repeated: boolean;
  /** A state that has seen this cursor has seen what the command did. */
  readonly cursor: string;
  readonly offset: string;
  /** Ids as they were given or minted; empty where the action has none. */
  readonly message: string;
  readonly run: string;
  readonly reply: string;
}

export interface CommandOptions {
  /** The command's id, 1 to 64 of `A-Z a-z 0-9 _ -`. Default: minted. The same id never acts twice. */
  readonly id?: string;
  /** Only if this is still the session's last cursor; `conflict` otherwise. */
  readonly ifLast?: string;
  /** Gives up waiting: `aborted`. What was sent may still be done. */
  readonly signal?: AbortSignal;
  /** Instead of the client's `commandTimeoutMs`. */
  readonly timeoutMs?: number;
}

/** What a message to be sent consists of. */
export type NewPart =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "file"; readonly url: string; readonly mediaType: string; readonly name?: string }
  | {
      readonly kind: "citation";
      readonly url?: string;
      readonly title?: string;
      readonly source?: string;
      readonly quote?: string;
    };

export interface SendOptions extends CommandOptions {
  /** What it follows; default: the newest message; `null`: none. A sibling of an earlier message makes a branch. */
  readonly parent?: string | null;
  readonly role?: Message["role"];
  /** Whether an answer is wanted, and how. Default: true. */
  readonly answer?: boolean | AnswerOptions;
  /** Its id; default: minted by the node and told in the receipt. */
  readonly message?: string;
}

export interface AnswerOptions {
  /** Which model is wanted. Default: the node's or the worker's choice. */
  readonly model?: string;
  /** Whether open runs are cancelled instead of waited for. */
  readonly interrupt?: boolean;
  /** The run's id, and that of the message which it writes; default: minted by the node. */
  readonly run?: string;
  readonly reply?: string;
}

/** A row of the list of sessions. It may be a moment behind the session. */
export interface SessionRow {
  readonly session: string;
  readonly title?: string;
  readonly user?: string;
  /** `open`, `closed` or `erased`. */
  readonly status: string;
  readonly openedAtMs: number;
  readonly activeAtMs: number;
  /** The last offset that this row knows of: who has seen it has seen everything. */
  readonly offset: string;
  /** Answers that are waited for or written. */
  readonly openRuns: number;
}

/** Which sessions to list; by default all that the caller may read. */
export interface ListOptions {
  /** Only those opened by this user. */
  readonly user?: string;
  /** Only those where each of these words begins a word of the title or of the id. */
  readonly query?: string;
  /** Only those last active at or after this, in ms since 1970 … */
  readonly sinceMs?: number;
  /** … and before this. */
  readonly untilMs?: number;
  /** {@link SessionPage.nextPage} of the page before. */
  readonly page?: string;
  /** 50 unless said, at most 500. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

export type WatchOptions = Pick<ListOptions, "user" | "limit">;

/** A list that is watched, as of now. A new object whenever something changes. */
export interface WatchedList {
  /**
   * `connecting` nothing is known yet, so that no rows doesn't mean that there are none · `live` · `lost` as it was when the
   * connection was lost, or when the node couldn't tell it for a while: it comes back by itself · `failed` see `error`.
   */
  readonly phase: "connecting" | "live" | "lost" | "failed";
  /** The last active first. Rows that stay as they were stay the same objects. */
  readonly rows: readonly SessionRow[];
  /** For {@link Fanfold.list}, what follows on the last row; absent: these are all. */
  readonly nextPage?: string | undefined;
  /** Why it isn't watched any more; `stopped`: it was left, or another one was begun. */
  readonly error?: FanfoldError | undefined;
}

export interface SessionPage {
  /** May be few, or none, where much was looked through for little. */
  readonly sessions: readonly SessionRow[];
  /** Where the next page begins; absent: this was the last. */
  readonly nextPage?: string;
}

/** A state at an offset, as REST tells it. */
export interface StateAt {
  readonly state: SessionState;
  readonly cursor: string;
  readonly offset: string;
}

/** A stored record, as `Record` of proto/fanfold/v1/event.proto in JSON. */
export interface StoredRecord {
  readonly offset: string;
  readonly stored_at_ms: string;
  readonly at_ms: string;
  readonly by?: string;
  readonly command?: string;
  /** One key each: the event's kind, such as `message_added`. */
  readonly events: readonly Readonly<Record<string, unknown>>[];
  readonly unreadable: string;
}

export interface RecordPage {
  readonly records: readonly StoredRecord[];
  /** Whether these are the last ones there are. */
  readonly end: boolean;
}

export type { Outcome, Retry };
