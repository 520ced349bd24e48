// Tells a screen reader when an answer begins and what it came to, and nothing between.

import { isFinal, type RunStatus, type SessionState, textOf } from "fanfold";
import { useEffect, useRef } from "react";
import { announce } from "../ui/announce";

// Of an answer so much is read out; the rest is in the conversation.
const READ_MAX = 400;

const ENDED: Partial<Record<RunStatus, string>> = {
  cancelled: "The answer was stopped.",
  failed: "The answer failed.",
  orphaned: "The answer's worker was lost.",
};

export function useAnnounced(state: SessionState): void {
  const last = state.runs.at(-1);
  const status = last?.status;
  const id = last?.id;
  const before = useRef<{ id: string | undefined; status: RunStatus | undefined } | null>(null);
  const latest = useRef(state);
  latest.current = state;
  useEffect(() => {
    const was = before.current;
    before.current = { id, status };
    // What had happened when the page came is no news.
    if (was === null || status === undefined || (was.id === id && was.status === status)) return;
    const run = latest.current.runs.get(id);
    if (!run) return;
    if (status === "running") announce("The assistant is answering.");
    if (status === "waiting") announce("The assistant waits for a decision.");
    if (!isFinal(run)) return;
    const reply = latest.current.messages.get(run.reply);
    const text = reply ? textOf(reply).trim() : "";
    const read = text.length > READ_MAX ? `${text.slice(0, READ_MAX)}… The rest is in the conversation.` : text;
    announce(`${ENDED[status] ?? "The assistant says:"} ${read}`);
  }, [id, status]);
}
