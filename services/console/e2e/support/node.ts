// Real nodes, as processes of their own, and what the tests say to them beside the page.

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect } from "@playwright/test";

const BINARY = process.env.FANFOLD_BIN ?? fileURLToPath(new URL("../../../../target/debug/fanfold", import.meta.url));

export const recording = (name: string): string => fileURLToPath(new URL(`../recordings/${name}.jsonl`, import.meta.url));

export interface Options {
  // Played in turn; without any, the built-in generator answers.
  recordings?: readonly string[];
  paceMs?: number;
  // 0: the test itself is the worker.
  slots?: number;
  // People must say who they are.
  signed?: boolean;
}

// A part, run or message as REST tells them: what the tests look at.
export interface Wire {
  session: { title?: string; status: string };
  messages: {
    id: string;
    parent?: string;
    role: string;
    author?: string;
    run?: string;
    parts: Record<string, Record<string, unknown>>[];
  }[];
  runs: { id: string; prompt: string; reply: string; status: string }[];
}

export class Node {
  #child: ChildProcess | null = null;
  readonly #data = mkdtempSync(join(tmpdir(), "fanfold-console-"));
  readonly #options: Options;
  #ports: { http: number; grpc: number } = { http: 0, grpc: 0 };

  constructor(options: Options) {
    this.#options = options;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports.http}`;
  }

  get #grpc(): string {
    return `http://127.0.0.1:${this.#ports.grpc}`;
  }

  // Also after `kill`: on the same ports, with the same data.
  async start(): Promise<void> {
    if (this.#ports.http === 0) this.#ports = { http: await freePort(), grpc: await freePort() };
    const child = spawn(BINARY, this.#arguments(), {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FANFOLD_LOG: "warn" },
    });
    this.#child = child;
    child.stderr.on("data", (bytes: Buffer) => process.env.FANFOLD_E2E_LOG && process.stderr.write(bytes));
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((resolve, reject) => {
      lines.once("line", () => resolve());
      child.once("exit", (code) => reject(new Error(`the node ended with ${code}`)));
      child.once("error", reject);
    });
  }

  #arguments(): string[] {
    const { recordings = [], paceMs, slots, signed } = this.#options;
    if (signed) return ["serve", "--config", this.#config()];
    const { http, grpc } = this.#ports;
    return [
      "dev",
      ...["--http", `127.0.0.1:${http}`, "--grpc", `127.0.0.1:${grpc}`, "--data", join(this.#data, "data")],
      ...recordings.flatMap((name) => ["--model-recording", recording(name)]),
      ...(paceMs === undefined ? [] : ["--model-pace", String(paceMs)]),
      ...(slots === undefined ? [] : ["--worker-slots", String(slots)]),
    ];
  }

  #config(): string {
    const key = join(this.#data, "key");
    writeFileSync(key, SECRET);
    const config = join(this.#data, "fanfold.toml");
    const pace = this.#options.paceMs === undefined ? "" : `model_pace_ms = ${this.#options.paceMs}`;
    writeFileSync(
      config,
      `[node]\ndata = "${join(this.#data, "data")}"\n[listen]\nhttp = "127.0.0.1:${this.#ports.http}"\ngrpc = "127.0.0.1:${this.#ports.grpc}"\n` +
        `[auth]\nkeys = [{ id = "k", algorithm = "HS256", path = "${key}" }]\n` +
        `[runs]\nworker_slots = ${this.#options.slots ?? 8}\nmodel_recordings = ${JSON.stringify((this.#options.recordings ?? []).map(recording))}\n${pace}\n`,
    );
    return config;
  }

  // SIGKILL: what wasn't durable is gone.
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  // SIGTERM: clients are told when to come back.
  drain(): Promise<void> {
    return this.#end("SIGTERM");
  }

  async #end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }

  async rest<T>(path: string, body?: unknown, who = "operator"): Promise<T> {
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (this.#options.signed) headers.authorization = `Bearer ${tokenOf(who, "admin")}`;
    const init = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
    const response = await fetch(this.url + path, init);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  async open(session: string, title?: string): Promise<string> {
    await this.rest("/v1/sessions", { session, ...(title ? { title } : {}) });
    return session;
  }

  async say(
    session: string,
    text: string,
    more: Record<string, unknown> = {},
  ): Promise<{ message: string; run: string; reply: string }> {
    return this.rest(`/v1/sessions/${session}/messages`, { text, ...more });
  }

  command(session: string, action: Record<string, unknown>): Promise<{ message: string; run: string; reply: string }> {
    return this.rest(`/v1/sessions/${session}/commands`, action);
  }

  async state(session: string): Promise<Wire> {
    return (await this.rest<{ view: Wire }>(`/v1/sessions/${session}?window=1000000`)).view;
  }

  // Waits until each run has ended.
  async idle(session: string): Promise<Wire> {
    let state = await this.state(session);
    await expect
      .poll(
        async () => {
          state = await this.state(session);
          return state.runs.every((run) => !/QUEUED|RUNNING/.test(run.status));
        },
        { timeout: 60_000 },
      )
      .toBe(true);
    return state;
  }

  // Takes the next run of a session and writes its answer line by line.
  async worker(session: string): Promise<Worker> {
    await expect.poll(async () => (await this.state(session)).runs.some((run) => run.status === "RUN_STATUS_QUEUED")).toBe(true);
    const token = this.#options.signed ? ["--token", tokenOf("worker", "worker")] : [];
    const child = spawn(BINARY, ["append", session, "--url", this.url, "--grpc-url", this.#grpc, ...token], {
      stdio: ["pipe", "ignore", "pipe"],
    });
    return new Worker(child);
  }
}

// Each thing said is a line, as `Said` of the protocol in JSON.
export class Worker {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = new Promise((resolve) => child.once("exit", resolve));
    // A run that was cancelled takes no more.
    child.stdin?.on("error", () => {});
  }

  say(...said: Record<string, unknown>[]): this {
    for (const one of said) this.#child.stdin?.write(`${JSON.stringify(one)}\n`);
    return this;
  }

  text(text: string): this {
    return this.say({ text: { text } });
  }

  async complete(): Promise<void> {
    this.say({ completed: { reason: { kind: "FINISH_KIND_STOP" } } });
    this.#child.stdin?.end();
    await this.ended;
  }

  // Dies as a process dies.
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

const SECRET = "a secret of the tests, long enough to be one";

export function tokenOf(who: string, role = "user", tenant = "default"): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: who, role, tenant, exp: Math.floor(Date.now() / 1000) + 3600 };
  const said = `${part({ alg: "HS256", typ: "JWT", kid: "k" })}.${part(claims)}`;
  return `${said}.${createHmac("sha256", SECRET).update(said).digest("base64url")}`;
}

// A port that a node can come back to: below those that systems give to outgoing connections.
async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
