// How the page stands to the node, told as it is: what is shown as live is live.

import type { Connection, Snapshot } from "fanfold";
import { codeOf, wordsFor } from "../app/errors";

export interface Standing {
  readonly tone: "good" | "busy" | "bad" | "off";
  readonly word: string;
  // What it means for the reader, and what happens next.
  readonly detail: string;
  // Whether trying at once may help.
  readonly retry: boolean;
}

const AS_IT_WAS = "What you see is as it was then; it goes on from there by itself.";
const LOG_AWAY =
  "The node can't reach the log that keeps this conversation. What you see is true but may be old; it goes on by itself.";

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
  if (connection.logAway) return { tone: "bad", word: "Storage away", detail: LOG_AWAY, retry: false };
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
