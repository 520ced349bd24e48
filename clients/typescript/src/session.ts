/** One session, live. */

import type {
  AnswerOptions,
  CommandOptions,
  NewPart,
  Phase,
  Receipt,
  SendOptions,
  SessionEvent,
  Snapshot,
} from "./options.js";
import type { Present, SessionState } from "./state.js";

/**
 * A session that is kept up as long as it is followed, whatever happens to the connection.
 *
 * Its state is immutable and replaced at each change: read it at any time, subscribe to changes, or iterate over them.
 */
export class LiveSession implements AsyncIterable<SessionState> {
  /** @internal */
  constructor(readonly id: string) {}

  /** Everything that is known, as one immutable object: the same one as long as nothing changes. */
  get snapshot(): Snapshot {
    throw new Error("not yet");
  }

  get state(): SessionState {
    return this.snapshot.state;
  }

  get phase(): Phase {
    return this.snapshot.phase;
  }

  get presence(): readonly Present[] {
    return this.snapshot.presence;
  }

  /** Where the session stands; goes into {@link CommandOptions.ifLast}. Opaque; absent before the first state. */
  get cursor(): string | undefined {
    throw new Error("not yet");
  }

  /** Calls `listener` after each change, at once. Gives what ends it. */
  readonly subscribe = (listener: (event: SessionEvent) => void): (() => void) => {
    throw new Error(`not yet ${String(listener)}`);
  };

  /**
   * The state now, if there is one, and after each change. Who is slow skips to the latest: nothing is queued. It ends when nothing
   * more will come, and throws {@link FanfoldError} when the session can't be read.
   */
  [Symbol.asyncIterator](): AsyncIterator<SessionState> {
    throw new Error("not yet");
  }

  /** Waits for the first state; throws where there will be none. */
  ready(): Promise<SessionState> {
    throw new Error("not yet");
  }

  /** Adds a message and, unless told otherwise, has it answered. */
  send(content: string | readonly NewPart[], options: SendOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${String(content)} ${String(options)}`);
  }

  /** Asks for another answer to a message, which may have answers already. */
  requestRun(prompt: string, options: AnswerOptions & CommandOptions & { attemptsMax?: number } = {}): Promise<Receipt> {
    throw new Error(`not yet ${prompt} ${String(options)}`);
  }

  /** Stops a run, or every open one. What was written stays. */
  cancel(options: CommandOptions & { run?: string; reason?: string } = {}): Promise<Receipt> {
    throw new Error(`not yet ${String(options)}`);
  }

  /** Adds to what a run was asked while it goes on. */
  steer(run: string, text: string, options: CommandOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${run} ${text} ${String(options)}`);
  }

  /** Allows or refuses a tool call that awaits approval. */
  decideTool(
    message: string,
    call: string,
    approved: boolean,
    options: CommandOptions & { reason?: string } = {},
  ): Promise<Receipt> {
    throw new Error(`not yet ${message} ${call} ${String(approved)} ${String(options)}`);
  }

  setTitle(title: string, options: CommandOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${title} ${String(options)}`);
  }

  /** Sets a value of the application; a string is stored as UTF-8. */
  setCustom(kind: string, contentType: string, payload: string | Uint8Array, options: CommandOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${kind} ${contentType} ${String(payload)} ${String(options)}`);
  }

  /** Ends the session for good, for everybody; what is there stays readable. To stop following it: {@link leave}. */
  end(options: CommandOptions & { reason?: string } = {}): Promise<Receipt> {
    throw new Error(`not yet ${String(options)}`);
  }

  /** Removes the session's content for good. */
  erase(options: CommandOptions = {}): Promise<Receipt> {
    throw new Error(`not yet ${String(options)}`);
  }

  /** Shows the caller as doing this (`present`, `typing`, at most 64 bytes) until told otherwise; `""`: no longer there. */
  setPresence(doing: string): void {
    throw new Error(`not yet ${doing}`);
  }

  /** Has the state hold `count` older messages more. Does nothing where there are none. */
  loadOlder(count = 100): Promise<void> {
    throw new Error(`not yet ${String(count)}`);
  }

  /** Stops following. Nothing else ends by that, no run either. Once for each {@link Fanfold.follow}. */
  leave(): void {
    throw new Error("not yet");
  }
}
