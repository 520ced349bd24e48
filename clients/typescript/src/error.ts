/** What can go wrong, in the words of docs/errors.md, and the few words that this side adds. */

/** What a caller does about an error; see docs/errors.md. */
export type Retry = "no" | "later" | "with_token" | "resume";

/** What has become of a request. `unknown`: it may have been done. */
export type Outcome = "not_applied" | "unknown";

/**
 * What this side adds to the codes of docs/errors.md:
 * `network` nothing was answered · `token_failed` the function that brings tokens threw · `timeout` no answer in time · `queue_full` too many commands wait · `aborted` the caller's
 * signal · `stopped` the client or the session was closed before an answer.
 */
export type LocalCode = "network" | "token_failed" | "timeout" | "queue_full" | "aborted" | "stopped";

export interface ErrorDetails {
  /** The name of the error: programs decide by it. */
  readonly code: LocalCode | (string & {});
  readonly message?: string | undefined;
  readonly retry?: Retry;
  readonly outcome?: Outcome;
  /** Milliseconds to wait at least before trying again; 0: no advice. */
  readonly retryAfterMs?: number | undefined;
  readonly session?: string | undefined;
  /** The id of the command it is about. */
  readonly command?: string | undefined;
  /** To find the error in the node's log. */
  readonly request?: string;
  readonly cause?: unknown;
}

export class FanfoldError extends Error {
  override readonly name = "FanfoldError";
  declare readonly code: ErrorDetails["code"];
  declare readonly retry: Retry;
  declare readonly outcome: Outcome;
  declare readonly retryAfterMs: number;
  declare readonly session: string | undefined;
  declare readonly command: string | undefined;
  declare readonly request: string | undefined;

  constructor(details: ErrorDetails) {
    const { code, message, cause } = details;
    super(message || code.replaceAll("_", " "), cause === undefined ? undefined : { cause });
    this.code = code;
    this.retry = details.retry ?? retryOf(code);
    this.outcome = details.outcome ?? (UNKNOWN.includes(code) ? "unknown" : "not_applied");
    this.retryAfterMs = details.retryAfterMs ?? 0;
    this.session = details.session || undefined;
    this.command = details.command || undefined;
    this.request = details.request || undefined;
  }
}

/** The column `retry` of docs/errors.md, where it isn't `no`; a test compares the two. */
const RETRY: Record<Exclude<Retry, "no">, string> = {
  later:
    "run_not_started run_not_next too_many_runs too_many_connections busy overloaded unavailable unknown_outcome internal " +
    "network token_failed timeout queue_full",
  with_token: "token_expired",
  resume: "slow_consumer draining stream_expired",
};

const UNKNOWN = ["unknown_outcome", "internal", "network", "timeout"];

/** What to do about an error of this code. */
export function retryOf(code: string): Retry {
  const row = Object.entries(RETRY).find(([, codes]) => codes.split(" ").includes(code));
  return row ? (row[0] as Retry) : "no";
}

/** Whether the same may go better after a while. */
export function isTransient({ retry }: FanfoldError): boolean {
  return retry === "later" || retry === "resume";
}

/** Nothing was answered, by whatever fault. */
export function network(message = "the connection was lost", cause?: unknown, retryAfterMs?: number): FanfoldError {
  return new FanfoldError({ code: "network", message, cause, retryAfterMs });
}
