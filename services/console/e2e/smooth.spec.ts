// How it moves while 200 tokens a second stream in: no task keeps the page's thread running for more than 50 ms. It is judged by the
// thread's own time, as a busy machine lets it wait: how long that took is printed only.

import { writeFileSync } from "node:fs";
import type { Browser, Page, TestInfo } from "@playwright/test";
import type { Node, Worker } from "./support/node";
import { answer, expect, expectSameEnd, openSession, say, test } from "./support/test";
import { LONG, tokens } from "./support/texts";

const MESSAGES = 2000;
const RATE = 200;
const SECONDS = 8;
const TASK_MAX_MS = 50;

// A machine that stands still for a moment makes one of them. Reading a long block anew at each frame made seven and more.
const LONG_TASKS_MAX = 2;

// Tokens that a block has before its growing is watched.
const LONG_ALREADY = 4000;

interface Entry {
  name: string;
  ph: string;
  dur?: number;
  // Of it, what the thread was running for.
  tdur?: number;
  tid: number;
  pid: number;
  args?: { name?: string };
}

test.describe.configure({ mode: "default" });
test.use({ options: { slots: 0 } });

test("200 tokens a second among 2,000 messages, while the reader scrolls", async ({ page, browser, node }, info) => {
  test.setTimeout(600_000);
  await node.open("s1");
  for (let at = 0; at < MESSAGES; at++) {
    const text = `message ${at}\n\n- with a list\n- and \`code\``;
    await node.command("s1", { send: { parts: [{ text: { text } }], role: at % 2 === 0 ? "ROLE_USER" : "ROLE_ASSISTANT" } });
  }
  await openSession(page, "s1");
  // The reader has been to the beginning: the page holds all of them.
  const scroller = page.locator(".scroller");
  const toBeginning = async () => {
    await scroller.evaluate((element) => element.scrollTo({ top: 0 }));
    return scroller.getByText("message 0").first().isVisible();
  };
  await expect.poll(toBeginning, { timeout: 180_000 }).toBe(true);
  await scroller.evaluate((element) => element.scrollTo({ top: element.scrollHeight }));
  const worker = await begin(page, node);
  worker.text("It begins.\n\n");
  await expect(answer(page)).toContainText("It begins.");
  await watched(page, browser, info, worker, tokens(RATE * SECONDS), async (sent) => {
    // Halfway the reader looks up, and comes back.
    if (sent === RATE * 3) await scroller.evaluate((element) => element.scrollBy({ top: -1200 }));
    if (sent === RATE * 5) await scroller.evaluate((element) => element.scrollTo({ top: element.scrollHeight }));
  });
  await expectSameEnd(page, node, "s1");
});

for (const [name, text] of Object.entries(LONG)) {
  test(`200 tokens a second at the end of a long ${name}`, async ({ page, browser, node }, info) => {
    await node.open("s1");
    await openSession(page, "s1");
    const worker = await begin(page, node);
    const source = text();
    for (let sent = 0; sent < LONG_ALREADY; sent += 100) worker.text(Array.from({ length: 100 }, () => source.next().value).join(""));
    // Once nothing changes any more it has all of it, colours included.
    let before = 0;
    const settled = async () => {
      const was = before;
      before = await page.evaluate(() => document.querySelectorAll(".markdown *").length);
      return before > 300 && before === was;
    };
    await expect.poll(settled, { intervals: [1000] }).toBe(true);
    await watched(page, browser, info, worker, source, async () => {});
    await expectSameEnd(page, node, "s1");
  });
}

async function begin(page: Page, node: Node): Promise<Worker> {
  await say(page, "go");
  return node.worker("s1");
}

// Streams, and judges what the page's thread did meanwhile.
async function watched(
  page: Page,
  browser: Browser,
  info: TestInfo,
  worker: Worker,
  source: Generator<string>,
  meanwhile: (sent: number) => Promise<void>,
): Promise<void> {
  await page.evaluate(watch);
  await browser.startTracing(page, { categories: ["devtools.timeline", "toplevel", "blink.user_timing"] });
  const begun = performance.now();
  for (let sent = 0; sent < RATE * SECONDS; ) {
    const due = Math.min(RATE * SECONDS, Math.floor(((performance.now() - begun) / 1000) * RATE));
    for (; sent < due; sent++) {
      worker.text(source.next().value ?? "");
      await meanwhile(sent);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await worker.complete();
  const trace = await browser.stopTracing();
  writeFileSync(info.outputPath("trace.json"), trace);
  const { frames, long } = await page.evaluate(
    () => (window as unknown as { watched: { frames: number[]; long: number[] } }).watched,
  );
  const all = mainThreadTasks(JSON.parse(trace.toString()) as { traceEvents: Entry[] });
  const [tasks, own] = [all.map((task) => (task.dur ?? 0) / 1000), all.map((task) => (task.tdur ?? 0) / 1000)];
  const report = [
    `frames of ${RATE} tokens/s over ${SECONDS} s: ${frames.length}, median ${at(frames, 0.5)} ms, p95 ${at(frames, 0.95)} ms, p99 ${at(frames, 0.99)} ms`,
    `tasks of the page's thread: median ${at(tasks, 0.5)} ms, p99 ${at(tasks, 0.99)} ms, longest ${at(tasks, 1)} ms; over 50 ms: ${tasks.filter((task) => task > 50).length}`,
    `of them the thread's own time: p99 ${at(own, 0.99)} ms, longest ${at(own, 1)} ms; over 50 ms: ${own.filter((task) => task > 50).length}`,
    `long tasks as the page itself sees them: ${long.length > 0 ? long.map(Math.round).join(", ") : "none"}`,
  ];
  process.stdout.write(`${info.title}\n${report.map((line) => `  ${line}\n`).join("")}`);
  expect(frames.length).toBeGreaterThan(0);
  // Where the thread's own time isn't measured, nothing is shown by its being short.
  expect(own.some((task) => task > 0)).toBe(true);
  expect(own.filter((task) => task > TASK_MAX_MS).length).toBeLessThanOrEqual(LONG_TASKS_MAX);
}

function watch(): void {
  const watched = { frames: [] as number[], long: [] as number[] };
  Object.assign(window, { watched });
  new PerformanceObserver((list) => watched.long.push(...list.getEntries().map((entry) => entry.duration))).observe({
    type: "longtask",
  });
  let last = performance.now();
  const frame = (now: number) => {
    watched.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

// The thread that runs the page: the renderer's main thread with the most to do.
function mainThreadTasks({ traceEvents }: { traceEvents: Entry[] }): Entry[] {
  const mains = traceEvents.filter((entry) => entry.name === "thread_name" && entry.args?.name === "CrRendererMain");
  const busy = mains.map(({ pid, tid }) =>
    traceEvents.filter((entry) => entry.pid === pid && entry.tid === tid && entry.ph === "X" && /RunTask$/.test(entry.name)),
  );
  return busy.sort((a, b) => b.length - a.length)[0] ?? [];
}

function at(values: readonly number[], share: number): string {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1);
}
