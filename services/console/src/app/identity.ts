// Who the reader is, where the node asks for it. A node for one's own machine asks nobody.

import { keptStore } from "./kept";

export const token = keptStore<string>("token", "");

function claims(): { readonly sub?: unknown } {
  try {
    const claims = (token.get().split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(claims), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as object;
  } catch {
    return {};
  }
}

// Who the token is for and what it allows: the same for a new one of the same person.
export function holder(): string {
  const { exp: _, iat: __, nbf: ___, jti: ____, ...who } = claims() as Record<string, unknown>;
  return token.get() && JSON.stringify(who);
}

// The name that the node knows this reader by: the token's subject; an open node calls everybody `dev`.
export function me(): string {
  const { sub } = claims();
  return token.get() ? (typeof sub === "string" ? sub : "") : "dev";
}
