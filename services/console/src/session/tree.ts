// Messages form a tree; a reader looks at one way through it. Where a message has siblings, the reader may go over to another.

import type { Message, MessageList } from "fanfold";

// Which child of a message the reader has chosen. `""` stands for what begins the session.
export type Choices = Readonly<Record<string, string>>;

export interface Tree {
  readonly children: ReadonlyMap<string, readonly string[]>;
  readonly parent: ReadonlyMap<string, string>;
  // The place of the newest message at or below each.
  readonly newest: ReadonlyMap<string, number>;
}

export interface Step {
  readonly id: string;
  // The message itself and those that could stand in its place, oldest first.
  readonly siblings: readonly string[];
}

// Depends on which messages there are, not on what they say: see `MessageList.shape`.
export function treeOf(messages: Pick<MessageList, "has"> & Iterable<Message>): Tree {
  const all = [...messages];
  const children = new Map<string, string[]>();
  const parent = new Map<string, string>();
  for (const message of all) {
    // What follows a message that this page hasn't loaded begins what is shown.
    const above = message.parent !== undefined && messages.has(message.parent) ? message.parent : "";
    parent.set(message.id, above);
    const siblings = children.get(above);
    if (siblings) siblings.push(message.id);
    else children.set(above, [message.id]);
  }
  const newest = new Map<string, number>();
  for (let place = all.length - 1; place >= 0; place--) {
    const id = all[place]?.id ?? "";
    const below = newest.get(id) ?? place;
    newest.set(id, below);
    const above = parent.get(id) ?? "";
    newest.set(above, Math.max(newest.get(above) ?? below, below));
  }
  return { children, parent, newest };
}

// The way the reader looks at: their choices, and the newest branch where they made none.
export function pathOf(tree: Tree, choices: Choices): Step[] {
  const path: Step[] = [];
  const above = new Set<string>();
  for (let at = ""; !above.has(at); ) {
    above.add(at);
    const siblings = tree.children.get(at);
    if (!siblings) break;
    const chosen = choices[at];
    const id = chosen !== undefined && siblings.includes(chosen) ? chosen : newestOf(tree, siblings);
    path.push({ id, siblings });
    at = id;
  }
  return path;
}

function newestOf(tree: Tree, siblings: readonly string[]): string {
  const place = (id: string) => tree.newest.get(id) ?? -1;
  return siblings.reduce((best, id) => (place(id) > place(best) ? id : best));
}

// The choices that lead to a message, whatever was chosen before.
export function leadTo(tree: Tree, choices: Choices, message: string): Choices {
  const next: Record<string, string> = { ...choices };
  const seen = new Set<string>();
  for (let at = message; tree.parent.has(at) && !seen.has(at); ) {
    seen.add(at);
    const above = tree.parent.get(at) ?? "";
    next[above] = at;
    at = above;
  }
  return next;
}
