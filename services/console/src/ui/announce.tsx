// What a screen reader is told: what happens, in whole sentences, and never each token.

import { createStore, useStore } from "../app/store";

// So many stand there, as several things may happen at once.
const KEPT_MAX = 4;

const said = createStore<readonly { readonly text: string; readonly turn: number }[]>([]);

export function announce(text: string): void {
  said.set((now) => [...now, { text, turn: (now.at(-1)?.turn ?? 0) + 1 }].slice(-KEPT_MAX));
}

export function Announcer() {
  return (
    <div className="off-screen" role="status" aria-live="polite" aria-atomic="false">
      {useStore(said).map(({ text, turn }) => (
        <p key={turn}>{text}</p>
      ))}
    </div>
  );
}
