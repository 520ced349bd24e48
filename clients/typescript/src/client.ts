/** A connection to a node, and what is asked of it. */

import type {
  CommandOptions,
  Connection,
  FanfoldOptions,
  FollowOptions,
  Receipt,
  RecordPage,
  SessionPage,
  StateAt,
} from "./options.js";
import type { LiveSession } from "./session.js";

/**
 * One connection to a node, made when something is followed and made again whenever it is lost. Many sessions share it.
 */
export class Fanfold {
  constructor(options: FanfoldOptions = {}) {
    void options;
  }

  /** How the connection is doing: the same object as long as nothing changes. */
  get connection(): Connection {
    throw new Error("not yet");
  }

  /** Calls `listener` after each change of {@link connection}. Gives what ends it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    throw new Error(`not yet ${String(listener)}`);
  };

  /** Follows a session. The same object for the same session, until it is left as often as it was followed. */
  follow(session: string, options: FollowOptions = {}): LiveSession {
    throw new Error(`not yet ${session} ${String(options)}`);
  }

  /**
   * Has a command judged, on a session that need not be followed. `action` has one key, as in docs/protocol.md:
   * `{ set_title: { title: "Trains" } }`. Resolves when it is durable; rejects with {@link FanfoldError} when it was refused.
   * It is sent again over lost connections with the same id, and acts once.
   */
  command(session: string, action: Readonly<Record<string, unknown>>, options: CommandOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${session} ${String(action)} ${String(options)}`);
  }

  /** Opens a session and tells its id. */
  open(options: { session?: string; title?: string; user?: string; signal?: AbortSignal } = {}): Promise<string> {
    throw new Error(`not yet ${String(options)}`);
  }

  /** What sessions there are, the last active first. `limit`: 50 unless said, at most 500. */
  list(options: { user?: string; page?: string; limit?: number; signal?: AbortSignal } = {}): Promise<SessionPage> {
    throw new Error(`not yet ${String(options)}`);
  }

  /** The state now, or at an offset of the past. `window`: the newest messages, 100 unless said. */
  state(
    session: string,
    options: { at?: string | number; atLeast?: string; window?: number; signal?: AbortSignal } = {},
  ): Promise<StateAt> {
    throw new Error(`not yet ${session} ${String(options)}`);
  }

  /** Stored records after an offset, oldest first. `limit`: 100 unless said, at most 1000. */
  events(
    session: string,
    options: { after?: string | number; upto?: string | number; limit?: number; signal?: AbortSignal } = {},
  ): Promise<RecordPage> {
    throw new Error(`not yet ${session} ${String(options)}`);
  }

  /** Tries now, also after `stopped`: after a sign-in, or when a person asks for it. */
  reconnect(): void {
    throw new Error("not yet");
  }

  /** Brings a new token to the node now, over the connection that there is. */
  refreshToken(): Promise<void> {
    throw new Error("not yet");
  }

  /** Removes what is kept of every session, as when another person signs in. */
  forget(): Promise<void> {
    throw new Error("not yet");
  }

  /** Leaves every session and closes the connection. Commands that wait are rejected with `stopped`. */
  close(): void {
    throw new Error("not yet");
  }
}

/** Follows a session over a connection of its own, which ends with it. With several sessions, share a {@link Fanfold}. */
export function follow(session: string, options: FanfoldOptions & FollowOptions = {}): LiveSession {
  return new Fanfold(options).follow(session, options);
}

/** A random id for a session, a message, a run or a command. */
export function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
