// What this browser remembers between visits, the same in all its tabs.

import { createStore, type Store } from "./store";

// Storage may be full or forbidden: then a value lasts as long as the page.
export function keptStore<T>(key: string, initial: T): Store<T> {
  const name = `fanfold.${key}`;
  const store = createStore<T>(read(name, initial));
  addEventListener("storage", (event) => {
    if (event.key === name) store.set(read(name, initial));
  });
  return {
    ...store,
    set(next) {
      store.set(next);
      try {
        localStorage.setItem(name, JSON.stringify(store.get()));
      } catch {
        // See above.
      }
    },
  };
}

function read<T>(name: string, initial: T): T {
  try {
    const text = localStorage.getItem(name);
    return text === null ? initial : (JSON.parse(text) as T);
  } catch {
    return initial;
  }
}
