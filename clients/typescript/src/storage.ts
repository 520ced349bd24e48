/**
 * Keeps states across a reload. A cursor alone is of no use: the state that it belongs to is kept with it, so that a page shows what
 * it had at once and asks for what came after.
 */

import { listen } from "./listeners.js";
import type { StateStorage } from "./options.js";
import { isFinal } from "./state.js";
import type { CustomValue, Message, Run, SessionInfo, SessionState } from "./state.js";
import { stateOf } from "./wire.js";

/** What is written by another release is left alone. */
const FORMAT = 1;

/** Sessions that are kept; the one that was not written for longest makes room. */
const SESSIONS_MAX = 20;

/** Messages and their characters that are kept of one session, the newest. Older ones count as left out. */
const MESSAGES_MAX = 200;
const CHARACTERS_MAX = 500_000;

/** Between a change and its being written, in case the page ends without a word; a page that says so writes then. */
const DELAY_MS = 5_000;

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
    this.#listen(true);
  }

  /** The last moment at which a page may do something, on phones too. */
  readonly #leaving = ({ type }: Event) => {
    if (type === "pagehide" || globalThis.document.visibilityState === "hidden") this.flush();
  };

  close(): void {
    this.flush();
    this.#listen(false);
  }

  #listen(on: boolean): void {
    listen(on, this.#leaving, ["pagehide"], ["visibilitychange"]);
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
    await this.#listing;
    for (const session of await this.#list()) this.remove(session);
    this.#listed.clear();
    await this.#attempt(() => this.#storage.removeItem(this.#prefix));
  }

  #write(session: string, kept: Kept): void {
    this.#put(session, written(kept));
    if (this.#listed.has(session)) return;
    this.#listed.add(session);
    this.#enlist(session);
  }

  #put(session: string, text: string): void {
    void this.#attempt(
      () => this.#storage.setItem(this.#key(session), text),
      () => this.#enlist(session, text),
    );
  }

  /**
   * Puts a session at the end of the list of those that are kept, and drops those at its beginning. With a text that there was no
   * room for, one at least, and writes it again.
   */
  #enlist(session: string, text?: string): void {
    this.#listing = this.#listing.then(async () => {
      const others = (await this.#list()).filter((other) => other !== session);
      const again = text && others[0];
      for (const other of others.splice(0, Math.max(again ? 1 : 0, others.length - SESSIONS_MAX + 1))) {
        this.remove(other);
        this.#listed.delete(other);
      }
      await this.#attempt(() => this.#storage.setItem(this.#prefix, JSON.stringify([...others, session])));
      if (again) this.#put(session, text);
    });
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

/** What is stored: a {@link Stored} as JSON, whose messages are written one by one until there is no more room. */
function written({ state, cursor, offset }: Kept): string {
  const { session, messages, runs, custom, olderMessages } = state;
  const texts: string[] = [];
  const ids = new Set<string>();
  for (let at = messages.length - 1, left = CHARACTERS_MAX; at >= 0 && ids.size < MESSAGES_MAX; at--) {
    const message = messages.at(at) as Message;
    const text = JSON.stringify(message);
    if ((left -= text.length) < 0) break;
    texts.unshift(text);
    ids.add(message.id);
  }
  const rest: Omit<Stored, "messages"> = {
    format: FORMAT,
    cursor,
    offset,
    session,
    runs: [...runs].filter((run) => ids.has(run.reply) || !isFinal(run)),
    custom: [...custom],
    olderMessages: olderMessages + messages.length - ids.size,
  };
  return `${JSON.stringify(rest).slice(0, -1)},"messages":[${texts.join()}]}`;
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
