// The session as it was: the state at an offset, as the node folds it, and the one before.

import type { SessionState, StoredRecord } from "fanfold";
import { useEffect, useState } from "react";
import { fanfold } from "../app/client";
import { trouble } from "../ui/notices";

export interface Past {
  readonly at: string;
  readonly state: SessionState;
  // When the record at this offset was stored.
  readonly atMs: number;
}

// Messages of the past that are looked at, the newest of then.
const WINDOW = 500;

// A slider that is drawn along asks for where it rests, not for all it passes.
const REST_MS = 60;

const KEPT_MAX = 60;
const kept = new Map<string, Promise<Past>>();

export function momentAt(session: string, at: string): Promise<Past> {
  const key = `${session}/${at}`;
  const known = kept.get(key);
  if (known) return known;
  const asked = asMoment(session, at);
  kept.set(key, asked);
  asked.catch(() => kept.delete(key));
  const oldest = kept.size > KEPT_MAX ? kept.keys().next().value : undefined;
  if (oldest !== undefined) kept.delete(oldest);
  return asked;
}

async function asMoment(session: string, at: string): Promise<Past> {
  const before = BigInt(at) > 0n ? String(BigInt(at) - 1n) : "0";
  const [{ state }, { records }] = await Promise.all([
    fanfold.state(session, { at, window: WINDOW }),
    fanfold.events(session, { after: before, limit: 1 }),
  ]);
  return { at, state, atMs: Number(records[0]?.stored_at_ms ?? state.session.openedAtMs) };
}

// Null while the present is looked at; while another moment is on its way, the last one.
export function usePast(session: string, at: string | null): Past | null {
  const [past, setPast] = useState<(Past & { session: string }) | null>(null);
  useEffect(() => {
    if (at === null) return setPast(null);
    let wanted = true;
    const timer = setTimeout(async () => {
      try {
        const moment = await momentAt(session, at);
        if (wanted) setPast({ session, ...moment });
      } catch (error) {
        if (wanted) trouble(error);
      }
    }, REST_MS);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [session, at]);
  return at !== null && past?.session === session ? past : null;
}

export interface Records {
  readonly records: readonly StoredRecord[];
  // Whether the session has more than are kept here.
  readonly full: boolean;
  readonly error: unknown;
}

const PAGE = 1000;
const RECORDS_MAX = 50_000;
const NONE: Records = { records: [], full: false, error: null };

// The session's records from the beginning, read on as the session goes on.
export function useRecords(session: string, head: string): Records {
  const [known, setKnown] = useState(NONE);
  const last = known.records.at(-1)?.offset ?? "0";
  useEffect(() => {
    if (known.full || head === "0" || Number(last) >= Number(head)) return;
    const stop = new AbortController();
    // Of a stream many at once are read.
    const timer = setTimeout(
      async () => {
        try {
          const { records } = await fanfold.events(session, { after: last, limit: PAGE, signal: stop.signal });
          if (stop.signal.aborted || records.length === 0) return;
          setKnown((now) => {
            const all = [...now.records, ...records];
            return { records: all, full: all.length >= RECORDS_MAX, error: null };
          });
        } catch (error) {
          if (!stop.signal.aborted) setKnown((now) => ({ ...now, error }));
        }
      },
      known.records.length === 0 ? 0 : 200,
    );
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [session, head, last, known.full, known.records.length]);
  return known;
}
