/** Requests that are answered once. */

import { FanfoldError, network } from "./error.js";
import type { WebSocketClass } from "./options.js";
import type { Tokens } from "./token.js";
import type { Wire } from "./wire.js";

/** What requests and connections are made with. */
export interface Environment {
  /** Without a slash at its end. */
  readonly url: string;
  readonly tokens: Tokens;
  readonly fetch: typeof fetch;
  readonly WebSocket: WebSocketClass | undefined;
  readonly clientName: string;
  readonly credentials: RequestCredentials;
  readonly connectTimeoutMs: number;
}

export interface Asked {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** What is posted. */
  readonly body?: object;
  readonly signal?: AbortSignal | undefined;
}

/** The answer's JSON. A token that has expired is replaced once. */
export async function request(environment: Environment, path: string, asked: Asked = {}): Promise<Wire> {
  const { tokens } = environment;
  let response = await answer(environment, path, asked, await tokens.current());
  if (response.status === 401 && tokens.renewable) {
    response = await answer(environment, path, asked, await tokens.next());
  }
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return {};
  return (await response.json().catch((cause: unknown) => {
    throw unanswered(asked.signal, cause);
  })) as Wire;
}

/** The answer, whatever it says. */
export async function answer(environment: Environment, path: string, asked: Asked, token: string): Promise<Response> {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  if (asked.body) headers["content-type"] = "application/json";
  const pairs = Object.entries(asked.query ?? {}).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  try {
    return await environment.fetch.call(undefined, `${environment.url}/v1/${path}${query && "?"}${query}`, {
      headers,
      credentials: environment.credentials,
      cache: "no-store",
      ...(asked.body && { method: "POST", body: JSON.stringify(asked.body) }),
      ...(asked.signal && { signal: asked.signal }),
    });
  } catch (cause) {
    throw unanswered(asked.signal, cause);
  }
}

/** An answer of `application/problem+json` as an error. */
export async function problem(response: Response): Promise<FanfoldError> {
  const body = (await response.json().catch(() => ({}))) as Wire;
  const code: string = body["code"] ?? "";
  const retryAfterMs = Number(response.headers.get("retry-after") ?? 0) * 1000;
  // What stands between here and the node answers in its own way.
  if (!code) return network(`answered with ${response.status}`, undefined, retryAfterMs);
  const { title, detail } = body;
  return new FanfoldError({ code, ...body, message: detail ? `${title} (${detail})` : title, retryAfterMs });
}

function unanswered(signal: AbortSignal | undefined, cause: unknown): FanfoldError {
  if (signal?.aborted) return new FanfoldError({ code: "aborted", outcome: "unknown", cause });
  return network("the node can't be reached", cause);
}
