// What a screen reader is told: what happens, in whole sentences, and never each token.

import { createStore, useStore } from "../app/store";

const said = createStore({ text: "", turn: 0 });

export function announce(text: string): void {
  said.set((now) => ({ text, turn: now.turn + 1 }));
}

export function Announcer() {
  const { text, turn } = useStore(said);
  // The same sentence twice is said twice: it stands in another place.
  return (
    <div className="off-screen" role="status" aria-live="polite">
      <p key={turn}>{text}</p>
    </div>
  );
}
