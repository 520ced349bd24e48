/** A page in the system's Chromium, over the browser's own protocol. */

import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

const BINARY =
  process.env["FANFOLD_CHROMIUM"] ??
  ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** Whether there is a browser to test with. Where there must be one, its absence is a failure. */
export function haveChromium(): boolean {
  if (BINARY) return true;
  if (process.env["CI"] === "true") throw new Error("there is no Chromium; name it in FANFOLD_CHROMIUM");
  const list = process.env["FANFOLD_NOT_RUN"];
  if (list) appendFileSync(list, "clients/typescript in a browser: no Chromium\n");
  return false;
}

export class Page {
  private asked = 0;
  private readonly answers = new Map<number, (answer: { result?: unknown; error?: unknown }) => void>();
  /** What the page said on its console, and what went wrong in it. */
  readonly said: string[] = [];

  private constructor(private readonly socket: WebSocket) {
    socket.onmessage = ({ data }) => {
      const told = JSON.parse(data as string) as { id?: number; method?: string; params?: unknown };
      if (told.id !== undefined) this.answers.get(told.id)?.(told as object);
      else if (told.method === "Runtime.exceptionThrown") this.said.push(JSON.stringify(told.params));
    };
  }

  static async open(context: TestContext): Promise<Page> {
    const profile = mkdtempSync(join(tmpdir(), "fanfold-page-"));
    const flags = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--remote-debugging-port=0"];
    const child = spawn(BINARY as string, [...flags, `--user-data-dir=${profile}`, "about:blank"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    context.after(async () => {
      // Its many processes write to the profile until the last of them has ended.
      const killed = setTimeout(() => child.kill("SIGKILL"), 5_000);
      void page?.ask("Browser.close");
      await ended;
      clearTimeout(killed);
      await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    });
    let page: Page | undefined;
    for await (const line of createInterface({ input: child.stderr })) {
      const [, port] = /ws:\/\/127\.0\.0\.1:(\d+)\//.exec(line) ?? [];
      if (!port) continue;
      // Nobody reads on; it must not wait for that.
      child.stderr.resume();
      const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        type: string;
        webSocketDebuggerUrl: string;
      }[];
      const socket = new WebSocket(targets.find(({ type }) => type === "page")!.webSocketDebuggerUrl);
      await new Promise((resolve) => (socket.onopen = resolve));
      page = new Page(socket);
      await page.ask("Page.enable");
      await page.ask("Runtime.enable");
      await page.ask("Network.enable");
      return page;
    }
    throw new Error("the browser ended before it said its address");
  }

  async ask(method: string, params: object = {}): Promise<unknown> {
    const id = ++this.asked;
    const answered = new Promise<{ result?: unknown; error?: unknown }>((resolve) => this.answers.set(id, resolve));
    this.socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await answered;
    if (error) throw new Error(JSON.stringify(error));
    return result;
  }

  async go(url: string): Promise<void> {
    await this.ask("Page.navigate", { url });
  }

  reload(): Promise<unknown> {
    return this.ask("Page.reload");
  }

  /** What an expression gives in the page; of a promise, what it resolves to. */
  async evaluate<T>(expression: string): Promise<T> {
    const asked = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = (await this.ask("Runtime.evaluate", asked)) as {
      result: { value: T };
      exceptionDetails?: object;
    };
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  /** Waits until an expression gives something that is true; it may fail while a page is being loaded. */
  async until<T>(expression: string, deadlineMs = 30_000): Promise<T> {
    const deadline = Date.now() + deadlineMs;
    for (let last: unknown; ;) {
      try {
        last = await this.evaluate<T>(expression);
        if (last) return last as T;
      } catch (error) {
        last = error;
      }
      if (Date.now() > deadline) throw new Error(`not in time: ${expression}: ${String(last)} ${this.said.join()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
