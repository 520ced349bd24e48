/** The files that a test of `crates/fanfold-wire` makes from the fold: what Rust makes of deltas, this side must make of them. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { apply, Misfit } from "../src/apply.js";
import type { Part, SessionState } from "../src/state.js";
import { readView } from "../src/wire.js";
import type { Wire, WireView } from "../src/wire.js";

function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../test/vectors/${name}.json`, import.meta.url), "utf8")) as T;
}

/** A state as the node would write it. Told here anew, so that a field which is read wrongly isn't written wrongly too. */
function written(state: SessionState): Wire {
  const enumeration = (prefix: string, word: string) => `${prefix}_${word.toUpperCase()}`;
  const some = (fields: Wire) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  const finish = (reason: { kind: string; other: string }) => ({
    kind: enumeration("FINISH_KIND", reason.kind),
    other: reason.other,
  });
  const part = (part: Part): Wire => {
    const { kind, ...fields } = part;
    switch (part.kind) {
      case "unknown":
        return {};
      case "tool_call":
        return { tool_call: { ...fields, status: enumeration("TOOL_STATUS", part.status) } };
      case "file":
        return { file: some({ url: part.url, media_type: part.mediaType, name: part.name }) };
      case "step":
        return { step: { reason: finish(part.reason) } };
      default:
        return { [kind]: fields };
    }
  };
  const { session } = state;
  return {
    session: some({
      title: session.title,
      user: session.user,
      status: enumeration("SESSION_STATUS", session.status),
      reason: session.reason,
      opened_at_ms: String(session.openedAtMs),
    }),
    messages: state.messages.map((message) =>
      some({
        id: message.id,
        parent: message.parent,
        role: enumeration("ROLE", message.role),
        author: message.author,
        at_ms: String(message.atMs),
        run: message.run,
        parts: message.parts.map(part),
      }),
    ),
    runs: state.runs.map((run) =>
      some({
        id: run.id,
        prompt: run.prompt,
        reply: run.reply,
        status: enumeration("RUN_STATUS", run.status),
        model: run.model,
        attempt: run.attempt,
        attempts: run.attempts,
        attempts_max: run.attemptsMax,
        worker: run.worker,
        finish: run.finish && finish(run.finish),
        error: run.error,
        usage: run.usage && {
          input: String(run.usage.input),
          output: String(run.usage.output),
          reasoning: String(run.usage.reasoning),
          cached_input: String(run.usage.cachedInput),
        },
        waiting: run.waiting && { calls: run.waiting.calls, until_ms: String(run.waiting.untilMs) },
        requested_at_ms: String(run.requestedAtMs),
        started_at_ms: run.startedAtMs === undefined ? undefined : String(run.startedAtMs),
        ended_at_ms: run.endedAtMs === undefined ? undefined : String(run.endedAtMs),
        thoughts: run.thoughts && {
          parts: run.thoughts.map(({ part, fromMs, uptoMs }) =>
            some({ part, from_ms: String(fromMs), upto_ms: uptoMs === undefined ? undefined : String(uptoMs) }),
          ),
        },
      }),
    ),
    custom: Object.fromEntries(
      [...state.custom].map(([kind, { contentType, payload }]) => [kind, { content_type: contentType, payload }]),
    ),
  };
}

/** What this side passes over is left out. Token counts may be larger than JavaScript's numbers are exact: as this side holds them. */
function held(view: WireView): Wire {
  const count = (run: Wire) => {
    if (!run["usage"]) return run;
    const usage = Object.entries(run["usage"] as Wire).map(([name, value]) => [name, String(Number(value))]);
    return { ...run, usage: Object.fromEntries(usage) };
  };
  const { title_automatic: _, ...session } = view.session ?? {};
  const part = (part: Wire) => ("sealed" in part ? {} : part);
  const messages = (view.messages ?? []).map((message) => ({ ...message, parts: (message["parts"] as Wire[]).map(part) }));
  return { ...view, session, messages, runs: (view.runs ?? []).map(count) };
}

function same(state: SessionState, view: WireView, where: string): void {
  assert.deepEqual(written(state), held(view), where);
  const open = state.runs.slice().filter((run) => ["queued", "running", "waiting"].includes(run.status));
  assert.deepEqual(state.openRuns, open, `${where}: open runs`);
  state.messages.map((message, at) => assert.equal(state.messages.indexOf(message.id), at, `${where}: ${message.id}`));
  state.runs.map((run, at) => assert.equal(state.runs.indexOf(run.id), at, `${where}: ${run.id}`));
}

type Operation = { name: string; ops: Wire[]; after: WireView | null };

test("each operation does as the fold does, or is found not to fit", () => {
  const [before, ...cases] = vectors<[WireView, ...Operation[]]>("operations");
  const seen = new Set<string>();
  for (const { name, ops, after } of cases) {
    const state = readView(before, 0);
    const now = () => apply(state, ops);
    if (after) same(now(), after, name);
    else assert.throws(now, Misfit, name);
    same(state, before, `${name}: what was before stays as it was`);
    ops.flatMap(Object.keys).forEach((kind) => seen.add(kind));
  }
  assert.equal(seen.size, 8 + 1, "every operation, and one that isn't known");
});

interface History {
  deltas: Wire[][];
  views: { at: number; view: WireView }[];
  merged: { from: number; to: number; ops: Wire[] }[];
  window: { from: number; older: number; view: WireView; end: WireView };
}

test("histories lead where the fold leads, each by each and merged, through a window too", () => {
  for (const [number, { deltas, views, merged, window }] of vectors<History[]>("histories").entries()) {
    const at = new Map(views.map(({ at, view }) => [at, view]));
    const where = `history ${number}`;
    let state = readView(at.get(0) as WireView, 0);
    const states = [state];
    for (const ops of deltas) states.push((state = apply(state, ops)));
    for (const [offset, view] of at) same(states[offset] as SessionState, view, `${where} at ${offset}`);
    for (const { from, to, ops } of merged) {
      const start = readView(at.get(from) as WireView, 0);
      same(apply(start, ops), at.get(to) as WireView, `${where} merged from ${from} to ${to}`);
      // apply(merge(a, b)) = apply(b) after apply(a)
      assert.deepEqual(written(apply(start, ops)), written(states[to] as SessionState), `${where}: the law of merging`);
    }
    const seen = deltas.slice(window.from).reduce((state, ops) => apply(state, ops), readView(window.view, window.older));
    same(seen, window.end, `${where} through a window`);
  }
});
