import { type Connection, FanfoldError, type Snapshot } from "fanfold";
import { expect, it } from "vitest";
import { standingOf } from "./standing";

const open: Connection = { phase: "open", transport: "websocket", failures: 0 };
const session = (phase: Snapshot["phase"]) => ({ phase });

const ROWS: [name: string, connection: Connection, session: Parameters<typeof standingOf>[1], word: string, tone: string][] = [
  ["live over an open connection", open, session("live"), "Live", "good"],
  ["an open connection that hasn't brought all", open, session("catching_up"), "Catching up…", "busy"],
  ["an open connection that has brought nothing", open, session("connecting"), "Connecting…", "busy"],
  ["a node without its log", { ...open, logAway: true }, session("live"), "Storage away", "bad"],
  ["the first try", { phase: "connecting", failures: 0 }, session("connecting"), "Connecting…", "busy"],
  ["a later try", { phase: "connecting", failures: 2 }, session("lost"), "Reconnecting…", "bad"],
  ["the wait between", { phase: "waiting", failures: 2, retryAtMs: 5000 }, session("lost"), "Connection lost", "bad"],
  ["no network", { phase: "offline", failures: 1 }, session("lost"), "You are offline", "bad"],
  [
    "given up",
    { phase: "stopped", failures: 1, error: new FanfoldError({ code: "permission_denied" }) },
    session("lost"),
    "Disconnected",
    "bad",
  ],
  [
    "a node that drains",
    { phase: "waiting", failures: 0, error: new FanfoldError({ code: "draining" }) },
    session("lost"),
    "The node restarts",
    "busy",
  ],
  ["a session that ended", open, { phase: "closed", closed: { code: "closed", reason: "" } }, "Ended", "off"],
  ["a right that was taken", open, { phase: "closed", closed: { code: "revoked", reason: "" } }, "No access", "off"],
  [
    "a session that can't be read",
    open,
    { phase: "failed", error: new FanfoldError({ code: "history_missing" }) },
    "Not readable",
    "bad",
  ],
];

it.each(ROWS)("says how it is: %s", (_, connection, snapshot, word, tone) => {
  expect(standingOf(connection, snapshot, 1000)).toMatchObject({ word, tone });
});

it("never calls live what isn't", () => {
  for (const phase of ["idle", "connecting", "waiting", "offline", "stopped"] as const) {
    expect(standingOf({ phase, failures: 1 }, session("lost"), 0).word).not.toBe("Live");
  }
});

it("says when it tries again", () => {
  expect(standingOf({ phase: "waiting", failures: 2, retryAtMs: 5000 }, session("lost"), 1500).detail).toContain(
    "Next try in 4 s",
  );
});
