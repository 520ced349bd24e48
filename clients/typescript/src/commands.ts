/**
 * Commands that wait for their answer, over as many connections as it takes: the same id acts once, so each is sent until it is
 * answered. Those of one session are sent one after the other, so that they act in the order in which they were submitted.
 */

import type { Backoff } from "./backoff.js";
import type { Connector } from "./connection.js";
import { FanfoldError, isTransient } from "./error.js";
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
  /** What was said of it last. */
  failure: FanfoldError | undefined;
}

export interface CommandSettings {
  readonly commandsMax: number;
  readonly commandTimeoutMs: number;
  readonly backoff: () => Backoff;
}

export class Commands {
  readonly #settings: CommandSettings;
  readonly #connector: Connector;
  readonly #pending = new Map<string, Pending>();

  constructor(settings: CommandSettings, connector: Connector) {
    this.#settings = settings;
    this.#connector = connector;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  async submit(session: string, action: Wire, options: CommandOptions, id: string): Promise<Receipt> {
    const { ifLast, signal, timeoutMs = this.#settings.commandTimeoutMs } = options;
    const known = this.#pending.get(id);
    if (known) return known.answered;
    const refusal = signal?.aborted ? "aborted" : this.#pending.size >= this.#settings.commandsMax ? "queue_full" : undefined;
    if (refusal) throw new FanfoldError({ code: refusal, session, command: id });
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
        this.#connector.update();
        this.flush();
      };
    });
    const wire = { id, session, ...(ifLast !== undefined && { if_last: ifLast }), ...action };
    const pending: Pending = { wire, backoff: this.#settings.backoff(), settle, answered, sent: false, sentEver: false, failure: undefined };
    this.#pending.set(id, pending);
    this.#connector.update();
    this.flush();
    return answered;
  }

  /** Sends the oldest of each session, unless it is on its way. */
  flush(): void {
    const { link } = this.#connector;
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
    const { verdict, refusal, first_applied: _, ...receipt } = body;
    const { session, command } = receipt as Receipt;
    this.#pending
      .get(command)
      ?.settle(
        refusal
          ? new FanfoldError({ code: refusal, session, command })
          : ({ ...receipt, repeated: verdict === "VERDICT_REPEATED" } as Receipt),
      );
  }

  /** It was not judged, or nobody knows. */
  error(body: Wire): void {
    const pending = this.#pending.get(body["command"] as string);
    if (!pending) return;
    const error = errorOf(body);
    if (!mayGoBetter(error)) return pending.settle(error);
    pending.failure = error;
    setTimeout(() => {
      pending.sent = false;
      this.flush();
    }, pending.backoff.next(error.retryAfterMs));
  }

  /** There will be no connection. */
  stop(code: string): void {
    for (const pending of [...this.#pending.values()]) pending.settle(this.#unanswered(code, pending));
  }

  #unanswered(code: string, { wire, sentEver, failure }: Pending): FanfoldError {
    const { id, session } = wire as { id: string; session: string };
    return new FanfoldError({ code, session, command: id, outcome: sentEver ? "unknown" : "not_applied", cause: failure });
  }
}

/**
 * Whether the same command may go better after a while. Some refusals have that advice too, but they were judged: the same id would
 * be told the same again.
 */
function mayGoBetter(error: FanfoldError): boolean {
  return isTransient(error) && !error.code.startsWith("run_");
}
