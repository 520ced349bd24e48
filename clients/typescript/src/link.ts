/** One connection that carries the frames of many sessions: the same over WebSocket and over server-sent events. */

import { FanfoldError, network } from "./error.js";
import type { Transport, WatchOptions } from "./options.js";
import type { Environment } from "./rest.js";
import type { Wire } from "./wire.js";

/** A session that is read over a link. */
export interface Reader {
  readonly id: string;
  /** The cursor to go on after; absent: a snapshot is wanted. */
  readonly wanted: string | undefined;
  /** The newest messages that a snapshot holds. */
  readonly window: number;
}

/** What a link tells the one who holds it: first that it is open. After `end` it tells nothing more. */
export interface LinkEvents {
  opened(link: Link): void;
  frame(kind: string, body: Wire): void;
  end(error: FanfoldError): void;
}

export interface Link {
  readonly transport: Transport;
  /** Whether there is nothing to be heard of the node, as nothing is read. */
  readonly idle: boolean;
  /** The list that was asked for when it was opened, as long as that is told. */
  readonly watched?: WatchOptions | undefined;
  /** Whether a session is read. */
  reads(session: string): boolean;
  /** Begins to read a session, or reads it anew. What was on its way before may still be told until it is `subscribed`. */
  read(reader: Reader): void;
  /** Stops reading it, if it is read. */
  leave(session: string): void;
  /** Sends a command, which is answered by a frame `receipt`, or by `error` with its id. */
  command(command: Wire): void;
  appear(session: string, doing: string): void;
  /** Watches the list of sessions, or no longer. */
  watch(asked: WatchOptions | undefined): void;
  /** Shows a new token. */
  refresh(token: string): void;
  /** Ends it; nothing more is told. */
  close(): void;
}

export interface Opening {
  readonly environment: Environment;
  readonly token: string;
  readonly events: LinkEvents;
  /** Gives up; the promise rejects then. */
  readonly signal: AbortSignal;
  /** The sessions that are to be read. Those that the link doesn't read once it is open are read by who opened it. */
  readonly readers: readonly Reader[];
  /** The list that is to be watched: the same holds for it. */
  readonly watched: WatchOptions | undefined;
}

/** Opens a link. Rejects with what kept it from being opened; `events.end` is not called then. */
export type OpenLink = (opening: Opening) => Promise<void>;

/** The error of a frame `error`. */
export function errorOf(body: Wire): FanfoldError {
  return new FanfoldError({ code: "internal", retryAfterMs: body["retry_after_ms"], ...body });
}

/** Nothing was answered within `connectTimeoutMs`. */
export function tooLong(): FanfoldError {
  return network("it took too long to connect");
}
