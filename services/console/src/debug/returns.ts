// Where connections came back: of this tab, and of this browser's other tabs, which tell each other.

import { type LiveSession, newId } from "fanfold";
import { createStore } from "../app/store";

export interface Return {
  readonly id: string;
  readonly session: string;
  readonly how: "resumed" | "snapshot" | "fresh";
  readonly resetReason?: string;
  readonly transport: string;
  readonly atMs: number;
  // Where the session stood.
  readonly offset: string;
  readonly here: boolean;
}

const KEPT_MAX = 200;

export const returns = createStore<readonly Return[]>([]);

const tabs = new BroadcastChannel("fanfold.returns");
tabs.onmessage = (event: MessageEvent<Return>) => add({ ...event.data, here: false });

function add(one: Return): void {
  returns.set((now) => [...now, one].slice(-KEPT_MAX));
}

export function followConnections(live: LiveSession): () => void {
  return live.subscribe((event) => {
    if (event.kind !== "subscribed") return;
    const { how, transport, atMs, resetReason } = event;
    const why = resetReason ? { resetReason } : {};
    // Of a snapshot that is still to come the node has said how far it reaches.
    const { offset, head } = live.snapshot;
    const at = how === "resumed" ? offset : head;
    const one: Return = { id: newId(), session: live.id, how, transport, atMs, offset: at, here: true, ...why };
    add(one);
    tabs.postMessage(one);
  });
}
