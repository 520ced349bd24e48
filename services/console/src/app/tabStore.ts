// What this tab remembers over a reload, and nobody else.

import { createStore, type Store } from "./store";

// Storage may be forbidden: then a value lasts as long as the page. Where it is full `room` is asked for some.
const names = new Set<string>();

export function tabStore<T>(key: string, initial: T, room: () => Promise<void>): Store<T> {
  const name = `fanfold.${key}`;
  names.add(name);
  const store = createStore<T>(read(name, initial));
  const write = () => sessionStorage.setItem(name, JSON.stringify(store.get()));
  store.subscribe(() => {
    try {
      write();
    } catch {
      void room()
        .then(write)
        .catch(() => {});
    }
  });
  return store;
}

// For another person nothing of it is kept.
export function forgetTab(): void {
  for (const name of names) sessionStorage.removeItem(name);
}

function read<T>(name: string, initial: T): T {
  try {
    const text = sessionStorage.getItem(name);
    return text === null ? initial : (JSON.parse(text) as T);
  } catch {
    return initial;
  }
}
