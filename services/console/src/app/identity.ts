// Who the reader is, where the node asks for it. A node for one's own machine asks nobody.

import { keptStore } from "./kept";

export const token = keptStore<string>("token", "");

// The name that the node knows this reader by: the token's subject; an open node calls everybody `dev`.
export function me(): string {
  if (!token.get()) return "dev";
  try {
    const claims = (token.get().split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(claims), (char) => char.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" ? sub : "";
  } catch {
    return "";
  }
}
