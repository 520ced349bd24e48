/**
 * Commands that wait for their answer, over as many connections as it takes: the same id acts once, so each is sent until it is
 * answered. Those of one session are sent one after the other, so that they act in the order in which they were submitted.
 */

import { Backoff } from "./backoff.js";
import { FanfoldError } from "./error.js";
import type { Link } from "./link.js";
import { errorOf } from "./link.js";
import type { CommandOptions, Receipt } from "./options.js";
import type { Wire } from "./wire.js";

interface Pending {
  readonly wire: Wire;
  readonly backoff: Backoff;
  readonly settle: (answer: Receipt | FanfoldError) => void;
  readonly answered: Promise<Receipt>;
  /** Over the link that there is now. */
  sent: boolean;
  /** Over any. */
  sentEver: boolean;
}

export interface CommandSettings {
  readonly commandsMax: number;
  readonly commandTimeoutMs: number;
  readonly backoffFirstMs: number;
  readonly backoffLongestMs: number;
}

export class Commands {
  readonly #pending = new Map<string, Pending>();

  constructor(
    private readonly settings: CommandSettings,
    /** The link that there is. */
    private readonly link: () => Link | undefined,
    /** To be called when there may be more or less to send. */
    private readonly changed: () => void,
  ) {}

  get waiting(): number {
    return this.#pending.size;
  }

  submit(session: string, action: Wire, options: CommandOptions, id: string): Promise<Receipt> {
    const { ifLast, signal, timeoutMs = this.settings.commandTimeoutMs } = options;
    const known = this.#pending.get(id);
    if (known) return known.answered;
    if (signal?.aborted) return Promise.reject(new FanfoldError({ code: "aborted", session, command: id }));
    if (this.#pending.size >= this.settings.commandsMax) {
      return Promise.reject(new FanfoldError({ code: "queue_full", session, command: id }));
    }
    let settle: Pending["settle"] = () => {};
    const answered = new Promise<Receipt>((resolve, reject) => {
      const giveUp = (code: string) => settle(this.#unanswered(code, pending));
      const timer = timeoutMs > 0 ? setTimeout(() => giveUp("timeout"), timeoutMs) : undefined;
      const abort = () => giveUp("aborted");
      signal?.addEventListener("abort", abort);
      settle = (answer) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#pending.delete(id);
        if (answer instanceof FanfoldError) reject(answer);
        else resolve(answer);
        this.changed();
        this.flush();
      };
    });
    const wire = { id, session, ...(ifLast !== undefined && { if_last: ifLast }), ...action };
    const backoff = new Backoff(this.settings.backoffFirstMs, this.settings.backoffLongestMs);
    const pending: Pending = { wire, backoff, settle, answered, sent: false, sentEver: false };
    this.#pending.set(id, pending);
    this.changed();
    this.flush();
    return answered;
  }

  /** Sends the oldest of each session, unless it is on its way. */
  flush(): void {
    const link = this.link();
    const oldest = new Set<string>();
    for (const pending of this.#pending.values()) {
      const session = pending.wire["session"] as string;
      if (!link || oldest.has(session)) continue;
      oldest.add(session);
      if (pending.sent) continue;
      pending.sent = pending.sentEver = true;
      link.command(pending.wire);
    }
  }

  /** The link is gone: what was sent over it is sent again over the next. */
  lost(): void {
    for (const pending of this.#pending.values()) pending.sent = false;
  }

  receipt(body: Wire): void {
    const pending = this.#pending.get(body["command"] as string);
    if (!pending) return;
    const { command, session, refusal } = body as { command: string; session: string; refusal?: string };
    if (refusal) return pending.settle(new FanfoldError({ code: refusal, session, command }));
    pending.settle({
      command,
      session,
      repeated: body["verdict"] === "VERDICT_REPEATED",
      cursor: body["cursor"] ?? "",
      offset: body["offset"] ?? "0",
      message: body["message"] ?? "",
      run: body["run"] ?? "",
      reply: body["reply"] ?? "",
    });
  }

  /** It was not judged, or nobody knows. */
  error(body: Wire): void {
    const pending = this.#pending.get(body["command"] as string);
    if (!pending) return;
    const error = errorOf(body);
    if (!AGAIN.has(error.code)) return pending.settle(error);
    setTimeout(() => {
      pending.sent = false;
      this.flush();
    }, pending.backoff.next(error.retryAfterMs));
  }

  /** There will be no connection. */
  stop(code: string): void {
    for (const pending of [...this.#pending.values()]) pending.settle(this.#unanswered(code, pending));
  }

  #unanswered(code: string, { wire, sentEver }: Pending): FanfoldError {
    const { id, session } = wire as { id: string; session: string };
    return new FanfoldError({ code, session, command: id, outcome: sentEver ? "unknown" : "not_applied" });
  }
}

/**
 * After these the same command may go better. The refusals that `later` is said of are not among them: they were judged, and
 * the same id would be told the same.
 */
const AGAIN = new Set([
  "busy",
  "overloaded",
  "unavailable",
  "unknown_outcome",
  "internal",
  "too_many_connections",
  "draining",
  "slow_consumer",
  "stream_expired",
  "network",
  "token_failed",
]);
