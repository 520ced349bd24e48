/** An application's own site, as docs/clients.md arranges it: its pages, and the node under `/v1/` of the same origin. */

import { createServer, request } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";

const TYPES: Record<string, string> = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8" };

export class Site {
  private readonly sockets = new Set<Socket>();
  /** Whether the node can be reached. */
  reachable = true;

  private constructor(
    private readonly server: Server,
    private readonly node: URL,
    private readonly files: Map<string, string>,
  ) {}

  static async start(context: TestContext, node: string, files: Record<string, string>): Promise<Site> {
    const server = createServer();
    const site = new Site(server, new URL(node), new Map(Object.entries(files)));
    server.on("request", (asked, answer) => site.answer(asked, answer));
    server.on("upgrade", (asked: IncomingMessage, socket: Socket, head: Buffer) => site.upgrade(asked, socket, head));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    context.after(() => {
      site.cut();
      server.close();
      server.closeAllConnections();
    });
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Has a page be there. */
  put(path: string, file: string): void {
    this.files.set(path, file);
  }

  /** Ends every connection to the node. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private answer(asked: IncomingMessage, answer: ServerResponse): void {
    const path = new URL(asked.url ?? "/", this.url).pathname;
    const file = this.files.get(path);
    if (file !== undefined) {
      answer.writeHead(200, { "content-type": TYPES[path.split(".").pop() ?? ""] ?? TYPES["html"] }).end(file);
      return;
    }
    if (!path.startsWith("/v1/") || !this.reachable) return void answer.writeHead(404).end();
    const { method, url, headers } = asked;
    const passed = request(new URL(url ?? "", this.node), { method, headers }, (told) => {
      answer.writeHead(told.statusCode ?? 502, told.headers);
      told.pipe(answer);
    });
    passed.on("socket", (socket) => this.track(socket)).on("error", () => answer.destroy());
    asked.pipe(passed);
  }

  private upgrade(asked: IncomingMessage, client: Socket, head: Buffer): void {
    if (!this.reachable) return void client.destroy();
    const node = connect(Number(this.node.port), this.node.hostname);
    const lines = [`${asked.method} ${asked.url} HTTP/1.1`];
    for (let at = 0; at < asked.rawHeaders.length; at += 2) lines.push(`${asked.rawHeaders[at]}: ${asked.rawHeaders[at + 1]}`);
    node.write(`${lines.join("\r\n")}\r\n\r\n`);
    node.write(head);
    node.pipe(client).pipe(node);
    for (const socket of [client, node]) {
      this.track(socket);
      socket.on("error", () => {}).on("close", () => [client, node].forEach((socket) => socket.destroy()));
    }
  }

  private track(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
  }
}
