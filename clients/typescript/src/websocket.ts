/** A link over WebSocket, in JSON. */

import { FanfoldError, network } from "./error.js";
import { tooLong } from "./link.js";
import type { Socket, WatchOptions, WebSocketClass } from "./options.js";
import type { Link, Opening, Reader } from "./link.js";
import { only, utf8Length } from "./wire.js";
import type { Wire } from "./wire.js";

const SUBPROTOCOL = "fanfold.v1.json";

export function openWebSocket(opening: Opening): Promise<void> {
  return new Promise((resolve, reject) => new WebSocketLink(opening, resolve, reject));
}

class WebSocketLink implements Link {
  readonly #opening: Opening;
  readonly #reject: (error: FanfoldError) => void;
  readonly transport = "websocket";
  readonly idle = false;
  readonly #socket: Socket;
  #opened = false;
  #over = false;
  readonly #reads = new Set<string>();
  /** What the node takes in one frame. */
  #bytesMax = Infinity;

  constructor(opening: Opening, resolve: () => void, reject: (error: FanfoldError) => void) {
    this.#opening = opening;
    this.#reject = reject;
    const { environment, token, signal } = opening;
    const { WebSocket } = environment as { WebSocket: WebSocketClass };
    this.#socket = new WebSocket(`${environment.url.replace(/^http/, "ws")}/v1/ws`, [SUBPROTOCOL]);
    this.#socket.onopen = () => this.#send({ hello: { token, client: environment.clientName } });
    this.#socket.onmessage = ({ data }: { data: unknown }) => {
      const [kind, body] = parse(data);
      if (this.#over || kind === undefined) return;
      if (kind === "welcome") {
        this.#opened = true;
        this.#bytesMax = body["limits"]?.request_bytes_max ?? Infinity;
        opening.events.frame(kind, body);
        opening.events.opened(this);
        resolve();
      } else {
        const ended = kind === "error" || (kind === "closed" && body["code"] !== "unsubscribed");
        if (ended && !body["command"]) this.#reads.delete(body["session"] as string);
        opening.events.frame(kind, body);
      }
    };
    this.#socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.#end(closeError(code, reason));
    // A node that ends a connection with a reason makes no error of it, and not everywhere does a close follow on one.
    this.#socket.onerror = () => this.#end(closeError(1006, ""));
    signal.addEventListener("abort", () => {
      if (!this.#opened) this.#end(tooLong());
    });
  }

  reads(session: string): boolean {
    return this.#reads.has(session);
  }

  read(reader: Reader): void {
    const { id, wanted, window } = reader;
    this.#reads.add(id);
    this.#send({ subscribe: { session: id, window, ...(wanted !== undefined && { cursor: wanted }) } });
  }

  leave(session: string): void {
    if (this.#reads.delete(session)) this.#send({ unsubscribe: { session } });
  }

  command(command: Wire): void {
    // The node would end the connection of all sessions for it.
    if (utf8Length(JSON.stringify({ command })) <= this.#bytesMax) return this.#send({ command });
    const { id } = command as { id: string };
    queueMicrotask(() => this.#opening.events.frame("error", { code: "too_large", command: id }));
  }

  appear(session: string, doing: string): void {
    this.#send({ presence: { session, doing } });
  }

  watch(asked: WatchOptions | undefined): void {
    this.#send(asked ? { watch: asked } : { unwatch: {} });
  }

  refresh(token: string): void {
    this.#send({ refresh: { token } });
  }

  close(): void {
    this.#over = true;
    this.#socket.close();
  }

  #send(frame: Wire): void {
    // While it closes, nothing can be sent: what matters is sent again over the next one.
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  #end(error: FanfoldError): void {
    if (this.#over) return;
    this.close();
    if (this.#opened) this.#opening.events.end(error);
    else this.#reject(error);
  }
}

/** What can't be read is passed over like a kind that isn't known: a delta that follows on it won't fit. */
function parse(data: unknown): [string | undefined, Wire] {
  try {
    return only(JSON.parse(data as string) as Wire);
  } catch {
    return [undefined, {}];
  }
}

/** Codes of 4000 to 4499: come back; of 4500 to 4999: don't. The reason is the error's name. */
function closeError(code: number, reason: string): FanfoldError {
  if (code < 4000 || code > 4999) return network();
  const retry = code === 4401 ? "with_token" : code < 4500 ? "resume" : "no";
  return new FanfoldError({ code: reason || `close_${code}`, retry });
}
