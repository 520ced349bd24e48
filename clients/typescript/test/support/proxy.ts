/** Stands between a client and a node, as networks do: cuts, holds up, and refuses. */

import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { TestContext } from "node:test";

export class Proxy {
  /** Connections that were made over it. */
  connections = 0;
  /** Sees what goes to the node first; `false`: the connection is cut and nothing is passed on. */
  toNode: (bytes: Buffer) => boolean = () => true;
  /** The same for what comes from the node. */
  fromNode: (bytes: Buffer) => boolean = () => true;
  /** Whether connections are refused. */
  refusing = false;

  private readonly pairs = new Set<[Socket, Socket]>();

  private constructor(
    private readonly server: Server,
    public port: number,
  ) {}

  static async start(context: TestContext, url: string): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server, Number(new URL(url).port));
    server.on("connection", (client) => proxy.accept(client));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    context.after(() => {
      server.close();
      proxy.cut();
    });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Ends every connection at once. */
  cut(): void {
    for (const [client, node] of this.pairs) {
      client.destroy();
      node.destroy();
    }
    this.pairs.clear();
  }

  /** Passes nothing on any more, on the connections that there are, and says nothing of it. */
  hold(): void {
    for (const [client, node] of this.pairs) {
      client.pause();
      node.pause();
    }
  }

  private accept(client: Socket): void {
    this.connections += 1;
    if (this.refusing) return void client.destroy();
    const node = connect(this.port, "127.0.0.1");
    const pair: [Socket, Socket] = [client, node];
    this.pairs.add(pair);
    const end = () => {
      client.destroy();
      node.destroy();
      this.pairs.delete(pair);
    };
    client.on("data", (bytes) => (this.toNode(bytes) ? node.write(bytes) : end()));
    node.on("data", (bytes) => (this.fromNode(bytes) ? client.write(bytes) : end()));
    for (const socket of pair) socket.on("close", end).on("error", end);
  }
}
