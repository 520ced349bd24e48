// Lists and tables that grow: what is finished of them is kept, and only their end is read again. Null where that can't be done, and
// the whole block is to be read.

import type { Token, Tokens } from "marked";
import { type Block, lex, placed } from "./parse";

// What is known of an open list: its finished items, and whether they alone make it a loose one.
export interface Done {
  // Where the list begins.
  readonly start: number;
  items: number;
  loose: boolean;
}

// So many items at the end are read again: the open one, and two between which a blank line shows that a list is loose.
const ITEMS_OPEN = 3;

// An item is read without knowledge of those before it. Only whether a list is loose changes how all of its items are shown.
export function longerList(list: Tokens.List, text: string, done: Done): Block[] | null {
  const last = list.items.length - ITEMS_OPEN;
  if (last <= 0) return null;
  const startOf = (item: number) => list.items.slice(0, item).reduce((at, { raw }) => at + raw.length, done.start);
  const from = startOf(last);
  // What makes a list loose may be among the open items, and go again. Of those that are finished now it is found out once.
  if (list.loose && !done.loose) done.loose = isLoose(text.slice(startOf(done.items), startOf(last + 1)));
  done.items = last;

  const [end, ...rest] = lex(text.slice(from));
  if (!isList(end) || end.ordered !== list.ordered) return null;
  const loose = done.loose || end.loose;
  if (loose !== list.loose || (loose && !end.loose && !loosened(end))) return null;
  const raw = text.slice(done.start, from) + end.raw;
  const items = [...list.items.slice(0, last), ...end.items];
  return placed([{ ...end, start: list.start, loose, raw, items }, ...rest], done.start);
}

const isList = (token: Token | undefined): token is Tokens.List => token?.type === "list";

function isLoose(text: string): boolean {
  const [list] = lex(text);
  return isList(list) && list.loose;
}

// As the lexer does it. False for what it does otherwise.
function loosened(list: Tokens.List): boolean {
  if (list.items.some((item) => item.task)) return false;
  for (const item of list.items) {
    item.loose = true;
    for (const token of item.tokens) if (token.type === "text") token.type = "paragraph";
  }
  return true;
}

// Each row is a line of its own. The last one may still be written, and what comes after may end the table.
export function longerTable(start: number, table: Tokens.Table, text: string): Block[] | null {
  const { raw, rows } = table;
  if (rows.length < 2) return null;
  const head = raw.slice(0, raw.indexOf("\n", raw.indexOf("\n") + 1) + 1);
  const from = raw.replace(/\n+$/, "").lastIndexOf("\n") + 1;
  const [end, ...rest] = lex(head + text.slice(start + from));
  if (end?.type !== "table" || (end as Tokens.Table).rows.length === 0) return null;
  const longer = { ...(end as Tokens.Table), header: table.header };
  longer.rows = [...rows.slice(0, -1), ...longer.rows];
  longer.raw = raw.slice(0, from) + end.raw.slice(head.length);
  return placed([longer, ...rest], start);
}
