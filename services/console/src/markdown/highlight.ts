// Colours for code. The highlighter is loaded when the first block of code is shown.

import type { ReactNode } from "react";
import { useEffect, useSyncExternalStore } from "react";

// Longer code stays plain: colouring it would stop the page for longer than a frame or two.
const LENGTH_MAX = 20_000;

// Code that has been coloured, so that scrolling back to it costs nothing.
const KEPT_MAX = 200;

type Highlighter = typeof import("./highlighter");

let highlighter: Highlighter | null = null;
let asked = false;
const waiting = new Set<() => void>();
const kept = new Map<string, ReactNode>();

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

export function highlighted(language: string, code: string): ReactNode | null {
  if (!highlighter || code.length === 0 || code.length > LENGTH_MAX || !highlighter.knows(language)) return null;
  const key = `${language}\n${code}`;
  const known = kept.get(key);
  if (known) return known;
  const made = highlighter.highlight(language, code);
  kept.set(key, made);
  const oldest = kept.size > KEPT_MAX ? kept.keys().next().value : undefined;
  if (oldest !== undefined) kept.delete(oldest);
  return made;
}
