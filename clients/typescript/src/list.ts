/**
 * Immutable lists whose items are found by id. A change makes a new list that shares all but the changed item's path with the
 * old one, so it costs the same among a hundred items and among ten thousand.
 *
 * The items stand in a trie whose nodes hold 32 each (after Bagwell, as in Clojure's vectors).
 */

import type { Message } from "./state.js";

const BITS = 5;
const WIDTH = 1 << BITS;

/** A leaf holds items, an inner node holds nodes. */
type Node = readonly unknown[];

export class KeyedList<T extends { readonly id: string }> implements Iterable<T> {
  readonly length: number = 0;
  /**
   * Stays the same object as long as no item is added or removed, whatever becomes of the items. What depends only on which
   * items there are, such as their tree, can be kept as long as this is the same.
   */
  readonly shape: object = {};

  private root: Node = [];
  /** How many bits of a position the levels below the root take. */
  private depth = 0;
  /**
   * Where each id stands. Shared by the lists that were made of one another and only ever added to: to an earlier one, what
   * stands at or past its length isn't there.
   */
  private readonly positions = new Map<string, number>();

  /** The item at a position; a negative one counts from the end. */
  at(position: number): T | undefined {
    const at = position < 0 ? position + this.length : position;
    if (!(at >= 0 && at < this.length)) return undefined;
    let node = this.root;
    for (let shift = this.depth; shift > 0; shift -= BITS) node = node[(at >> shift) & (WIDTH - 1)] as Node;
    return node[at & (WIDTH - 1)] as T;
  }

  /** Where the item of this id stands; -1: nowhere. */
  indexOf(id: string): number {
    const at = this.positions.get(id);
    return at !== undefined && at < this.length ? at : -1;
  }

  get(id: string | undefined): T | undefined {
    const at = id === undefined ? -1 : this.indexOf(id);
    return at < 0 ? undefined : this.at(at);
  }

  has(id: string): boolean {
    return this.indexOf(id) >= 0;
  }

  /** The items from `start` up to `end`, as an array. */
  slice(start = 0, end = this.length): T[] {
    const items: T[] = [];
    for (let at = Math.max(0, start); at < Math.min(end, this.length); at++) items.push(this.at(at) as T);
    return items;
  }

  map<U>(each: (item: T, position: number) => U): U[] {
    return this.slice().map(each);
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let at = 0; at < this.length; at++) yield this.at(at) as T;
  }

  /** @internal This list with another item of the same id at a position. */
  replaced(at: number, item: T): this {
    return this.changed({ root: put(this.root, this.depth, at, item) });
  }

  /** @internal This list with more items, whose ids are new. Only the newest of the lists made of one another may grow. */
  pushed(items: readonly T[]): this {
    let { root, depth, length } = this;
    for (const item of items) {
      if (length === WIDTH << depth) {
        root = [root];
        depth += BITS;
      }
      this.noted(item, length);
      root = put(root, depth, length++, item);
    }
    return this.changed({ root, depth, length, shape: {} });
  }

  /** What is known of an item besides itself. */
  protected noted(item: T, at: number): void {
    this.positions.set(item.id, at);
  }

  private changed(change: object): this {
    return Object.assign(Object.create(Object.getPrototypeOf(this) as object) as this, this, change);
  }
}

/** A node with another item at a position; the nodes on the way to it are made where there are none. */
function put(node: Node | undefined, shift: number, at: number, item: unknown): Node {
  const next = node ? node.slice() : [];
  const slot = (at >> shift) & (WIDTH - 1);
  next[slot] = shift > 0 ? put(next[slot] as Node | undefined, shift - BITS, at, item) : item;
  return next;
}

/** Messages in the order they were added, and the tree that they form. */
export class MessageList extends KeyedList<Message> {
  /** Ids by their parent's, `""` for none. Shared and only ever added to, as positions are. */
  private readonly followers = new Map<string, string[]>();

  /** The messages that follow another one, oldest first; without `parent`, those that follow none. */
  children(parent?: string): Message[] {
    const ids = this.followers.get(parent ?? "") ?? [];
    return ids.flatMap((id) => this.get(id) ?? []);
  }

  /** From the root, or the oldest message that is here, down to `leaf`. */
  branch(leaf: string): Message[] {
    const branch: Message[] = [];
    // A parent stands before its child, so this ends whatever the parents are.
    for (let at = this.indexOf(leaf), before = this.length; at >= 0 && at < before;) {
      const message = this.at(at) as Message;
      branch.push(message);
      before = at;
      at = message.parent === undefined ? -1 : this.indexOf(message.parent);
    }
    return branch.reverse();
  }

  /** The end of the branch that goes on from a message over the newest of its children, and of theirs. */
  leaf(from: string): string {
    for (let id = from; ;) {
      const child = this.children(id).at(-1);
      if (!child || this.indexOf(child.id) <= this.indexOf(id)) return id;
      id = child.id;
    }
  }

  protected override noted(message: Message, at: number): void {
    super.noted(message, at);
    const parent = message.parent ?? "";
    const ids = this.followers.get(parent);
    if (ids) ids.push(message.id);
    else this.followers.set(parent, [message.id]);
  }
}
