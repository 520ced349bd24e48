// What a person has begun to write, by where they write it: a session, or a message that they change. It outlasts a reload.

import type { NewPart } from "fanfold";
import { useCallback } from "react";
import { fanfold } from "../app/client";
import { useStore } from "../app/store";
import { tabStore } from "../app/tabStore";

export interface Draft {
  readonly text: string;
  // Whatever the message holds besides.
  readonly files: readonly NewPart[];
}

// The draft that wasn't touched for longest makes room.
const KEPT_MAX = 50;

const NONE: Draft = { text: "", files: [] };

const drafts = tabStore<Readonly<Record<string, Draft>>>("drafts", {}, () => fanfold.forget());

export const draftOf = (place: string): Draft | undefined => drafts.get()[place];

export function useDraft(place: string): Draft {
  return useStore(
    drafts,
    useCallback((all: Readonly<Record<string, Draft>>) => all[place] ?? NONE, [place]),
  );
}

export function keepDraft(place: string, draft: Draft): void {
  drafts.set(({ [place]: _, ...others }) => {
    const all = Object.entries(others);
    if (draft.text !== "" || draft.files.length > 0) all.push([place, draft]);
    return Object.fromEntries(all.slice(-KEPT_MAX));
  });
}

export const dropDraft = (place: string): void => keepDraft(place, NONE);

// Gives back what was written before, to where more may have been written since.
export function giveBack(place: string, { text, files }: Draft): void {
  const now = draftOf(place) ?? NONE;
  const texts = [text, now.text].filter((one) => one !== "");
  keepDraft(place, { text: texts.join("\n\n"), files: [...files, ...now.files] });
}
