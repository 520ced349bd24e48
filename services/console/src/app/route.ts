// Where the reader is, as the address says: a link to a session, to one message of it, or to one moment of its past.

import { useSyncExternalStore } from "react";

export interface Route {
  session: string | null;
  message: string | null;
  // An offset of the past, while that is looked at.
  at: string | null;
}

const ID = /^[A-Za-z0-9_-]{1,64}$/;

export function parseRoute(hash: string): Route {
  const [first, session, ...rest] = hash.replace(/^#\/?/, "").split("/");
  const none: Route = { session: null, message: null, at: null };
  if (first !== "s" || !session || !ID.test(session)) return none;
  const named = (name: string) => {
    const at = rest.indexOf(name);
    return at < 0 ? null : (rest[at + 1] ?? null);
  };
  const [message, at] = [named("m"), named("at")];
  return { session, message: message && ID.test(message) ? message : null, at: at && /^\d{1,20}$/.test(at) ? at : null };
}

export function hrefOf(route: Partial<Route>): string {
  if (!route.session) return "#/";
  const message = route.message ? `/m/${route.message}` : "";
  const at = route.at ? `/at/${route.at}` : "";
  return `#/s/${route.session}${message}${at}`;
}

// The same object for the same address, so that readers of it aren't told of nothing.
let current = { hash: location.hash, route: parseRoute(location.hash) };

function read(): Route {
  if (current.hash !== location.hash) current = { hash: location.hash, route: parseRoute(location.hash) };
  return current.route;
}

function subscribe(tell: () => void) {
  addEventListener("hashchange", tell);
  return () => removeEventListener("hashchange", tell);
}

export const useRoute = (): Route => useSyncExternalStore(subscribe, read);

export function go(route: Partial<Route>, replace = false): void {
  const href = hrefOf(route);
  if (!replace) {
    location.hash = href;
    return;
  }
  history.replaceState(null, "", href);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
