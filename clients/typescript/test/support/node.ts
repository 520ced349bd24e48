/** A real node as a process of its own. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TestContext } from "node:test";

/** Tests run from `build/test`, four folders below the repository's. */
export const BINARY =
  process.env["FANFOLD_BIN"] ?? fileURLToPath(new URL("../../../../../target/debug/fanfold", import.meta.url));

const SECRET = "0123456789abcdef0123456789abcdef";

/** Whether there is a node to test with. Where there must be one, its absence is a failure. */
export function haveNode(): boolean {
  if (existsSync(BINARY)) return true;
  if (process.env["CI"] === "true") throw new Error(`${BINARY} is missing: cargo build -p fanfold`);
  const list = process.env["FANFOLD_NOT_RUN"];
  if (list) appendFileSync(list, `clients/typescript against a node: no binary at ${BINARY}\n`);
  return false;
}

export class Node {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
    readonly data: string,
    private readonly again: (port: number) => Promise<Node>,
  ) {}

  /** `fanfold dev` on free ports; ends with the test. */
  static dev(context: TestContext, ...more: string[]): Promise<Node> {
    return Node.pinging(context, undefined, ...more);
  }

  /** The same with another time between two pings. */
  static async pinging(context: TestContext, pingMs: number | undefined, ...more: string[]): Promise<Node> {
    const data = folder(context);
    const start = (port: number): Promise<Node> =>
      Node.start(
        context,
        ["dev", "--http", `127.0.0.1:${port}`, "--grpc", "127.0.0.1:0", "--data", join(data, "data"), ...more],
        data,
        start,
        pingMs,
      );
    return start(await freePort());
  }

  /** `fanfold serve`, which asks for tokens: see {@link token}. */
  static async serve(context: TestContext, origins: readonly string[] = []): Promise<Node> {
    const data = folder(context);
    const start = (port: number): Promise<Node> => {
      writeFileSync(join(data, "secret"), SECRET);
      const config = [
        `[node]\ndata = '${join(data, "data")}'`,
        `[listen]\nhttp = '127.0.0.1:${port}'\ngrpc = '127.0.0.1:0'\norigins = ${JSON.stringify(origins)}`,
        `[[auth.keys]]\nalgorithm = 'HS256'\npath = '${join(data, "secret")}'`,
      ];
      writeFileSync(join(data, "fanfold.toml"), config.join("\n"));
      return Node.start(context, ["serve", "--config", join(data, "fanfold.toml")], data, start);
    };
    return start(await freePort());
  }

  private static async start(
    context: TestContext,
    arguments_: string[],
    data: string,
    again: (port: number) => Promise<Node>,
    pingMs?: number,
  ): Promise<Node> {
    const pings = pingMs === undefined ? {} : { FANFOLD_LIMITS__PING_INTERVAL_MS: String(pingMs) };
    const environment = { ...process.env, FANFOLD_LOG: "warn", ...pings };
    const child = spawn(BINARY, arguments_, { env: environment, stdio: ["ignore", "pipe", "inherit"] });
    context.after(() => child.kill("SIGKILL"));
    for await (const line of createInterface({ input: child.stdout })) {
      const [, url] = /^http\s+(\S+)/.exec(line) ?? [];
      if (url) return new Node(child, url, data, again);
    }
    throw new Error("the node ended before it said its address");
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill(signal);
    await ended;
  }

  /** The same node again, on the same port. */
  restart(): Promise<Node> {
    return this.again(this.port);
  }
}

/** A port that a node can come back to: below those that systems give to outgoing connections. */
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

function folder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "fanfold-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A token for a node that {@link Node.serve} started. */
export function token(claims: Record<string, unknown>): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
