// How long a model thought. The state holds no times of parts, so it is what this page has watched.

import type { SessionState } from "fanfold";

interface Thought {
  readonly startMs: number;
  endMs?: number;
}

const KEPT_MAX = 500;
const thoughts = new Map<string, Thought>();
const key = (message: string, part: number) => `${message}/${part}`;

// To be called with each state as it comes. Looks at what is being written only.
export function watchThoughts(state: SessionState, nowMs: number): void {
  for (const run of state.openRuns) {
    const parts = state.messages.get(run.reply)?.parts ?? [];
    const last = parts.length - 1;
    if (run.status === "running" && parts[last]?.kind === "reasoning" && !thoughts.has(key(run.reply, last))) {
      // The first thing that is said began with the run. That is another clock: never later than now, and if it is far off, now.
      const started = last === 0 && run.startedAtMs !== undefined ? nowMs - run.startedAtMs : 0;
      thoughts.set(key(run.reply, last), { startMs: started > 0 && started < 600_000 ? nowMs - started : nowMs });
      const oldest = thoughts.size > KEPT_MAX ? thoughts.keys().next().value : undefined;
      if (oldest !== undefined) thoughts.delete(oldest);
    }
    for (let part = 0; part < last; part++) end(thoughts.get(key(run.reply, part)), nowMs);
  }
  // A run that ends with a thought ends the thought.
  const ended = state.runs.at(-1);
  if (ended?.endedAtMs === undefined) return;
  const parts = state.messages.get(ended.reply)?.parts.length ?? 0;
  for (let part = 0; part < parts; part++) end(thoughts.get(key(ended.reply, part)), nowMs);
}

function end(thought: Thought | undefined, nowMs: number): void {
  if (thought && thought.endMs === undefined) thought.endMs = nowMs;
}

export function thoughtOf(message: string, part: number): Readonly<Thought> | undefined {
  return thoughts.get(key(message, part));
}
