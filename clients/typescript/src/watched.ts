/** The list of sessions, live. */

import type { Backoff } from "./backoff.js";
import { FanfoldError, isTransient } from "./error.js";
import type { Link } from "./link.js";
import { Listeners } from "./listeners.js";
import type { SessionRow, WatchedList, WatchOptions } from "./options.js";
import type { Surroundings } from "./session.js";
import { fields } from "./wire.js";
import type { Wire } from "./wire.js";

/** With more rows than this the list begins anew, and lets go of those that are behind what was asked for. */
const ROWS_MAX = 1000;

/** The newest sessions that there are, kept up as long as they are watched. */
export class SessionList {
  /** What there is: the same object as long as nothing changes. */
  snapshot: WatchedList = { phase: "connecting", rows: [] };
  /** @internal Another object whenever it is to be asked for anew. */
  options: WatchOptions;
  readonly #surroundings: Surroundings;
  readonly #backoff: Backoff;
  readonly #listeners = new Listeners<void>();
  /** Those of `snapshot`, and those that were erased since the list began. */
  #rows = new Map<string, SessionRow>();
  /** Whether the beginning of what was asked for last was told. */
  #begun = false;
  /** Whether one was ever told. */
  #known = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(options: WatchOptions, surroundings: Surroundings) {
    this.options = options;
    this.#surroundings = surroundings;
    this.#backoff = surroundings.backoff();
  }

  /** Calls `listener` after each change. Gives what ends it. */
  readonly subscribe: (listener: () => void) => () => void = this.#listeners.add;

  /** What is known of a session: also of one that was erased, which isn't among the rows, until the list begins anew. */
  get(session: string): SessionRow | undefined {
    return this.#rows.get(session);
  }

  /** Has the list hold `count` earlier rows more, which are kept up like the others. A node tells 500 at most. */
  loadMore(count = 50): void {
    this.again({ ...this.options, limit: this.snapshot.rows.length + count });
  }

  /** Stops watching. */
  leave(): void {
    // Another one may have taken its place.
    if (this.snapshot.error?.code === "stopped") return;
    this.stopped();
    this.#surroundings.connector.link?.watch(undefined);
    this.#surroundings.connector.update();
  }

  /** @internal Asks for it anew. */
  again(options = this.options): void {
    this.options = { ...options };
    const link = this.#surroundings.connector.link;
    if (link && !this.snapshot.error) this.opened(link);
  }

  /** @internal There is a link. */
  opened(link: Link): void {
    clearTimeout(this.#retryTimer);
    this.#begun = false;
    if (link.watched !== this.options) link.watch(this.options);
  }

  /** @internal */
  listed(body: Wire): void {
    const { reset, next_page: nextPage, rows = [] } = body;
    // What comes before the beginning belongs to what was asked for before.
    if (!(this.#begun ||= reset)) return;
    this.#known = true;
    this.#backoff.reset();
    const known = this.#rows;
    if (reset) this.#rows = new Map();
    for (const row of (rows as Wire[]).map(readRow)) {
      const before = known.get(row.session);
      // Rows of different nodes may come out of order. What has not changed stays the same object.
      this.#rows.set(row.session, before && BigInt(before.offset) >= BigInt(row.offset) ? before : row);
    }
    const sorted = [...this.#rows.values()].filter((row) => row.status !== "erased").sort(newestFirst);
    this.#set({ phase: "live", rows: sorted, ...(reset && { nextPage }) });
    if (this.#rows.size > ROWS_MAX) this.again();
  }

  /** @internal The node doesn't tell it any more, for a while or for good. */
  failed(error: FanfoldError): void {
    if (!isTransient(error)) return this.stopped(error);
    this.lost();
    this.#retryTimer = setTimeout(() => this.again(), this.#backoff.next(error.retryAfterMs));
  }

  /** @internal */
  lost(): void {
    this.#end("lost");
  }

  /** @internal Nothing more will be told. */
  stopped(error = new FanfoldError({ code: "stopped" })): void {
    this.#end("failed", error);
  }

  /** @internal Tries again what has failed. */
  revive(): void {
    if ((this.snapshot.error?.code ?? "stopped") === "stopped") return;
    this.snapshot = { ...this.snapshot, error: undefined };
    this.lost();
  }

  /** As long as nothing is known, it is `connecting` until it fails. */
  #end(phase: WatchedList["phase"], error?: FanfoldError): void {
    clearTimeout(this.#retryTimer);
    this.#begun = false;
    if (!error && !this.#known) phase = "connecting";
    if (error || phase !== this.snapshot.phase) this.#set({ phase, error });
  }

  #set(change: Partial<WatchedList>): void {
    this.snapshot = { ...this.snapshot, ...change };
    this.#listeners.tell();
  }
}

function newestFirst(a: SessionRow, b: SessionRow): number {
  return b.activeAtMs - a.activeAtMs || (a.session < b.session ? 1 : -1);
}

export function readRow(wire: Wire): SessionRow {
  return fields<SessionRow>(wire, { openedAtMs: 0, activeAtMs: 0, offset: "0", openRuns: 0 });
}
