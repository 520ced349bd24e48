/** The list of sessions, live. */

import { Listeners } from "./listeners.js";
import type { SessionRow, WatchedList, WatchOptions } from "./options.js";
import { fields, number } from "./wire.js";
import type { Wire } from "./wire.js";

/** Rows more than this behind the beginning are let go: the list begins anew then. */
const ROWS_MAX = 1000;

/** The newest sessions that there are, kept up as long as they are watched. */
export class SessionList {
  /** What there is: the same object as long as nothing changes. */
  snapshot: WatchedList = { phase: "connecting", rows: [] };
  readonly #listeners = new Listeners<void>();

  /** @internal */
  constructor(
    readonly options: WatchOptions,
    readonly watch: (asked?: WatchOptions) => void,
  ) {}

  /** Stops watching. */
  leave(): void {
    this.watch();
  }

  /** Calls `listener` after each change. Gives what ends it. */
  readonly subscribe: (listener: () => void) => () => void = this.#listeners.add;

  /** @internal */
  listed(body: Wire): void {
    const { reset, next_page: nextPage, rows: told = [] } = body;
    const known = new Map(this.snapshot.rows.map((row) => [row.session, row]));
    const rows = reset ? new Map<string, SessionRow>() : known;
    for (const row of (told as Wire[]).map(readRow)) {
      const before = known.get(row.session);
      // Rows of different nodes may come out of order. What has not changed stays the same object.
      rows.set(row.session, before && BigInt(before.offset) >= BigInt(row.offset) ? before : row);
    }
    const sorted = [...rows.values()].filter((row) => row.status !== "erased").sort(newestFirst);
    this.set({ phase: "live", rows: sorted, ...(reset && { nextPage }) });
    if (sorted.length > ROWS_MAX) this.watch(this.options);
  }

  /** @internal */
  set(change: Partial<WatchedList>): void {
    this.snapshot = { ...this.snapshot, ...change };
    this.#listeners.tell();
  }
}

function newestFirst(a: SessionRow, b: SessionRow): number {
  return b.activeAtMs - a.activeAtMs || (a.session < b.session ? 1 : -1);
}

export function readRow(wire: Wire): SessionRow {
  return fields<SessionRow>({
    session: wire["session"],
    title: wire["title"],
    user: wire["user"],
    status: wire["status"],
    openedAtMs: number(wire["opened_at_ms"]),
    activeAtMs: number(wire["active_at_ms"]),
    offset: wire["offset"] ?? "0",
    openRuns: wire["open_runs"] ?? 0,
  });
}
