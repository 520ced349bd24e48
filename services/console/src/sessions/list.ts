// The sessions there are: the newest, live, with as many earlier ones as the reader asked for; and those that a search finds.

import type { SessionList, SessionPage, SessionRow } from "fanfold";
import { fanfold } from "../app/client";
import { keptStore } from "../app/kept";
import { createStore } from "../app/store";

export interface List {
  // The last active first; null until the node has told them once.
  readonly rows: readonly SessionRow[] | null;
  // What there is besides: some that can be asked for, or so many that only a search finds them.
  readonly earlier: "none" | "more" | "sought";
  // Why it isn't watched.
  readonly error: unknown;
  // How often it came back: what was found before may have changed meanwhile.
  readonly returns: number;
}

const PAGE = 50;

// A node tells no more.
const ROWS_MAX = 500;

export const list = createStore<List>({ rows: null, earlier: "none", error: null, returns: 0 });

let watched: SessionList | null = null;

// As long as the page is there.
export function follow(): () => void {
  const own = fanfold.watch({ limit: PAGE });
  watched = own;
  let [known, live] = [false, false];
  const show = () => {
    const { phase, rows, nextPage, error = null } = own.snapshot;
    const returned = phase === "live" && known && !live;
    live = phase === "live";
    known ||= live;
    const earlier = nextPage === undefined ? "none" : rows.length < ROWS_MAX ? "more" : "sought";
    list.set(({ returns }) => ({ rows: known ? rows : null, earlier, error, returns: returns + Number(returned) }));
  };
  const stop = own.subscribe(show);
  return () => {
    stop();
    own.leave();
  };
}

export function loadMore(): void {
  watched?.loadMore(PAGE);
}

// What is known of a session by now, where something is.
export function lately(row: SessionRow): SessionRow {
  return watched?.get(row.session) ?? row;
}

// A node looks through a few thousand sessions at a time: so often it is asked for a screenful of finds.
const ASKED_MAX = 5;
const FOUND_ENOUGH = 20;

// Sessions whose titles or ids have words that begin so, from the node's store.
export async function find(query: string, page: string | undefined, signal: AbortSignal): Promise<SessionPage> {
  const sessions: SessionRow[] = [];
  let nextPage = page;
  for (let asked = 0; asked < ASKED_MAX && sessions.length < FOUND_ENOUGH; asked++) {
    const found = await fanfold.list({ query, limit: PAGE, signal, ...(nextPage === undefined ? {} : { page: nextPage }) });
    sessions.push(...found.sessions);
    nextPage = found.nextPage;
    if (nextPage === undefined) return { sessions };
  }
  return nextPage === undefined ? { sessions } : { sessions, nextPage };
}

// Up to which offset this browser has shown each session.
const seen = keptStore<Record<string, number>>("seen-offsets", {});
const SEEN_MAX = 1000;

// When this browser first saw a list; what was there by then counts as read.
const since = keptStore<number | null>("seen-since", null);

export const seenMarks = seen;

export function isUnread(row: SessionRow, marks: Record<string, number>): boolean {
  const mark = marks[row.session];
  if (mark !== undefined) return Number(row.offset) > mark;
  const first = since.get();
  return first !== null && row.activeAtMs > first;
}

// The reader has seen what there is of a session up to an offset.
export function markSeen(session: string, offset: string): void {
  const at = Number(offset);
  if (at === 0 || (seen.get()[session] ?? 0) >= at) return;
  seen.set(({ [session]: _, ...others }) => {
    // The last one that was looked at comes last, the first ones make room.
    const kept = Object.entries(others).slice(1 - SEEN_MAX);
    return Object.fromEntries([...kept, [session, at]]);
  });
}

list.subscribe(() => {
  const { rows } = list.get();
  if (rows && since.get() === null) since.set(rows[0]?.activeAtMs ?? 0);
});
