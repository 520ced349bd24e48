import type { SessionRow } from "fanfold";
import { useEffect, useMemo, useState } from "react";
import { useStore } from "../app/store";
import { find, lately, list } from "./list";

export interface Found {
  readonly rows: readonly SessionRow[];
  readonly more: boolean;
  readonly searching: boolean;
  readonly error: unknown;
  onMore(): void;
}

// So that not every key is asked for.
const REST_MS = 200;

interface Answer {
  readonly wanted: string;
  readonly rows: readonly SessionRow[];
  readonly next: string | undefined;
  readonly error: unknown;
}

// What a search finds: at once among the sessions that are listed, then in the store. Null while nothing is sought.
export function useFound(text: string): Found | null {
  const wanted = text.trim();
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [page, setPage] = useState<string | undefined>(undefined);
  const { rows: live, returns } = useStore(list);
  useEffect(() => setPage(undefined), [wanted, returns]);
  useEffect(() => {
    if (wanted === "") return setAnswer(null);
    const stop = new AbortController();
    const timer = setTimeout(
      async () => {
        try {
          const { sessions, nextPage } = await find(wanted, page, stop.signal);
          setAnswer((before) => {
            const earlier = page !== undefined && before?.wanted === wanted ? before.rows : [];
            return { wanted, rows: [...earlier, ...sessions], next: nextPage, error: null };
          });
        } catch (error) {
          if (!stop.signal.aborted) setAnswer({ wanted, rows: [], next: undefined, error });
        }
      },
      page === undefined ? REST_MS : 0,
    );
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [wanted, page, returns]);

  return useMemo(() => {
    if (wanted === "") return null;
    const answered = answer?.wanted === wanted ? answer : null;
    const rows = answered && answered.error === null ? answered.rows : matching(live ?? [], wanted);
    return {
      rows: rows.map(lately).filter((row) => row.status !== "erased"),
      more: answered?.next !== undefined,
      searching: answered === null,
      error: answered?.error ?? null,
      onMore: () => setPage(answered?.next),
    };
  }, [wanted, answer, live]);
}

// Nearly as the node does it: each word begins one of the title's or of the id's.
export function matching(rows: readonly SessionRow[], wanted: string): SessionRow[] {
  const sought = words(wanted);
  return rows.filter((row) => {
    const there = [...words(row.title ?? ""), ...words(row.session)];
    return sought.every((word) => there.some((other) => other.startsWith(word)));
  });
}

function words(text: string): string[] {
  return text.toLowerCase().match(/[\p{Letter}\p{Number}]+/gu) ?? [];
}
