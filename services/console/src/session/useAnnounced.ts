// Tells a screen reader what happens in a conversation: what others say, when an answer begins, what it asks for and what it came to,
// and nothing between.

import { isFinal, type Message, type Run, type RunStatus, type SessionState, type Snapshot, textOf } from "fanfold";
import { useEffect, useRef } from "react";
import { me } from "../app/identity";
import { announce } from "../ui/announce";

// Of what is said so much is read out; the rest is in the conversation.
const READ_MAX = 400;

const ENDED: Partial<Record<RunStatus, string>> = {
  cancelled: "The answer was stopped.",
  failed: "The answer failed.",
  orphaned: "The answer's worker was lost.",
};

export function useAnnounced({ phase, state, id }: Snapshot): void {
  const before = useRef<{ readonly id: string; readonly state: SessionState } | null>(null);
  useEffect(() => {
    // What had happened when the page came is no news.
    if (phase === "connecting") return;
    const was = before.current;
    before.current = { id, state };
    if (was?.id === id && was.state !== state) for (const words of newsBetween(was.state, state)) announce(words);
  }, [id, phase, state]);
}

// What is worth a sentence. An answer that grows only makes none.
export function newsBetween(was: SessionState, is: SessionState): string[] {
  const said = is.messages.shape === was.messages.shape ? [] : othersSince(was, is);
  return [...said, ...callsSince(was, is), ...runsSince(was, is)];
}

function othersSince(was: SessionState, is: SessionState): string[] {
  // Older ones that were loaded stand before those that were known.
  const last = was.messages.at(-1);
  const at = last ? is.messages.indexOf(last.id) : -1;
  if (last && at < 0) return [];
  return is.messages
    .slice(at + 1)
    .filter(({ role, author }) => role === "user" && author !== undefined && author !== me())
    .map((message) => `${message.author} says: ${read(message)}`);
}

function callsSince(was: SessionState, is: SessionState): string[] {
  return is.openRuns.flatMap((run) => {
    const [before, now] = [was.messages.get(run.reply), is.messages.get(run.reply)];
    if (before === now || !now) return [];
    const known = asked(before);
    return [...asked(now)].filter(([call]) => !known.has(call)).map(([, name]) => `The assistant asks whether it may use ${name}.`);
  });
}

function asked(message: Message | undefined): Map<string, string> {
  const calls = message?.parts.flatMap((part) => (part.kind === "tool_call" && part.status === "awaiting_approval" ? [part] : []));
  return new Map(calls?.map(({ call, name }) => [call, name]));
}

function runsSince(was: SessionState, is: SessionState): string[] {
  const last = is.runs.at(-1);
  if (!last || was.runs.get(last.id)?.status === last.status) return [];
  return [wordsOf(last, is)].filter((words) => words !== "");
}

function wordsOf(run: Run, state: SessionState): string {
  if (run.status === "running") return "The assistant is answering.";
  if (run.status === "waiting") return "The assistant waits for a decision.";
  return isFinal(run) ? `${ENDED[run.status] ?? "The assistant says:"} ${read(state.messages.get(run.reply))}` : "";
}

function read(message: Message | undefined): string {
  const text = message ? textOf(message).trim() : "";
  return text.length > READ_MAX ? `${text.slice(0, READ_MAX)}… The rest is in the conversation.` : text;
}
