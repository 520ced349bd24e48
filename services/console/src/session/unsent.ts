// What a person has said and the node hasn't confirmed yet. It is kept over a reload and sent again with the same ids until the node
// has judged it; what was refused stays until its writer has decided.

import { FanfoldError, type NewPart, newId } from "fanfold";
import { useMemo } from "react";
import { fanfold } from "../app/client";
import { codeOf, wordsFor } from "../app/errors";
import { useStore } from "../app/store";
import { tabStore } from "../app/tabStore";
import { announce } from "../ui/announce";
import { trouble } from "../ui/notices";
import { type Draft, giveBack } from "./drafts";

export interface Unsent extends Said {
  // Of its command: whatever is sent twice is done once.
  readonly id: string;
  readonly session: string;
  // What the node, or the way to it, said against it.
  readonly failed?: string;
}

export interface Said {
  readonly message: string;
  readonly parts: readonly NewPart[];
  // After a message, `null` for the beginning, or nothing for whatever is newest then.
  readonly parent?: string | null;
  // Whether a run that goes on is stopped for it.
  readonly interrupt?: boolean;
  // The run that it steers; it is no message of its own then.
  readonly steers?: string;
}

const unsent = tabStore<readonly Unsent[]>("unsent", [], () => fanfold.forget());

export function useUnsent(session: string): readonly Unsent[] {
  const all = useStore(unsent);
  return useMemo(() => all.filter((one) => one.session === session), [all, session]);
}

export function say(session: string, said: Said): void {
  const one = { ...said, session, id: newId() };
  unsent.set((now) => [...now, one]);
  void deliver(one);
}

export function sayAgain(one: Unsent): void {
  const { failed: _, ...again } = one;
  unsent.set((now) => now.map((other) => (other.id === one.id ? again : other)));
  void deliver(again);
}

// Back to where it was written.
export function takeBack(one: Unsent): void {
  giveBack(one.session, draftFrom(one.parts));
  drop(one);
}

export const drop = ({ id }: Unsent): void => unsent.set((now) => now.filter((other) => other.id !== id));

export const textOfParts = (parts: readonly NewPart[]): string =>
  parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n\n");

function draftFrom(parts: readonly NewPart[]): Draft {
  return { text: textOfParts(parts), files: parts.filter((part) => part.kind !== "text") };
}

async function deliver(one: Unsent): Promise<void> {
  const { id, session, message, parts, parent, interrupt = false, steers } = one;
  const live = fanfold.follow(session);
  // However long the way to the node is cut.
  const patient = { id, timeoutMs: 0 };
  try {
    if (steers !== undefined) await live.steer(steers, textOfParts(parts), patient);
    else await live.send(parts, { ...patient, message, ...(parent !== undefined && { parent }), answer: { interrupt } });
    drop(one);
  } catch (error) {
    fail(one, error);
  } finally {
    live.leave();
  }
}

function fail(one: Unsent, error: unknown): void {
  const failed = codeOf(error);
  // An earlier attempt of which nothing was heard.
  if (failed === "message_exists") return drop(one);
  if (one.steers !== undefined) {
    trouble(error);
    return takeBack(one);
  }
  const { what, todo } = wordsFor(error);
  announce(`Your message wasn't sent. ${what} ${todo}`);
  // What was judged would be told the same again: another attempt is another command.
  const id = error instanceof FanfoldError && error.outcome === "unknown" ? one.id : newId();
  unsent.set((now) => now.map((other) => (other.id === one.id ? { ...one, id, failed } : other)));
}

// What was on its way when the page was left.
for (const one of unsent.get()) if (one.failed === undefined) void deliver(one);
