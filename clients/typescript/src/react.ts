/** Live sessions in React. Renders come at most once a frame, however fast a model writes. */

import { useCallback, useEffect, useState, useSyncExternalStore } from "react";

import { connecting } from "./index.js";
import type { Connection, Fanfold, FollowOptions, LiveSession, SessionList, Snapshot, WatchedList } from "./index.js";

/** A session as of now, and what to send commands with: absent in the first render, before it is followed. */
export type SessionView = Snapshot & { readonly live: LiveSession | undefined };

/** Follows a session as long as the component is there. */
export function useSession(fanfold: Fanfold, id: string, options: FollowOptions = {}): SessionView {
  const { window } = options;
  const [followed, setFollowed] = useState<LiveSession>();
  useEffect(() => {
    const live = fanfold.follow(id, window === undefined ? {} : { window });
    setFollowed(live);
    return () => live.leave();
  }, [fanfold, id, window]);
  // After a change of id, what was followed before is another session until the effect has run.
  const live = followed?.id === id ? followed : undefined;
  return { ...useSelected(live, (snapshot) => snapshot, id), live };
}

/**
 * What `select` takes of a session; renders when that has changed, by `===`. So
 * `useSelected(live, ({ state }) => state.messages.get(id))` renders when this message changes, and not for others.
 */
export function useSelected<T>(live: LiveSession | undefined, select: (snapshot: Snapshot) => T, id = live?.id ?? ""): T {
  const [nothing] = useState(() => connecting(id));
  const subscribe = useCallback((changed: () => void) => live?.subscribe(oncePerFrame(changed)) ?? (() => {}), [live]);
  const selected = () => select(live?.snapshot ?? nothing);
  return useSyncExternalStore(subscribe, selected, selected);
}

/** What a list is that is watched. */
export function useList(list: SessionList): WatchedList {
  const now = () => list.snapshot;
  return useSyncExternalStore(list.subscribe, now, now);
}

/** How the connection is doing. */
export function useConnection(fanfold: Fanfold): Connection {
  const now = () => fanfold.connection;
  return useSyncExternalStore(fanfold.subscribe, now, now);
}

/** Calls at the next frame for all calls until then; at once where nothing is painted, as frames don't come there. */
function oncePerFrame(call: () => void): () => void {
  let due = false;
  return () => {
    if (globalThis.document?.visibilityState !== "visible") return call();
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      call();
    });
  };
}
