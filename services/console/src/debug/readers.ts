// How readers came to the node that this page talks to: asked again and again, each time until there is news.

import { useConnection } from "fanfold/react";
import { useEffect, useState } from "react";
import { fanfold } from "../app/client";
import { token } from "../app/identity";

export interface Arrival {
  readonly number: string;
  readonly at_ms: string;
  readonly transport: string;
  readonly how: string;
  readonly reset_reason: string;
  readonly from?: string;
  readonly offset: string;
}

export interface Readers {
  readonly node: string;
  readonly attached: number;
  readonly version: string;
  readonly counts: readonly { how: string; reset_reason: string; count: string }[];
  readonly latest: readonly Arrival[];
}

const WAIT_MS = 25_000;

// Least time between two questions, however much goes on …
const REST_MS = 500;

// … and where waiting for news is of no use: after an error, and where a balancer leads each question to another node.
const LONG_REST_MS = 5000;

// Null until a node has answered.
export function useReaders(session: string): Readers | null {
  const [readers, setReaders] = useState<Readers | null>(null);
  const { node } = useConnection(fanfold);
  useEffect(() => {
    const stop = new AbortController();
    setReaders(null);
    void (async () => {
      for (let known: Readers | null = null; !stop.signal.aborted; ) {
        const told: Readers | null = await ask(session, known, stop.signal).catch(() => null);
        if (told && !stop.signal.aborted) setReaders(told);
        // Another node knows nothing of what this one has told.
        known = told && (node === undefined || told.node === node) ? told : null;
        await rest(known ? REST_MS : LONG_REST_MS, stop.signal);
      }
    })();
    return () => stop.abort();
  }, [session, node]);
  return readers;
}

async function ask(session: string, known: Readers | null, signal: AbortSignal): Promise<Readers> {
  const query = known ? `?wait_ms=${WAIT_MS}&known=${known.version}` : "";
  const headers: Record<string, string> = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  const answer = await fetch(`/v1/sessions/${encodeURIComponent(session)}/readers${query}`, { headers, signal });
  if (!answer.ok) throw new Error(String(answer.status));
  return (await answer.json()) as Readers;
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
