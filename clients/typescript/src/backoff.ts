/**
 * When to try again: exponential back-off with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
 * It is reset by progress only: a node that takes connections and drops them would be hammered otherwise.
 */
export class Backoff {
  failures = 0;

  constructor(
    readonly firstMs: number,
    readonly longestMs: number,
  ) {}

  /** Counts a failure and says how long to wait: at least `leastMs`, to which the jitter is added. */
  next(leastMs = 0): number {
    const boundMs = Math.min(this.longestMs, this.firstMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    return leastMs + Math.random() * boundMs;
  }

  reset(): void {
    this.failures = 0;
  }
}
