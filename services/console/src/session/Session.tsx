import { isFinal, type LiveSession, type MessageList, type NewPart } from "fanfold";
import { useSession } from "fanfold/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { fanfold } from "../app/client";
import { wordsFor } from "../app/errors";
import { go, type Route } from "../app/route";
import { useStore } from "../app/store";
import { Debug } from "../debug/Debug";
import { usePast } from "../debug/past";
import { followConnections } from "../debug/returns";
import { list, markSeen } from "../sessions/list";
import { AlertIcon } from "../ui/icons";
import { type Actions, actionsOf } from "./actions";
import { Composer } from "./Composer";
import { Conversation } from "./Conversation";
import { ConnectionStrip } from "./connection";
import { Header } from "./Header";
import { Moment } from "./moment";
import { Typing } from "./Presence";
import { type Choices, leadTo, pathOf, treeOf } from "./tree";
import { drop, type Unsent, useUnsent } from "./unsent";
import { useAnnounced } from "./useAnnounced";

// Messages that the page begins with, and that it asks for at a time when the reader scrolls back.
const WINDOW = 100;

interface Props {
  route: Route & { session: string };
  debugging: boolean;
  onDebug(on: boolean): void;
  onMenu(): void;
}

export function Session({ route, debugging, onDebug, onMenu }: Props) {
  const id = route.session;
  useReturns(id);
  const view = useSession(fanfold, id, { window: WINDOW });
  const { live, state } = view;
  useAnnounced(view);
  useSeen(id, live);
  useEffect(() => {
    live?.setPresence("present");
    return () => live?.setPresence("");
  }, [live]);

  const [awaited, lead] = useState<string | null>(null);
  const actions = useMemo(() => (live ? actionsOf(live, lead) : null), [live]);
  const ended = view.closed !== undefined || state.session.status === "closed" || state.session.status === "erased";
  const past = usePast(id, route.at);
  const shown = past?.state ?? state;
  const acting = ended || route.at !== null ? null : actions;

  const [choices, setChoices] = useState<Choices>({});
  const tree = useMemo(() => treeOf(shown.messages), [shown.messages.shape]);
  const path = useMemo(() => pathOf(tree, choices), [tree, choices]);
  const choose = useCallback((message: string) => setChoices((now) => leadTo(tree, now, message)), [tree]);

  const older = useOlder(view, route.at === null);
  const sought = useSought(route.message, tree.parent, older, choose);
  const pending = usePending(id, state.messages);
  const send = useSend(state.messages, actions, path.at(-1)?.id);
  useEffect(() => {
    if (awaited === null || !tree.parent.has(awaited)) return;
    choose(awaited);
    lead(null);
  }, [awaited, tree, choose]);
  const run = state.openRuns.find((run) => run.status === "running") ?? state.openRuns[0];

  if (view.error) return <Unreadable error={view.error} onMenu={onMenu} />;
  return (
    <div className={debugging ? "session debugging" : "session"}>
      <main className="talk" id="main">
        <Header id={id} snapshot={view} actions={acting} debugging={debugging} onDebug={onDebug} onMenu={onMenu} />
        <ConnectionStrip snapshot={view} />
        {route.at !== null && <PastStrip at={route.at} onNow={() => go({ session: id })} />}
        {view.phase === "connecting" && path.length === 0 ? (
          <Skeleton />
        ) : (
          <Moment value={past}>
            <Conversation
              key={id}
              session={id}
              state={shown}
              path={path}
              actions={acting}
              sought={sought}
              onChoose={choose}
              onOlder={older}
              pending={route.at === null ? pending : []}
            />
          </Moment>
        )}
        {route.at === null && (
          <div className="foot">
            <Typing presence={view.presence} />
            <Composer
              key={id}
              session={id}
              run={run && !isFinal(run) ? run : undefined}
              disabled={ended ? "This session has ended" : actions ? null : "Connecting…"}
              autoFocus={!matchMedia("(pointer: coarse)").matches}
              onSend={send}
              onSteer={(run, text) => actions?.steer(run, text)}
              onStop={() => actions?.cancel() ?? Promise.resolve(false)}
              onTyping={(typing) => live?.setPresence(typing ? "typing" : "present")}
            />
          </div>
        )}
      </main>
      {debugging && <Debug id={id} snapshot={view} past={past} onClose={() => onDebug(false)} />}
    </div>
  );
}

// Listens before the first answer can come: the session is followed for it as well.
function useReturns(id: string): void {
  useEffect(() => {
    const live = fanfold.follow(id, { window: WINDOW });
    const stop = followConnections(live);
    return () => {
      stop();
      live.leave();
    };
  }, [id]);
}

// What is shown of a session counts as seen: whenever the list has something new of it, and when the reader leaves.
function useSeen(id: string, live: LiveSession | undefined): void {
  const row = useStore(list).rows?.find((row) => row.session === id);
  useEffect(() => {
    const look = () => {
      if (live) markSeen(id, live.snapshot.offset);
    };
    const lookIfSeen = () => {
      if (document.visibilityState === "visible") look();
    };
    lookIfSeen();
    // It was visible until now.
    document.addEventListener("visibilitychange", look);
    addEventListener("pagehide", lookIfSeen);
    return () => {
      document.removeEventListener("visibilitychange", look);
      removeEventListener("pagehide", lookIfSeen);
      lookIfSeen();
    };
  }, [id, row, live]);
}

function useOlder(view: ReturnType<typeof useSession>, now: boolean): (() => Promise<void>) | undefined {
  const { live } = view;
  const more = now && view.state.olderMessages > 0;
  return useMemo(() => (live && more ? () => live.loadOlder(WINDOW * 4) : undefined), [live, more]);
}

// The message that the address names: older messages are fetched until it is there.
function useSought(
  message: string | null,
  known: ReadonlyMap<string, string>,
  older: (() => Promise<void>) | undefined,
  choose: (message: string) => void,
): string | null {
  const led = useRef<string | null>(null);
  useEffect(() => {
    if (message === null || led.current === message) return;
    if (known.has(message)) {
      led.current = message;
      choose(message);
    } else void older?.();
  }, [message, known, older, choose]);
  return message;
}

// What was said here and isn't in the conversation yet.
function usePending(session: string, messages: MessageList): readonly Unsent[] {
  const unsent = useUnsent(session);
  const arrived = unsent.filter((one) => messages.has(one.message));
  useEffect(() => {
    // It had been said, although no answer came.
    for (const one of arrived) if (one.failed !== undefined) drop(one);
  }, [arrived]);
  return unsent.filter((one) => !messages.has(one.message));
}

type Send = (parts: readonly NewPart[], message: string) => boolean;

// After the newest message, whichever it is by then, unless the reader looks at another branch.
function useSend(messages: MessageList, actions: Actions | null, tail: string | undefined): Send {
  return (parts, message) => {
    const branch = tail !== undefined && tail !== messages.at(-1)?.id ? { parent: tail } : {};
    actions?.send({ message, parts, ...branch });
    return actions !== null;
  };
}

function PastStrip({ at, onNow }: { at: string; onNow(): void }) {
  return (
    <p className="strip past">
      The session as it was at offset {at}.
      <button type="button" className="small" onClick={onNow}>
        Back to now
      </button>
    </p>
  );
}

function Skeleton() {
  return (
    <div className="skeleton" aria-hidden="true">
      <i />
      <i />
      <i />
    </div>
  );
}

function Unreadable({ error, onMenu }: { error: unknown; onMenu(): void }) {
  const { what, todo } = wordsFor(error);
  return (
    <main className="talk unreadable" id="main">
      <AlertIcon />
      <h1>{what}</h1>
      <p>{todo}</p>
      <div className="buttons">
        <button type="button" className="primary" onClick={() => go({})}>
          Start a new session
        </button>
        <button type="button" className="menu-button" onClick={onMenu}>
          Show the list
        </button>
      </div>
    </main>
  );
}
