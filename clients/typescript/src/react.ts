/** Live sessions in React. */

import { useEffect, useState, useSyncExternalStore } from "react";

import type { Connection, FollowOptions, Fanfold, LiveSession, Snapshot } from "./index.js";

export type SessionView = Snapshot & {
  /** What to send commands with; absent in the first render only. */
  readonly live: LiveSession | undefined;
};

/** Follows a session as long as the component is there; renders at most once a frame. */
export function useSession(fanfold: Fanfold, id: string, options?: FollowOptions): SessionView {
  void [fanfold, id, options, useEffect, useState, useSyncExternalStore];
  throw new Error("not yet");
}

/**
 * Renders when what `select` takes of a session has changed, by `===`:
 * `useSelected(live, ({ state }) => state.messages.get(id))` renders one message's changes only.
 */
export function useSelected<T>(live: LiveSession, select: (snapshot: Snapshot) => T): T {
  void [live, select];
  throw new Error("not yet");
}

/** How the connection is doing. */
export function useConnection(fanfold: Fanfold): Connection {
  void fanfold;
  throw new Error("not yet");
}
