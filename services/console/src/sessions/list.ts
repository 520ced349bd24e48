// The sessions there are, as the node lists them: asked for again and again, as nothing pushes them.

import type { SessionRow } from "fanfold";
import { fanfold } from "../app/client";
import { token } from "../app/identity";
import { keptStore } from "../app/kept";
import { createStore } from "../app/store";

export interface List {
  // The last active first; null until the node has answered once.
  readonly rows: readonly SessionRow[] | null;
  readonly more: boolean;
  // Why the last answer failed to come.
  readonly error: unknown;
}

const PAGE = 50;
const REFRESH_MS = 4000;

// Pages that are kept up to date; older sessions are found by their link.
const PAGES_MAX = 10;

export const list = createStore<List>({ rows: null, more: false, error: null });

// The newest activity that this browser has shown of each session, by the node's clock; `""` for sessions never opened here.
const seen = keptStore<Record<string, number>>("seen", {});
const SEEN_MAX = 1000;

let pages = 1;
let asked = 0;

// Other tabs of this browser list the same sessions.
const tabs = new BroadcastChannel("fanfold.sessions");
tabs.onmessage = () => void refresh();

export async function refresh(): Promise<void> {
  const turn = ++asked;
  try {
    const rows: SessionRow[] = [];
    let next: string | undefined;
    for (let page = 0; page < pages; page++) {
      const answer = await fanfold.list({ limit: PAGE, ...(next ? { page: next } : {}) });
      rows.push(...answer.sessions);
      next = answer.nextPage;
      if (!next) break;
    }
    // A later question may have been answered first.
    if (turn !== asked) return;
    list.set({ rows: known(rows), more: next !== undefined && pages < PAGES_MAX, error: null });
  } catch (error) {
    if (turn === asked) list.set((now) => ({ ...now, error }));
  }
}

// Rows that stayed as they were stay the same objects.
function known(rows: readonly SessionRow[]): SessionRow[] {
  const before = new Map(list.get().rows?.map((row) => [row.session, row]));
  // A row that moved while pages were read may come twice.
  const once = new Map(rows.filter((row) => row.status !== "erased").map((row) => [row.session, row]));
  return [...once.values()].map((row) => {
    const old = before.get(row.session);
    return old && old.activeAtMs === row.activeAtMs && old.title === row.title && old.status === row.status ? old : row;
  });
}

export function loadMore(): void {
  pages = Math.min(PAGES_MAX, pages + 1);
  void refresh();
}

// Something was done here that the list shows.
export function changed(): void {
  tabs.postMessage("changed");
  void refresh();
}

// Asks now and then for as long as the page can be seen.
export function follow(): () => void {
  const ask = () => {
    if (document.visibilityState === "visible") void refresh();
  };
  ask();
  const timer = setInterval(ask, REFRESH_MS);
  document.addEventListener("visibilitychange", ask);
  const stop = token.subscribe(ask);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", ask);
    stop();
  };
}

export const seenMarks = seen;

// What is listed when this browser sees the node for the first time counts as read.
export function isUnread(row: SessionRow, marks: Record<string, number>): boolean {
  const since = marks[row.session] ?? marks[""];
  return since !== undefined && row.activeAtMs > since;
}

// The reader has seen what there is of a session.
export function markSeen(session: string): void {
  const row = list.get().rows?.find((row) => row.session === session);
  if (!row || (seen.get()[session] ?? 0) >= row.activeAtMs) return;
  seen.set((marks) => {
    const kept = Object.entries({ ...marks, [session]: row.activeAtMs }).sort(([, a], [, b]) => b - a);
    return Object.fromEntries([...kept.slice(0, SEEN_MAX), ["", marks[""] ?? 0]]);
  });
}

list.subscribe(() => {
  const newest = list.get().rows?.[0];
  if (list.get().rows && seen.get()[""] === undefined) seen.set({ ...seen.get(), "": newest?.activeAtMs ?? 0 });
});
