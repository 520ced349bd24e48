import type { LiveSession, SessionEvent, Snapshot } from "../../src/index.js";

const DEADLINE_MS = 90_000;

/** Waits until a session is as wanted, which is looked at after each change. */
export function until(live: LiveSession, wanted: (snapshot: Snapshot) => boolean, what = wanted.toString()): Promise<Snapshot> {
  return waiting(
    what,
    () => (wanted(live.snapshot) ? live.snapshot : undefined),
    live.subscribe,
    () => JSON.stringify(live.snapshot).slice(0, 2000),
  );
}

/** Waits until `look` gives something, whenever `subscribe` says that something has changed. */
export function waiting<T>(
  what: string,
  look: () => T | undefined | false,
  subscribe: (listener: () => void) => () => void,
  state: () => string = () => "",
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => done(() => reject(new Error(`not in time: ${what} ${state()}`))), DEADLINE_MS);
    const done = (settle: () => void) => {
      clearTimeout(timer);
      stop();
      settle();
    };
    let stop = () => {};
    const check = () => {
      const found = look();
      if (found) done(() => resolve(found));
    };
    stop = subscribe(check);
    check();
  });
}

/** How a session went on, each time that a connection was made for it. */
export function subscriptions(live: LiveSession): Extract<SessionEvent, { kind: "subscribed" }>[] {
  const seen: Extract<SessionEvent, { kind: "subscribed" }>[] = [];
  live.subscribe((event) => {
    if (event.kind === "subscribed") seen.push(event);
  });
  return seen;
}

/** A storage as browsers have it. */
export function memoryStorage(): Storage & { readonly map: Map<string, string> } {
  const map = new Map<string, string>();
  return {
    map,
    getItem: (key: string) => map.get(key) ?? null,
    setItem: (key: string, value: string) => void map.set(key, value),
    removeItem: (key: string) => void map.delete(key),
  } as Storage & { readonly map: Map<string, string> };
}
