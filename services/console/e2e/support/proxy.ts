// A network between a page and its node that lets nothing through for as long as a test wants.

import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export class Proxy {
  readonly #server = createServer((page) => this.#pair(page));
  readonly #sockets = new Set<Socket>();
  #held = false;

  constructor(readonly node: URL) {}

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  // What the node sends stays where it is: nothing is read of it.
  hold(): void {
    this.#held = true;
    for (const socket of this.#sockets) socket.pause();
  }

  release(): void {
    this.#held = false;
    for (const socket of this.#sockets) socket.resume();
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pair(page: Socket): void {
    const node = connect(Number(this.node.port), this.node.hostname);
    this.#sockets.add(node);
    node.on("data", (bytes) => page.write(bytes));
    page.on("data", (bytes) => node.write(bytes));
    if (this.#held) node.pause();
    for (const [socket, other] of [
      [page, node],
      [node, page],
    ] as const) {
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(node);
        other.destroy();
      });
    }
  }
}
