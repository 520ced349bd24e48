// Colours for code. The highlighter is loaded when the first block of code is shown.

import { useEffect, useSyncExternalStore } from "react";
import type { Coloured } from "./pieces";

// Pieces of code that have been coloured, so that scrolling back to them costs nothing.
const KEPT_MAX = 600;

type Highlighter = typeof import("./highlighter");

let highlighter: Highlighter | null = null;
let asked = false;
const waiting = new Set<() => void>();
const kept = new Map<string, Coloured>();

function load() {
  if (asked) return;
  asked = true;
  import("./highlighter").then(
    (module) => {
      highlighter = module;
      for (const tell of waiting) tell();
    },
    // The page has lost its node: the next block asks again, and this one stays plain.
    () => {
      asked = false;
    },
  );
}

function subscribe(tell: () => void) {
  waiting.add(tell);
  return () => {
    waiting.delete(tell);
  };
}

// Whether colours are there. Asks for them when they are wanted.
export function useHighlighter(wanted: boolean): boolean {
  useEffect(() => {
    if (wanted) load();
  }, [wanted]);
  return useSyncExternalStore(subscribe, () => highlighter !== null);
}

export const isKnown = (language: string): boolean => highlighter?.knows(language) ?? false;

// Null when nothing is to be made and the colours aren't known, and while the highlighter isn't there.
export function highlighted(language: string, code: string, make: boolean): Coloured | null {
  const key = `${language}\n${code}`;
  const known = kept.get(key);
  if (known || !make || !highlighter) return known ?? null;
  const made = highlighter.highlight(language, code);
  kept.set(key, made);
  const oldest = kept.size > KEPT_MAX ? kept.keys().next().value : undefined;
  if (oldest !== undefined) kept.delete(oldest);
  return made;
}
