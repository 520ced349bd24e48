/** A link over server-sent events, read with `fetch`: `EventSource` can't send a token. What is sent goes by REST. */

import { network } from "./error.js";
import type { FanfoldError } from "./error.js";
import { tooLong } from "./link.js";
import type { Link, Opening, Reader } from "./link.js";
import { answer, problem, request } from "./rest.js";
import type { WatchOptions } from "./options.js";
import type { Wire } from "./wire.js";

export function openSse(opening: Opening): Promise<void> {
  return new SseLink(opening).start();
}

/**
 * One stream carries all sessions. To read another one, the stream is opened anew with the cursors of all: those that were read
 * already go on where they are.
 */
class SseLink implements Link {
  readonly #opening: Opening;
  readonly transport = "sse";
  readonly #readers = new Map<string, Reader>();
  #stream = new AbortController();
  readonly #closing = new AbortController();
  #due = false;
  /** Commands are posted one after another, so that they arrive in their order. */
  #posted: Promise<void> = Promise.resolve();
  #token: string;
  watched: WatchOptions | undefined;

  constructor(opening: Opening) {
    this.#opening = opening;
    this.#token = opening.token;
  }

  async start(): Promise<void> {
    const { readers, watched, signal, events } = this.#opening;
    this.watched = watched;
    for (const reader of readers) this.#readers.set(reader.id, reader);
    signal.addEventListener("abort", () => this.close());
    const stream = await this.#open();
    events.opened(this);
    stream();
  }

  get idle(): boolean {
    return !this.#readers.size && !this.watched;
  }

  reads(session: string): boolean {
    return this.#readers.has(session);
  }

  read(reader: Reader): void {
    this.#readers.set(reader.id, reader);
    this.#again();
  }

  leave(session: string): void {
    if (this.#readers.delete(session)) this.#again();
  }

  command(command: Wire): void {
    this.#posted = this.#posted.then(() => this.#post(command));
  }

  appear(session: string, doing: string): void {
    const asked = { body: { doing }, signal: this.#closing.signal };
    // It is said again before it runs out.
    request(this.#opening.environment, `sessions/${session}/presence`, asked).catch(() => {});
  }

  watch(asked: WatchOptions | undefined): void {
    this.watched = asked;
    this.#again();
  }

  refresh(token: string): void {
    this.#token = token;
    this.#again();
  }

  close(): void {
    this.#closing.abort();
    this.#stream.abort();
  }

  /** Opens the stream anew, once for all that asked for it in this turn. */
  #again(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (this.#closing.signal.aborted) return;
      this.#stream.abort();
      const stream = (this.#stream = new AbortController());
      const timer = setTimeout(() => stream.abort(), this.#opening.environment.connectTimeoutMs);
      this.#open()
        .then((stream) => stream())
        .catch((error: FanfoldError) => this.#end(error.code === "aborted" ? tooLong() : error, stream.signal))
        .finally(() => clearTimeout(timer));
    });
  }

  /** Opens the stream, and gives what begins to tell of it. */
  async #open(): Promise<() => void> {
    const { signal } = this.#stream;
    const readers = [...this.#readers.values()];
    if (this.idle) return () => {};
    // In a body: the cursors of many sessions are longer than addresses may be.
    const body = {
      sessions: readers.map(({ id }) => id).join(),
      cursor: readers.flatMap(({ id, wanted }) => (wanted === undefined ? [] : `${id}=${wanted}`)).join() || undefined,
      window: Math.max(0, ...readers.map(({ window }) => window)),
      ...(this.watched && { list: true, ...this.watched }),
    };
    const response = await answer(this.#opening.environment, "stream", { body, signal }, this.#token);
    if (!response.ok) throw await problem(response);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
      throw network("not a node");
    }
    const stream = response.body;
    return () => void this.#pump(stream, signal);
  }

  async #pump(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
    const reader = body.pipeThrough(new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>).getReader();
    let text = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (signal.aborted) return;
        if (done) break;
        const blocks = (text + value).split("\n\n");
        text = blocks.pop() as string;
        for (const block of blocks) {
          this.#event(block);
          if (signal.aborted) return;
        }
      }
      // A node ends the stream by itself once every session on it has ended.
      if (!this.idle) this.#end(network(), signal);
    } catch (cause) {
      this.#end(network(undefined, cause), signal);
    }
  }

  #event(block: string): void {
    let name = "";
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
    }
    if (!name || !data) return;
    const body = JSON.parse(data) as Wire;
    if (body["list"]) this.watched = undefined;
    if ((name === "closed" || name === "error") && body["session"]) this.#readers.delete(body["session"] as string);
    this.#tell(name, body);
  }

  async #post(command: Wire): Promise<void> {
    const { session, ...body } = command;
    if (this.#closing.signal.aborted) return;
    try {
      const asked = { body, signal: this.#closing.signal };
      this.#tell("receipt", await request(this.#opening.environment, `sessions/${session}/commands`, asked));
    } catch (error) {
      this.#tell("error", { ...(error as FanfoldError), message: (error as FanfoldError).message, command: body["id"] });
    }
  }

  #tell(kind: string, body: Wire): void {
    if (!this.#closing.signal.aborted) this.#opening.events.frame(kind, body);
  }

  #end(error: FanfoldError, signal: AbortSignal): void {
    if (this.#closing.signal.aborted || this.#stream.signal !== signal) return;
    this.close();
    this.#opening.events.end(error);
  }
}
