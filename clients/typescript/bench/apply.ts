/** What applying a delta costs, in a session of 100 messages and in one of 10,000. Fails where it grows with the session. */

import { apply } from "../src/apply.js";
import type { SessionState } from "../src/state.js";
import { readView } from "../src/wire.js";
import type { Wire } from "../src/wire.js";

const SIZES = [100, 10_000];
const DELTAS = 20_000;
const ROUNDS = 7;

/** More than the three levels of a larger tree against two of a smaller one may cost. */
const FACTOR_MAX = 4;

function session(count: number): SessionState {
  const messages = Array.from({ length: count }, (_, at) => ({
    id: `m${at}`,
    role: "ROLE_ASSISTANT",
    run: `r${at}`,
    parts: [{ text: { text: `The answer ${at} is not short.` } }],
  }));
  const runs = messages.map(({ run, id }) => ({ id: run, reply: id, status: "RUN_STATUS_COMPLETED" }));
  return readView({ session: { status: "SESSION_STATUS_OPEN" }, messages, runs }, 0);
}

/** Nanoseconds a delta. */
function cost(start: SessionState, delta: (number: number) => Wire[]): number {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const deltas = Array.from({ length: DELTAS }, (_, number) => delta(number));
    let state = start;
    globalThis.gc?.();
    const begun = process.hrtime.bigint();
    for (const ops of deltas) state = apply(state, ops);
    best = Math.min(best, Number(process.hrtime.bigint() - begun) / DELTAS);
    if (state === start) throw new Error("nothing was applied");
  }
  return best;
}

const kinds: Record<string, (count: number) => (number: number) => Wire[]> = {
  "a token at the newest message": (count) => (number) => [
    {
      part_appended: {
        message: `m${count - 1}`,
        part: 0,
        at: `The answer ${count - 1} is not short.`.length + 6 * number,
        text: " token",
      },
    },
  ],
  "a part of a message in the middle": (count) => (number) => [
    { part_set: { message: `m${count >> 1}`, part: 0, value: { text: { text: `take ${number}` } } } },
  ],
  "a run in the middle": (count) => (number) => [
    { run_changed: { id: `r${count >> 1}`, reply: `m${count >> 1}`, status: "RUN_STATUS_COMPLETED", attempts: number } },
  ],
};

for (const [name, kind] of Object.entries(kinds)) {
  const costs = SIZES.map((count) => cost(session(count), kind(count)));
  const factor = (costs[1] as number) / (costs[0] as number);
  const figures = SIZES.map((count, at) => `${(costs[at] as number).toFixed(0)} ns among ${count}`).join(", ");
  console.log(`${name}: ${figures}, factor ${factor.toFixed(2)}`);
  if (factor > FACTOR_MAX) process.exitCode = 1;
}
// The control: what copying the list of messages at each delta would cost.
const copies = SIZES.map((count) => {
  const list = Array.from({ length: count }, (_, at) => ({ at }));
  const begun = process.hrtime.bigint();
  let copy = list;
  for (let number = 0; number < DELTAS; number++) {
    copy = copy.slice();
    copy[number % count] = { at: number };
  }
  return Number(process.hrtime.bigint() - begun) / DELTAS;
});
console.log(
  `control, copying an array: ${SIZES.map((count, at) => `${(copies[at] as number).toFixed(0)} ns among ${count}`).join(", ")}`,
);
