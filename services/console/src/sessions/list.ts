// The sessions there are: the newest of them live, older ones page by page, and those that a search finds.

import type { SessionPage, SessionRow } from "fanfold";
import { fanfold } from "../app/client";
import { token } from "../app/identity";
import { keptStore } from "../app/kept";
import { createStore } from "../app/store";

export interface List {
  // The last active first; null until the node has answered once.
  readonly rows: readonly SessionRow[] | null;
  // Whether there are earlier ones.
  readonly more: boolean;
  // Why it isn't watched, or why a page failed to come.
  readonly error: unknown;
}

const PAGE = 50;

const NONE: List = { rows: null, more: false, error: null };
export const list = createStore<List>(NONE);

// Earlier pages, as they were when they were asked for; a session of theirs that becomes active is among the live ones.
let older: { rows: readonly SessionRow[]; next: string | undefined } | null = null;
let watched: ReturnType<typeof fanfold.watch> | null = null;

function show(): void {
  const now = watched?.snapshot;
  if (!now || now.phase === "connecting") return list.set({ ...NONE, error: now?.error ?? null });
  const known = new Set(now.rows.map((row) => row.session));
  const rest = older?.rows.filter((row) => !known.has(row.session)) ?? [];
  const next = older ? older.next : now.nextPage;
  list.set({ rows: rest.length > 0 ? [...now.rows, ...rest] : now.rows, more: next !== undefined, error: now.error ?? null });
}

export async function loadMore(): Promise<void> {
  const page = older ? older.next : watched?.snapshot.nextPage;
  if (page === undefined) return;
  try {
    const { sessions, nextPage } = await fanfold.list({ page, limit: PAGE });
    // The same page may have been asked for twice.
    if (page !== (older ? older.next : watched?.snapshot.nextPage)) return;
    older = { rows: [...(older?.rows ?? []), ...sessions], next: nextPage };
    show();
  } catch (error) {
    list.set((now) => ({ ...now, error }));
  }
}

// As long as the page is there.
export function follow(): () => void {
  const own = fanfold.watch({ limit: PAGE });
  watched = own;
  const stops = [
    own.subscribe(show),
    token.subscribe(() => {
      older = null;
      list.set(NONE);
    }),
  ];
  return () => {
    for (const stop of stops) stop();
    own.leave();
  };
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
