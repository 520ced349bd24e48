import { useCallback, useSyncExternalStore } from "react";

// A value that several parts of the page read, and that tells them when it is another one.
export interface Store<T> {
  get(): T;
  set(next: T | ((now: T) => T)): void;
  subscribe(tell: () => void): () => void;
}

export function createStore<T>(initial: T): Store<T> {
  let value = initial;
  const readers = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      const now = typeof next === "function" ? (next as (now: T) => T)(value) : next;
      if (Object.is(now, value)) return;
      value = now;
      for (const tell of [...readers]) tell();
    },
    subscribe(tell) {
      readers.add(tell);
      return () => {
        readers.delete(tell);
      };
    },
  };
}

// `choose` must give the same value for the same store: parts of it, not copies.
export function useStore<T, R = T>(store: Store<T>, choose: (value: T) => R = (value) => value as unknown as R): R {
  const read = useCallback(() => choose(store.get()), [store, choose]);
  return useSyncExternalStore(store.subscribe, read);
}
