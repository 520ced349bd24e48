// How the page stands to the node, told as it is: what is shown as live is live.

import type { Connection, Snapshot } from "fanfold";
import { useConnection } from "fanfold/react";
import { useEffect, useState } from "react";
import { fanfold } from "../app/client";
import { codeOf, wordsFor } from "../app/errors";
import { announce } from "../ui/announce";

export interface Standing {
  readonly tone: "good" | "busy" | "bad" | "off";
  readonly word: string;
  // What it means for the reader, and what happens next.
  readonly detail: string;
  // Whether trying at once may help.
  readonly retry: boolean;
}

const AS_IT_WAS = "What you see is as it was then; it goes on from there by itself.";

export function standingOf(
  connection: Connection,
  snapshot: Pick<Snapshot, "phase" | "closed" | "error"> | null,
  nowMs: number,
): Standing {
  if (snapshot?.error) return { tone: "bad", word: "Not readable", detail: said(snapshot.error), retry: false };
  if (snapshot?.closed) return { tone: "off", ...ended(snapshot.closed.code), retry: false };
  switch (connection.phase) {
    case "offline":
      return { tone: "bad", word: "You are offline", detail: `Your browser has no network. ${AS_IT_WAS}`, retry: false };
    case "waiting":
      return waiting(connection, nowMs);
    case "stopped":
      return { tone: "bad", word: "Disconnected", detail: said(connection.error), retry: true };
    case "connecting":
      if (connection.failures > 0) return { tone: "bad", word: "Reconnecting…", detail: AS_IT_WAS, retry: false };
      return { tone: "busy", word: "Connecting…", detail: "The node is being asked for the session.", retry: false };
    case "idle":
    case "open":
      break;
  }
  if (snapshot === null || snapshot.phase === "live") {
    const over = connection.transport === "sse" ? " Over server-sent events, as no WebSocket can be had." : "";
    return { tone: "good", word: "Live", detail: `Everything the node has is shown as it comes.${over}`, retry: false };
  }
  if (snapshot.phase === "catching_up")
    return { tone: "busy", word: "Catching up…", detail: "What you missed is on its way.", retry: false };
  return { tone: "busy", word: "Connecting…", detail: "The node is being asked for the session.", retry: false };
}

function waiting({ error, retryAtMs }: Connection, nowMs: number): Standing {
  const seconds = Math.ceil(Math.max(0, (retryAtMs ?? nowMs) - nowMs) / 1000);
  const when = seconds > 0 ? ` Next try in ${seconds} s.` : "";
  if (codeOf(error) === "draining") {
    return { tone: "busy", word: "The node restarts", detail: `It said when to come back.${when} ${AS_IT_WAS}`, retry: false };
  }
  return { tone: "bad", word: "Connection lost", detail: `The node can't be reached.${when} ${AS_IT_WAS}`, retry: true };
}

function ended(code: string): { word: string; detail: string } {
  switch (code) {
    case "erased":
      return { word: "Erased", detail: "Somebody removed this session's content for good." };
    case "revoked":
      return { word: "No access", detail: "You may no longer read this session. Ask whoever gave you access." };
    case "closed":
      return { word: "Ended", detail: "Somebody ended this session. It stays readable." };
    default:
      return { word: "Left", detail: "This page no longer follows the session." };
  }
}

function said(error: unknown): string {
  const { what, todo } = wordsFor(error);
  return `${what} ${todo}`;
}

// Shorter than this a change isn't worth a sentence to a screen reader.
const SETTLED_MS = 1500;

export function ConnectionPill({ snapshot }: { snapshot: Snapshot | null }) {
  const connection = useConnection(fanfold);
  const now = useSeconds(connection.phase === "waiting");
  const standing = standingOf(connection, snapshot, now);
  const { word } = standing;
  useEffect(() => {
    const timer = setTimeout(() => announce(word), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [word]);
  return (
    <div className={`connection ${standing.tone}`}>
      <span className="pill" title={standing.detail}>
        <i aria-hidden="true" />
        <span>{word}</span>
      </span>
      {standing.retry && (
        <button type="button" className="small" onClick={() => fanfold.reconnect()}>
          Try now
        </button>
      )}
    </div>
  );
}

// A strip that says more, once it lasts: a blink of the network needs no words.
export function ConnectionStrip({ snapshot }: { snapshot: Snapshot }) {
  const connection = useConnection(fanfold);
  const now = useSeconds(connection.phase === "waiting");
  const standing = standingOf(connection, snapshot, now);
  const troubled = standing.tone === "bad" || standing.tone === "off";
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (!troubled) return setShown(false);
    const timer = setTimeout(() => setShown(true), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [troubled]);
  return troubled && shown ? <p className={`strip ${standing.tone}`}>{standing.detail}</p> : null;
}

function useSeconds(running: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return now;
}
