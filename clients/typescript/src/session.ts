/** One session, live. */

import type { Backoff } from "./backoff.js";
import { apply, Misfit } from "./apply.js";
import type { Connector } from "./connection.js";
import { FanfoldError, isTransient } from "./error.js";
import { errorOf } from "./link.js";
import type { Link } from "./link.js";
import { Listeners } from "./listeners.js";
import type {
  AnswerOptions,
  Closed,
  CommandOptions,
  NewPart,
  Phase,
  Receipt,
  SendOptions,
  SessionEvent,
  Snapshot,
} from "./options.js";
import type { Present, SessionState } from "./state.js";
import type { Keeper, Kept } from "./storage.js";
import { EMPTY, readView, word } from "./wire.js";
import type { Wire, WireView } from "./wire.js";

/** Presence lasts 30 s on a node. */
const PRESENCE_MS = 12_000;

/** How long after {@link LiveSession.typing} somebody is shown as typing. */
const TYPING_MS = 4_000;

/** What a session, or the list of them, needs of its client. */
export interface Surroundings {
  command(session: string, action: Wire, options: CommandOptions): Promise<Receipt>;
  readonly connector: Connector;
  /** It was left for the last time. */
  released(session: LiveSession): void;
  readonly keeper: Keeper | undefined;
  readonly backoff: () => Backoff;
}

/**
 * A session that is kept up as long as it is followed, whatever happens to the connection.
 *
 * Its state is immutable and replaced at each change: read it at any time, subscribe to changes, or iterate over them.
 */
export class LiveSession implements AsyncIterable<SessionState> {
  readonly #surroundings: Surroundings;
  #current: Snapshot;
  #held: string | undefined;
  /** Whether deltas are applied: from the answer to a subscription until something doesn't fit. */
  #reading = false;
  /** Whether a state was received, or kept. */
  #known = false;
  /** Whether a snapshot is wanted although there is a cursor. */
  #afresh = false;
  #follows = 0;
  #begun = false;
  /** While a state that was kept is being read. */
  #loading = false;
  #doing = "";
  readonly #backoff: Backoff;
  readonly #listeners = new Listeners<SessionEvent>();
  #presenceTimer: ReturnType<typeof setInterval> | undefined;
  #typingTimer: ReturnType<typeof setTimeout> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(
    readonly id: string,
    /** @internal The newest messages that a snapshot holds. */
    public window: number,
    surroundings: Surroundings,
  ) {
    this.#surroundings = surroundings;
    this.#current = connecting(id);
    this.#backoff = surroundings.backoff();
  }

  /** Everything that is known, as one immutable object: the same one as long as nothing changes. */
  get snapshot(): Snapshot {
    return this.#current;
  }

  get state(): SessionState {
    return this.#current.state;
  }

  get phase(): Phase {
    return this.#current.phase;
  }

  get presence(): readonly Present[] {
    return this.#current.presence;
  }

  /** Where the session stands; goes into {@link CommandOptions.ifLast}. Opaque; absent before the first state. */
  get cursor(): string | undefined {
    return this.#held;
  }

  /** Calls `listener` after each change, at once. Gives what ends it. */
  readonly subscribe = this.#listeners.add;

  /**
   * The state now, if there is one, and after each change. Who is slow skips to the latest: nothing is queued. It ends when nothing
   * more will come, and throws {@link FanfoldError} when the session can't be read.
   */
  async *[Symbol.asyncIterator](): AsyncIterator<SessionState> {
    let seen: SessionState | undefined;
    let wake = () => {};
    const stop = this.subscribe(() => wake());
    try {
      for (;;) {
        const { state, error, closed } = this.#current;
        if (this.#known && state !== seen) yield (seen = state);
        else if (error) throw error;
        else if (closed) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop();
    }
  }

  /** Waits for the first state; throws where there will be none. */
  async ready(): Promise<SessionState> {
    for await (const state of this) return state;
    throw new FanfoldError({ code: "stopped", session: this.id });
  }

  /** Adds a message and, unless told otherwise, has it answered. */
  send(content: string | readonly NewPart[], options: SendOptions = {}): Promise<Receipt> {
    const { parent, role, message, answer = true } = options;
    const parts = typeof content === "string" ? [{ text: { text: content } }] : content.map(writePart);
    return this.#submit(
      {
        send: {
          parts,
          ...(parent === null ? { root: true } : { parent }),
          role: role && `ROLE_${role.toUpperCase()}`,
          message,
          ...(answer && { answer: answer === true ? {} : writeAnswer(answer) }),
        },
      },
      options,
    );
  }

  /** Asks for another answer to a message, which may have answers already. */
  requestRun(prompt: string, options: AnswerOptions & CommandOptions & { attemptsMax?: number } = {}): Promise<Receipt> {
    return this.#submit({ request_run: { prompt, ...writeAnswer(options), attempts_max: options.attemptsMax } }, options);
  }

  /** Stops a run, or every open one. What was written stays. */
  cancel(options: CommandOptions & { run?: string; reason?: string } = {}): Promise<Receipt> {
    return this.#submit({ cancel: { run: options.run, reason: options.reason } }, options);
  }

  /** Adds to what a run was asked while it goes on. */
  steer(run: string, text: string, options: CommandOptions = {}): Promise<Receipt> {
    return this.#submit({ steer: { run, text } }, options);
  }

  /** Allows or refuses a tool call that awaits approval. */
  decideTool(
    message: string,
    call: string,
    approved: boolean,
    options: CommandOptions & { reason?: string } = {},
  ): Promise<Receipt> {
    return this.#submit({ decide_tool: { message, call, approved, reason: options.reason } }, options);
  }

  setTitle(title: string, options: CommandOptions = {}): Promise<Receipt> {
    return this.#submit({ set_title: { title } }, options);
  }

  /** Sets a value of the application; a string is stored as UTF-8. */
  setCustom(kind: string, contentType: string, payload: string | Uint8Array, options: CommandOptions = {}): Promise<Receipt> {
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const base64 = btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    return this.#submit({ custom: { kind, content_type: contentType, payload: base64 } }, options);
  }

  /** Ends the session for good, for everybody; what is there stays readable. To stop following it: {@link leave}. */
  end(options: CommandOptions & { reason?: string } = {}): Promise<Receipt> {
    return this.#submit({ close: { reason: options.reason } }, options);
  }

  /** Removes the session's content for good. */
  erase(options: CommandOptions = {}): Promise<Receipt> {
    return this.#submit({ erase: {} }, options);
  }

  /** Shows the caller as doing this (`present`, `typing`, at most 64 bytes) until told otherwise; `""`: no longer there. */
  setPresence(doing: string): void {
    clearTimeout(this.#typingTimer);
    this.#doing = doing;
    this.#appear(doing);
  }

  /** Shows the caller as `typing` for a moment, and as before then. To be called at each key. */
  typing(): void {
    if (!this.#typingTimer) this.#appear("typing");
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => {
      this.#typingTimer = undefined;
      this.#appear(this.#doing);
    }, TYPING_MS);
  }

  /** Has the state hold `count` older messages more. Does nothing where there are none. */
  async loadOlder(count = 100): Promise<void> {
    const { olderMessages, messages } = this.state;
    if (!olderMessages) return;
    this.window = messages.length + count;
    this.#again(true);
    for await (const _ of this) if (!this.#afresh) return;
    throw new FanfoldError({ code: "stopped", session: this.id });
  }

  /** Stops following. Nothing else ends by that, no run either. Once for each {@link Fanfold.follow}. */
  leave(): void {
    if (!this.#follows) return;
    this.#follows -= 1;
    // Whoever follows it again in this turn, as React does, finds it as it was.
    if (!this.#follows) queueMicrotask(() => this.#follows || this.release());
  }

  /** @internal */
  get wanted(): string | undefined {
    return this.#afresh ? undefined : this.#held;
  }

  /** @internal Whether it is to be read. */
  get active(): boolean {
    return this.#follows > 0 && !this.#current.closed && !this.#current.error && !this.#loading;
  }

  /** @internal */
  follow(): void {
    this.#follows += 1;
    if (this.#begun) return;
    this.#begun = true;
    const kept = this.#surroundings.keeper?.load(this.id);
    if (!(kept instanceof Promise)) return this.#adopt(kept);
    this.#loading = true;
    void kept.then((kept) => {
      this.#loading = false;
      this.#adopt(kept);
    });
  }

  /** @internal A link was opened. */
  opened(link: Link): void {
    this.#reading = false;
    clearTimeout(this.#retryTimer);
    this.#setPhase("catching_up");
    if (!link.reads(this.id)) link.read(this);
    if (this.#doing) this.#appear(this.#doing);
  }

  /** @internal The link is gone. */
  lost(): void {
    this.#reading = false;
    clearTimeout(this.#retryTimer);
    if (!this.active) return;
    if (this.presence.length) this.#set({ presence: [] }, { kind: "presence" });
    this.#setPhase("lost");
  }

  /** @internal There will be no connection. */
  stopped(error: FanfoldError): void {
    if (this.active) this.#fail(error);
  }

  /** @internal Tries again what has failed. */
  revive(): void {
    if (!this.#current.error) return;
    const { error: _, ...current } = this.#current;
    this.#current = current;
    this.#setPhase("lost");
  }

  /** @internal */
  release(): void {
    const link = this.#surroundings.connector.link;
    if (this.#presenceTimer) link?.appear(this.id, "");
    link?.leave(this.id);
    this.#keep();
    this.#surroundings.keeper?.flush();
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#typingTimer);
    if (!this.#current.closed) this.#close({ code: "left", reason: "" });
    this.#surroundings.released(this);
  }

  /** @internal */
  frame(kind: string, body: Wire, link: Link): void {
    switch (kind) {
      case "subscribed":
        return this.#subscribed(body, link);
      case "snapshot":
        return this.#replace(body);
      case "delta":
        return this.#advance(body);
      case "caught_up":
        if (this.#reading && body["cursor"] === this.#held) this.#setPhase("live");
        return;
      case "presence":
        return this.#set({ presence: (body["present"] ?? []) as Present[] }, { kind: "presence" });
      case "closed":
        return this.#ended(body["code"], body["reason"] ?? "");
      case "error":
        return this.#failed(errorOf(body));
    }
  }

  /** @internal What a ping says of this session: what was sent, and what there is. */
  position(cursor: string, head: string): void {
    if (!this.#reading) return;
    if (cursor !== this.#held) this.#again(false);
    else if (head !== this.#current.head) this.#set({ head });
  }

  #subscribed(body: Wire, link: Link): void {
    const how = word<"resumed" | "snapshot" | "fresh">(body["how"], "HOW_");
    const reset = word(body["reset_reason"], "RESET_REASON_");
    const head: string = body["head"] ?? "0";
    this.#reading = true;
    const caughtUp = how === "resumed" && this.#current.offset === head;
    this.#set(
      { head, phase: caughtUp ? "live" : this.#known ? "catching_up" : "connecting" },
      {
        kind: "subscribed",
        how,
        ...(reset !== "unspecified" && { resetReason: reset }),
        transport: link.transport,
        atMs: Date.now(),
      },
    );
  }

  #replace(body: Wire): void {
    if (!this.#reading) return;
    this.#afresh = false;
    this.#known = true;
    const state = readView((body["view"] ?? {}) as WireView, body["older_messages"] ?? 0, this.state);
    this.#moved(state, body, "snapshot", new Set());
  }

  #advance(body: Wire): void {
    if (!this.#reading) return;
    if (!this.#known || body["after"] !== this.#held) return this.#again(true);
    const changed = new Set<string>();
    let state: SessionState;
    try {
      state = apply(this.state, (body["ops"] ?? []) as Wire[], changed);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      // Not at once: what doesn't fit may not fit the next time either.
      return this.#later(this.#backoff.next(), true);
    }
    this.#moved(state, body, "delta", changed);
  }

  #moved(state: SessionState, body: Wire, by: "delta" | "snapshot", changed: ReadonlySet<string>): void {
    const offset: string = body["offset"] ?? "0";
    const isNew = body["cursor"] !== this.#held;
    this.#held = body["cursor"];
    // They may be longer than JavaScript's numbers reach.
    const head = BigInt(offset) > BigInt(this.#current.head) ? offset : this.#current.head;
    this.#set({ state, offset, head, phase: offset === head ? "live" : this.phase }, { kind: "state", by, changed });
    if (isNew) {
      if (by === "delta") this.#backoff.reset();
      this.#surroundings.connector.progress();
    }
    this.#keep();
  }

  /** Reads the session anew over the link that there is: from the cursor, or from a snapshot. */
  #again(afresh: boolean): void {
    this.#afresh ||= afresh;
    this.#reading = false;
    const link = this.#surroundings.connector.link;
    if (link && this.active) {
      this.#setPhase("catching_up");
      link.read(this);
    }
  }

  #later(waitMs: number, afresh: boolean): void {
    this.#reading = false;
    this.#afresh ||= afresh;
    this.#setPhase("catching_up");
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#again(false), waitMs);
  }

  #failed(error: FanfoldError): void {
    if (isTransient(error)) this.#later(this.#backoff.next(error.retryAfterMs), false);
    else this.#fail(error);
  }

  #fail(error: FanfoldError): void {
    this.#reading = false;
    // What one may not read is not to be found in a storage either.
    if (error.code === "session_not_found" || error.code === "permission_denied") this.#surroundings.keeper?.remove(this.id);
    this.#set({ phase: "failed", error, presence: [] });
    this.#surroundings.connector.update();
  }

  #ended(code: string, reason: string): void {
    // The answer to having left: whoever follows it again has subscribed again.
    if (code === "unsubscribed") return;
    if (code !== "closed") this.#surroundings.keeper?.remove(this.id);
    this.#close({ code, reason });
  }

  #close(closed: Closed): void {
    this.#reading = false;
    clearInterval(this.#presenceTimer);
    this.#presenceTimer = undefined;
    this.#set({ phase: "closed", closed, presence: [] });
    this.#surroundings.connector.update();
  }

  #appear(doing: string): void {
    const say = () => {
      if (this.active) this.#surroundings.connector.link?.appear(this.id, doing);
    };
    clearInterval(this.#presenceTimer);
    this.#presenceTimer = doing ? setInterval(say, PRESENCE_MS) : undefined;
    say();
  }

  /** Begins with what was kept, if anything was. */
  #adopt(kept: Kept | undefined): void {
    if (kept) {
      this.#known = true;
      this.#held = kept.cursor;
      const { state, offset } = kept;
      this.#set({ state, offset, head: offset, phase: "lost" }, { kind: "state", by: "storage", changed: new Set() });
    }
    this.#again(false);
    this.#surroundings.connector.update();
  }

  /** What is to be kept: nothing of what one may not read any more. */
  #kept(): Kept | undefined {
    const { state, offset, error, closed } = this.#current;
    if (!this.#held || error || (closed && closed.code !== "closed" && closed.code !== "left")) return undefined;
    return { state, cursor: this.#held, offset };
  }

  #keep(): void {
    this.#surroundings.keeper?.later(this.id, () => this.#kept());
  }

  #submit(action: Wire, options: CommandOptions): Promise<Receipt> {
    return this.#surroundings.command(this.id, action, options);
  }

  /** As long as there is no state, it is `connecting` whatever happens. */
  #setPhase(phase: Phase): void {
    if (!this.#known) phase = "connecting";
    if (phase !== this.phase) this.#set({ phase });
  }

  #set(change: Partial<Snapshot>, event: SessionEvent = { kind: "phase" }): void {
    this.#current = { ...this.#current, ...change };
    this.#listeners.tell(event);
  }
}

/** What is known of a session before anything is. */
export function connecting(id: string): Snapshot {
  return { id, phase: "connecting", state: EMPTY, presence: [], offset: "0", head: "0" };
}

function writePart(part: NewPart): Wire {
  const { kind, mediaType: media_type, ...fields } = part as NewPart & { readonly mediaType?: string };
  return { [kind]: { ...fields, media_type } };
}

function writeAnswer({ model, interrupt, run, reply }: AnswerOptions): Wire {
  return { model, interrupt, run, reply };
}
