/** A connection to a node, and what is asked of it. */

import { Backoff } from "./backoff.js";
import { Commands } from "./commands.js";
import { Connector } from "./connection.js";
import type { Host } from "./connection.js";
import { FanfoldError } from "./error.js";
import { errorOf } from "./link.js";
import type { Link } from "./link.js";
import { Listeners } from "./listeners.js";
import type {
  CommandOptions,
  Connection,
  FanfoldOptions,
  FollowOptions,
  Receipt,
  RecordPage,
  ListOptions,
  SessionPage,
  StateAt,
  WatchOptions,
} from "./options.js";
import { request } from "./rest.js";
import type { Environment } from "./rest.js";
import { LiveSession } from "./session.js";
import type { Surroundings } from "./session.js";
import { Keeper } from "./storage.js";
import { Tokens } from "./token.js";
import { readRow, SessionList } from "./watched.js";
import { readView } from "./wire.js";
import type { Wire, WireView } from "./wire.js";

/** The version of this package; a test compares the two. */
export const VERSION = "0.1.0";

const WINDOW = 100;

/**
 * One connection to a node, made when something is followed and made again whenever it is lost. Many sessions share it.
 */
export class Fanfold {
  readonly #environment: Environment;
  readonly #connector: Connector;
  readonly #commands: Commands;
  readonly #keeper: Keeper | undefined;
  readonly #surroundings: Surroundings;
  readonly #sessions = new Map<string, LiveSession>();
  readonly #listeners = new Listeners<void>();
  #list: SessionList | undefined;
  #closed = false;

  constructor(options: FanfoldOptions = {}) {
    const url = (options.url ?? globalThis.location?.origin)?.replace(/\/+$/, "");
    if (!url) throw new TypeError("the option `url` is needed where there is no page");
    this.#environment = {
      url,
      tokens: new Tokens(options.token),
      fetch: options.fetch ?? globalThis.fetch,
      WebSocket: options.WebSocket ?? globalThis.WebSocket,
      clientName: options.clientName ?? `fanfold-js/${VERSION}`,
      credentials: options.credentials ?? "same-origin",
      connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    };
    const backoff = () => new Backoff(options.backoffFirstMs ?? 500, options.backoffLongestMs ?? 30_000);
    const storage = options.storage === undefined ? tabStorage() : options.storage;
    this.#keeper = storage ? new Keeper(storage, `fanfold:${url}`) : undefined;
    this.#connector = new Connector(this.#environment, options.transports ?? ["websocket", "sse"], backoff(), this.#host());
    this.#surroundings = {
      backoff,
      connector: this.#connector,
      keeper: this.#keeper,
      command: (session, action, options) => this.command(session, action, options),
      released: (session) => {
        if (this.#sessions.get(session.id) === session) this.#sessions.delete(session.id);
      },
    };
    const settings = {
      backoff,
      commandsMax: options.commandsMax ?? 64,
      commandTimeoutMs: options.commandTimeoutMs ?? 120_000,
    };
    this.#commands = new Commands(settings, this.#connector);
  }

  /** How the connection is doing: the same object as long as nothing changes. */
  get connection(): Connection {
    return this.#connector.connection;
  }

  /** Calls `listener` after each change of {@link connection}. Gives what ends it. */
  readonly subscribe: (listener: () => void) => () => void = this.#listeners.add;

  /** Follows a session. The same object for the same session, until it is left as often as it was followed. */
  follow(session: string, options: FollowOptions = {}): LiveSession {
    if (this.#closed) throw new FanfoldError({ code: "stopped", session });
    let live = this.#sessions.get(session);
    if (!live || live.snapshot.closed) {
      live = new LiveSession(session, options.window ?? WINDOW, this.#surroundings);
      this.#sessions.set(session, live);
    }
    live.follow();
    return live;
  }

  /**
   * Has a command judged, on a session that need not be followed. `action` has one key, as in docs/protocol.md:
   * `{ set_title: { title: "Trains" } }`. Resolves when it is durable; rejects with {@link FanfoldError} when it was refused.
   * It is sent again over lost connections with the same id, and acts once.
   */
  async command(session: string, action: Readonly<Record<string, unknown>>, options: CommandOptions = {}): Promise<Receipt> {
    const { error, phase } = this.connection;
    const id = options.id ?? newId();
    if (error && phase === "stopped") throw new FanfoldError({ code: error.code, session, command: id });
    return this.#commands.submit(session, action, options, id);
  }

  /** Opens a session and tells its id. */
  async open(options: { session?: string; title?: string; user?: string; signal?: AbortSignal } = {}): Promise<string> {
    const { session = newId(), title, user, signal } = options;
    await this.#ask("sessions", { body: { session, title, user, id: newId() }, signal });
    return session;
  }

  /** What sessions there are, the last active first. */
  async list({ signal, sinceMs, untilMs, ...asked }: ListOptions = {}): Promise<SessionPage> {
    const query = { ...asked, since_ms: sinceMs, until_ms: untilMs };
    const { sessions = [], next_page: nextPage } = await this.#ask("sessions", { query, signal });
    return { sessions: (sessions as Wire[]).map(readRow), ...(nextPage && { nextPage }) };
  }

  /** Watches the newest sessions and what becomes of them. One list at a time: another ends the one before with `stopped`. */
  watch(options: WatchOptions = {}): SessionList {
    if (this.#closed) throw new FanfoldError({ code: "stopped" });
    this.#watched?.stopped();
    this.#list = new SessionList(options, this.#surroundings);
    this.#list.again();
    this.#connector.update();
    return this.#list;
  }

  /** The state now, or at an offset of the past. `window`: the newest messages, 100 unless said. */
  async state(
    session: string,
    options: { at?: string | number; atLeast?: string; window?: number; signal?: AbortSignal } = {},
  ): Promise<StateAt> {
    const { at, atLeast, window, signal } = options;
    const body = await this.#ask(`sessions/${encodeURIComponent(session)}`, { query: { at, at_least: atLeast, window }, signal });
    const state = readView((body["view"] ?? {}) as WireView, body["older_messages"] ?? 0);
    return { state, cursor: body["cursor"], offset: body["offset"] ?? "0" };
  }

  /** Stored records after an offset, oldest first. `limit`: 100 unless said, at most 1000. */
  async events(
    session: string,
    options: { after?: string | number; upto?: string | number; limit?: number; signal?: AbortSignal } = {},
  ): Promise<RecordPage> {
    const { after, upto, limit, signal } = options;
    const path = `sessions/${encodeURIComponent(session)}/events`;
    const { records = [], end = false } = await this.#ask(path, { query: { after, upto, limit }, signal });
    return { records, end };
  }

  /** Drops the connection, if there is one, and makes another one now: after a sign-in, or when a person asks for it. */
  reconnect(): void {
    if (this.#closed) return;
    for (const session of this.#sessions.values()) session.revive();
    this.#list?.revive();
    this.#connector.reconnect();
  }

  /** Brings a new token to the node now, over the connection that there is. */
  refreshToken(): Promise<void> {
    return this.#connector.refresh();
  }

  /** Removes what is kept of every session, as when another person signs in. */
  async forget(): Promise<void> {
    await this.#keeper?.forget();
  }

  /** Leaves every session and closes the connection, for good. Commands that wait are rejected with `stopped`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const session of [...this.#sessions.values()]) session.release();
    this.#connector.stop(new FanfoldError({ code: "stopped" }));
    this.#keeper?.close();
  }

  /** The list that is to be watched. */
  get #watched(): SessionList | undefined {
    return this.#list?.snapshot.error ? undefined : this.#list;
  }

  #ask(path: string, asked: Parameters<typeof request>[2]): Promise<Wire> {
    return request(this.#environment, path, asked);
  }

  #host(): Host {
    const active = (): LiveSession[] => [...this.#sessions.values()].filter((session) => session.active);
    return {
      needed: () => this.#commands.waiting > 0 || active().length > 0 || this.#watched !== undefined,
      readers: active,
      watched: () => this.#watched?.options,
      opened: (link) => {
        for (const session of active()) session.opened(link);
        this.#watched?.opened(link);
        this.#commands.flush();
      },
      frame: (kind, body, link) => this.#frame(kind, body, link),
      lost: () => {
        this.#commands.lost();
        for (const session of this.#sessions.values()) session.lost();
        this.#watched?.lost();
      },
      stopped: (error) => {
        this.#commands.stop(error.code);
        for (const session of this.#sessions.values()) session.stopped(error);
        this.#watched?.stopped(error);
      },
      changed: () => this.#listeners.tell(),
    };
  }

  #frame(kind: string, body: Wire, link: Link): void {
    if (kind === "ping") {
      for (const { session, cursor, head } of (body["positions"] ?? []) as { session: string; cursor: string; head: string }[]) {
        this.#sessions.get(session)?.position(cursor, head);
      }
    } else if (kind === "receipt") {
      this.#connector.progress();
      this.#commands.receipt(body);
    } else if (kind === "listed") {
      this.#connector.progress();
      this.#watched?.listed(body);
    } else if (body["list"]) {
      this.#watched?.failed(errorOf(body));
      this.#connector.update();
    } else if (kind === "error" && body["command"]) {
      this.#commands.error(body);
    } else {
      const session = body["session"] as string;
      const live = this.#sessions.get(session);
      if (live) live.frame(kind, body, link);
      // It was left while the link was being opened.
      else link.leave(session);
    }
  }
}

/** Follows a session over a connection of its own, which ends with it. With several sessions, share a {@link Fanfold}. */
export function follow(session: string, options: FanfoldOptions & FollowOptions = {}): LiveSession {
  return new Fanfold(options).follow(session, options);
}

/** A random id for a session, a message, a run or a command. */
export function newId(): string {
  // `randomUUID` is kept from pages that came without TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The tab's own storage. Asking for it is an error where a page may keep nothing. */
function tabStorage(): Storage | undefined {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}
