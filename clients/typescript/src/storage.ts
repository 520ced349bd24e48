/**
 * Keeps states across a reload. A cursor alone is of no use: the state that it belongs to is kept with it, so that a page shows what
 * it had at once and asks for what came after.
 */

import type { StateStorage } from "./options.js";
import { isFinal } from "./state.js";
import type { CustomValue, Message, Run, SessionInfo, SessionState } from "./state.js";
import { stateOf } from "./wire.js";

/** What is written by another release is left alone. */
const FORMAT = 1;

/** Sessions that are kept; the one that was not written for longest makes room. */
const SESSIONS_MAX = 20;

/** Characters that one state may take. Older messages than fit are left out; a state that doesn't fit at all isn't kept. */
const CHARACTERS_MAX = 1_000_000;

/** Between a change and its being written; what wasn't is written when the page goes. */
const DELAY_MS = 2_000;

/** A state and where it stands. */
export interface Kept {
  readonly state: SessionState;
  readonly cursor: string;
  readonly offset: string;
}

interface Stored {
  readonly format: number;
  readonly cursor: string;
  readonly offset: string;
  readonly session: SessionInfo;
  readonly messages: readonly Message[];
  readonly runs: readonly Run[];
  readonly custom: readonly (readonly [string, CustomValue])[];
  readonly olderMessages: number;
}

export class Keeper {
  readonly #storage: StateStorage;
  readonly #prefix: string;
  readonly #dirty = new Map<string, () => Kept | undefined>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Sessions that are known to be in the list of those that are kept. */
  readonly #listed = new Set<string>();
  /** The list is changed by one at a time. */
  #listing: Promise<void> = Promise.resolve();

  constructor(storage: StateStorage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
    globalThis.addEventListener?.("pagehide", this.#leaving);
    globalThis.document?.addEventListener("visibilitychange", this.#leaving);
  }

  /** The last moment at which a page may do something, on phones too. */
  readonly #leaving = ({ type }: Event) => {
    if (type === "pagehide" || globalThis.document.visibilityState === "hidden") this.flush();
  };

  close(): void {
    this.flush();
    globalThis.removeEventListener?.("pagehide", this.#leaving);
    globalThis.document?.removeEventListener("visibilitychange", this.#leaving);
  }

  /** What is kept of a session: at once, where the storage answers at once. */
  load(session: string): Kept | undefined | Promise<Kept | undefined> {
    const read = this.#attempt(() => this.#storage.getItem(this.#key(session)));
    return read instanceof Promise ? read.then(revived, () => undefined) : revived(read ?? null);
  }

  /** Will write what `now` gives then. */
  later(session: string, now: () => Kept | undefined): void {
    this.#dirty.set(session, now);
    this.#timer ??= setTimeout(() => this.flush(), DELAY_MS);
    // It shall not keep a process of Node from ending.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const [session, now] of dirty) {
      const kept = now();
      if (kept) this.#write(session, kept);
    }
  }

  /** Removes what is kept of a session. */
  remove(session: string): void {
    this.#dirty.delete(session);
    void this.#attempt(() => this.#storage.removeItem(this.#key(session)));
  }

  /** Removes everything. */
  async forget(): Promise<void> {
    this.#dirty.clear();
    for (const session of await this.#list()) this.remove(session);
    this.#listed.clear();
    await this.#attempt(() => this.#storage.removeItem(this.#prefix));
  }

  #write(session: string, kept: Kept): void {
    const text = written(kept);
    if (text === undefined) return this.remove(session);
    void this.#attempt(
      () => this.#storage.setItem(this.#key(session), text),
      () => this.remove(session),
    );
    if (this.#listed.has(session)) return;
    this.#listed.add(session);
    this.#listing = this.#listing.then(() => this.#enlist(session));
  }

  /** Puts a session at the end of the list of those that are kept, and drops those at its beginning. */
  async #enlist(session: string): Promise<void> {
    const others = (await this.#list()).filter((other) => other !== session);
    for (const other of others.splice(0, Math.max(0, others.length - SESSIONS_MAX + 1))) {
      this.remove(other);
      this.#listed.delete(other);
    }
    await this.#attempt(() => this.#storage.setItem(this.#prefix, JSON.stringify([...others, session])));
  }

  async #list(): Promise<string[]> {
    try {
      const list: unknown = JSON.parse((await this.#attempt(() => this.#storage.getItem(this.#prefix))) || "[]");
      return Array.isArray(list) ? list.map(String) : [];
    } catch {
      return [];
    }
  }

  #key(session: string): string {
    return `${this.#prefix}/${session}`;
  }

  /** A storage may be full or forbidden. Then nothing is kept, and a page begins with a snapshot. */
  #attempt<T>(act: () => T, failed: () => void = () => {}): T | undefined {
    try {
      const done = act();
      if (done instanceof Promise) done.catch(failed);
      return done;
    } catch {
      failed();
      return undefined;
    }
  }
}

function written({ state, cursor, offset }: Kept): string | undefined {
  for (let count = state.messages.length; ; count >>= 1) {
    const messages = state.messages.slice(state.messages.length - count);
    const ids = new Set(messages.map((message) => message.id));
    const stored: Stored = {
      format: FORMAT,
      cursor,
      offset,
      session: state.session,
      messages,
      runs: [...state.runs].filter((run) => ids.has(run.reply) || !isFinal(run)),
      custom: [...state.custom],
      olderMessages: state.olderMessages + state.messages.length - count,
    };
    const text = JSON.stringify(stored);
    if (text.length <= CHARACTERS_MAX) return text;
    if (!count) return undefined;
  }
}

function revived(text: string | null): Kept | undefined {
  try {
    const stored = JSON.parse(text ?? "null") as Stored | null;
    if (stored?.format !== FORMAT) return undefined;
    const { cursor, offset, session, messages, runs, custom, olderMessages } = stored;
    return { state: stateOf(session, messages, runs, custom, olderMessages), cursor, offset };
  } catch {
    return undefined;
  }
}
