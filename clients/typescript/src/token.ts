/** The token that a node is shown, and when another one is due. */

import { FanfoldError } from "./error.js";
import type { FanfoldOptions } from "./options.js";

/** How much of a token's time passes before the next one is brought. */
const USED = 0.8;

/** However short a token's time is, or how wrong a clock. */
const LEAST_MS = 5_000;

/** The longest time that a timer can be set to. */
const MOST_MS = 2 ** 31 - 1;

export class Tokens {
  readonly #source: FanfoldOptions["token"];
  #held: string | undefined;
  #dueAtMs = Infinity;

  constructor(source: FanfoldOptions["token"]) {
    this.#source = source;
  }

  /** Whether another one can be had. */
  get renewable(): boolean {
    return typeof this.#source === "function";
  }

  /** The one that is held, unless its time is nearly over. */
  async current(): Promise<string> {
    return this.#held !== undefined && Date.now() < this.#dueAtMs ? this.#held : this.next();
  }

  /** A new one. */
  async next(): Promise<string> {
    if (typeof this.#source !== "function") return (this.#held = this.#source ?? "");
    let token: string;
    try {
      token = await this.#source();
    } catch (cause) {
      throw new FanfoldError({ code: "token_failed", cause });
    }
    this.#dueAtMs = Date.now() + lifetimeMs(token);
    return (this.#held = token);
  }

  /** In how many milliseconds the next one is due; `undefined`: never. */
  dueInMs(): number | undefined {
    const dueInMs = this.#dueAtMs - Date.now();
    return this.renewable && dueInMs < MOST_MS ? Math.max(0, dueInMs) : undefined;
  }
}

/** How long a JSON Web Token is used. By its own times where it has both: this machine's clock may be wrong. */
function lifetimeMs(token: string): number {
  try {
    const claims = JSON.parse(atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"))) as Claims;
    if (typeof claims.exp !== "number") return Infinity;
    const from = typeof claims.iat === "number" ? claims.iat : Date.now() / 1000;
    return Math.max(LEAST_MS, (claims.exp - from) * 1000 * USED);
  } catch {
    // Not such a token: it is used until the node says that it has expired.
    return Infinity;
  }
}

interface Claims {
  readonly exp?: unknown;
  readonly iat?: unknown;
}
