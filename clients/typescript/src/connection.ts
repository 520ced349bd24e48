/**
 * Keeps one connection to the node as long as one is needed: makes it, watches it, and makes it again. What goes over it is left
 * to the {@link Host}.
 */

import type { Backoff } from "./backoff.js";
import { FanfoldError, network } from "./error.js";
import { errorOf, tooLong } from "./link.js";
import type { Link, LinkEvents, Reader } from "./link.js";
import { listen } from "./listeners.js";
import type { Connection, Transport, WatchOptions } from "./options.js";
import type { Environment } from "./rest.js";
import { openSse } from "./sse.js";
import { openWebSocket } from "./websocket.js";
import type { Wire } from "./wire.js";

/** Between two pings of a node, until it says what it is. */
const PING_MS = 15_000;

/** How long a connection that is needed by nobody is kept. */
const IDLE_MS = 1_000;

/** How long SSE goes first after it had to stand in for WebSocket. */
const FALLBACK_MS = 600_000;

/** After a sign that the network has changed: how long the connection has to show that it lives. */
const PROVE_MS = 2_000;

/** Whom the connection is for. */
export interface Host {
  /** Whether there is anything that needs a connection. */
  needed(): boolean;
  /** The sessions that are to be read. */
  readers(): Reader[];
  /** The list that is to be watched. */
  watched(): WatchOptions | undefined;
  /** A link was opened. It may read some of them already. */
  opened(link: Link): void;
  frame(kind: string, body: Wire, link: Link): void;
  /** The link is gone. */
  lost(): void;
  /** And there will be no other one. */
  stopped(error: FanfoldError): void;
  changed(): void;
}

export class Connector {
  readonly #environment: Environment;
  readonly #transports: readonly Transport[];
  readonly #backoff: Backoff;
  readonly #host: Host;
  /** A new object at each change. */
  connection: Connection = { phase: "idle", failures: 0 };
  link: Link | undefined;

  /** The attempt to open a link that is under way. */
  #attempt: AbortController | undefined;
  #retryTimer: Timer;
  #idleTimer: Timer;
  #watchTimer: Timer;
  #refreshTimer: Timer;
  #pingMs = PING_MS;
  #node: string | undefined;
  #heardAtMs = 0;
  #webSocketWorked = false;
  #sseFirstUntilMs = 0;

  constructor(environment: Environment, transports: readonly Transport[], backoff: Backoff, host: Host) {
    this.#environment = environment;
    this.#transports = transports;
    this.#backoff = backoff;
    this.#host = host;
  }

  /** To be called whenever what the host needs may have changed. */
  update(): void {
    const { phase } = this.connection;
    clearTimeout(this.#idleTimer);
    if (phase === "stopped") return;
    if (!this.#host.needed()) this.#idleTimer = setTimeout(() => this.#idle(), IDLE_MS);
    else if (phase === "idle") this.#dial();
  }

  /** Something new came over the connection: failures in a row are over. */
  progress(): void {
    if (!this.#backoff.failures) return;
    this.#backoff.reset();
    this.#set(this.connection.phase, this.connection);
  }

  /** Drops what there is and connects at once, whatever was before. */
  reconnect(): void {
    this.#drop();
    this.#set("idle");
    this.update();
  }

  /** Ends it for good, until {@link reconnect}. */
  stop(error: FanfoldError): void {
    this.#drop();
    this.#listen(false);
    this.#set("stopped", { error });
    this.#host.stopped(error);
  }

  #idle(): void {
    if (this.#host.needed()) return;
    this.#drop();
    this.#listen(false);
    this.#set("idle");
  }

  /** Leaves no link, attempt or timer behind. */
  #drop(): void {
    this.#attempt?.abort();
    this.#attempt = undefined;
    for (const timer of [this.#retryTimer, this.#idleTimer, this.#refreshTimer]) clearTimeout(timer);
    clearInterval(this.#watchTimer);
    const { link } = this;
    this.link = undefined;
    link?.close();
    if (link) this.#host.lost();
  }

  #dial(): void {
    clearTimeout(this.#retryTimer);
    this.#listen(true);
    const attempt = (this.#attempt = new AbortController());
    this.#open(attempt.signal).catch((error: FanfoldError) => {
      if (!attempt.signal.aborted) this.#lose(error);
    });
  }

  /** Opens a link over the first transport that works. */
  async #open(signal: AbortSignal): Promise<void> {
    this.#set("connecting", this.connection);
    const token = await this.#environment.tokens.next();
    let failure: unknown;
    for (const transport of this.#candidates()) {
      if (signal.aborted) break;
      try {
        await this.#openOver(transport, token, signal);
        if (transport === "websocket") this.#webSocketWorked = true;
        else if (failure) this.#sseFirstUntilMs = Date.now() + FALLBACK_MS;
        return;
      } catch (error) {
        failure = error;
        // A node that says no over one transport says no over the other.
        if (error instanceof FanfoldError && error.code !== "network") break;
      }
    }
    throw failure;
  }

  #opened(link: Link): void {
    this.link = link;
    this.#attempt = undefined;
    this.#heard();
    this.#watch();
    this.#refreshWhenDue();
    const node = this.#node;
    this.#set("open", { transport: link.transport, ...(node && { node }) });
    this.#host.opened(link);
  }

  /**
   * What to try, in order. WebSocket that can't be opened may be held up on the way: SSE is tried at once then, and tells why where
   * the node itself said no. Where WebSocket has worked before, the node is more likely down: SSE is tried every third time.
   */
  #candidates(): Transport[] {
    const usable = this.#transports.filter((transport) => transport === "sse" || this.#environment.WebSocket);
    if (usable.length < 2) return usable;
    if (Date.now() < this.#sseFirstUntilMs) return ["sse", "websocket"];
    return this.#webSocketWorked && this.#backoff.failures % 3 !== 2 ? usable.slice(0, 1) : usable;
  }

  async #openOver(transport: Transport, token: string, signal: AbortSignal): Promise<void> {
    this.#set("connecting", { ...this.connection, transport });
    const attempt = new AbortController();
    const giveUp = () => attempt.abort();
    signal.addEventListener("abort", giveUp);
    const timer = setTimeout(giveUp, this.#environment.connectTimeoutMs);
    let link: Link | undefined;
    const events: LinkEvents = {
      opened: (opened) => {
        link = opened;
        if (signal.aborted) link.close();
        else this.#opened(link);
      },
      frame: (kind, body) => this.#frame(kind, body, link),
      end: (error) => this.#lose(error),
    };
    try {
      const open = transport === "sse" ? openSse : openWebSocket;
      const [readers, watched] = [this.#host.readers(), this.#host.watched()];
      await open({ environment: this.#environment, token, events, readers, watched, signal: attempt.signal });
    } catch (error) {
      if (attempt.signal.aborted) throw tooLong();
      throw error instanceof FanfoldError ? error : network(undefined, error);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
    }
  }

  #frame(kind: string, body: Wire, link: Link | undefined): void {
    this.#heard();
    if (kind === "welcome") {
      this.#node = body["node"];
      this.#pingMs = body["ping_interval_ms"] || PING_MS;
    } else if (kind === "draining") {
      this.#lose(new FanfoldError({ code: "draining", retryAfterMs: body["reconnect_after_ms"] ?? 0 }));
    } else if (kind === "error" && !body["session"] && !body["command"] && !body["list"]) {
      this.#lose(errorOf(body));
    } else if (link) {
      // A connection that lives long enough to be pinged is not one that is taken and dropped.
      if (kind === "ping") this.#pinged(body["log_away"]);
      this.#host.frame(kind, body, link);
    }
  }

  #pinged(logAway = false): void {
    this.progress();
    const { connection } = this;
    if (logAway !== (connection.logAway ?? false)) this.#set("open", { ...connection, logAway });
  }

  /** The connection is gone, or could not be made: comes back, unless that doesn't help. */
  #lose(error: FanfoldError): void {
    this.#drop();
    const { tokens } = this.#environment;
    if (error.retry === "no" || (error.retry === "with_token" && !tokens.renewable)) return this.stop(error);
    if (!this.#host.needed()) return this.#idle();
    this.#wait(this.#backoff.next(error.retryAfterMs), error);
  }

  #wait(waitMs: number, error: FanfoldError | undefined): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#dial(), waitMs);
    // Browsers may be wrong about being offline, so it is tried nevertheless.
    const phase = globalThis.navigator?.onLine === false ? "offline" : "waiting";
    this.#set(phase, { retryAtMs: Date.now() + waitMs, ...(error && { error }) });
  }

  #heard(): void {
    this.#heardAtMs = Date.now();
  }

  /** Takes a connection for dead on which nothing came for two pings' time. A timer that slept with the machine sees it too. */
  #watch(): void {
    clearInterval(this.#watchTimer);
    this.#watchTimer = setInterval(() => this.#look(), Math.min(this.#pingMs / 4, 2_000));
  }

  #look(): void {
    if (this.#silentMs() > 2 * this.#pingMs) this.#loseSilent();
  }

  #silentMs(): number {
    return !this.link || this.link.idle ? 0 : Date.now() - this.#heardAtMs;
  }

  #loseSilent(): void {
    this.#lose(network("nothing came for too long"));
  }

  /** Wants a sign of life soon. */
  #prove(): void {
    const { link } = this;
    const heardAtMs = this.#heardAtMs;
    setTimeout(() => {
      if (!link || this.link !== link) return;
      if (this.#heardAtMs === heardAtMs && this.#silentMs()) this.#loseSilent();
      // What came may have been on its way before.
      else if (globalThis.navigator?.onLine === false) this.#prove();
    }, PROVE_MS);
  }

  #refreshWhenDue(): void {
    clearTimeout(this.#refreshTimer);
    const dueInMs = this.#environment.tokens.dueInMs();
    if (dueInMs !== undefined) this.#refreshTimer = setTimeout(() => void this.refresh().catch(() => {}), dueInMs);
  }

  /** Shows the node a new token. When none is to be had the connection ends with the old one, and is made again. */
  async refresh(): Promise<void> {
    const token = await this.#environment.tokens.next();
    this.link?.refresh(token);
    this.#refreshWhenDue();
  }

  /**
   * What browsers tell of the network, and of having slept: timers stand still while a machine sleeps, and may be held back in a
   * hidden page.
   */
  readonly #sign = ({ type }: Event): void => {
    const { phase, error, retryAtMs = 0 } = this.connection;
    const network = type === "online" || type === "offline";
    if (this.link) {
      this.#look();
      if (network || this.#silentMs() > this.#pingMs) this.#prove();
    } else if (phase === "waiting" || phase === "offline") {
      // Everybody in a building is online again at the same time.
      const waitMs = type === "online" ? Math.random() * this.#backoff.firstMs : Math.max(0, retryAtMs - Date.now());
      this.#wait(waitMs, error);
    }
  };

  #listen(on: boolean): void {
    listen(on, this.#sign, ["online", "offline", "pageshow", "focus"], ["visibilitychange", "resume"]);
  }

  #set(phase: Connection["phase"], more?: Partial<Connection>): void {
    this.connection = { ...more, phase, failures: this.#backoff.failures };
    this.#host.changed();
  }
}

type Timer = ReturnType<typeof setTimeout> | undefined;
