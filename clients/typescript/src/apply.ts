/** The operations of a delta, applied to a state: docs/protocol.md, "The state, and how to apply a delta". */

import { isFinal } from "./state.js";
import type { Message, Part, Run, SessionState } from "./state.js";
import { only, readCustom, readMessage, readPart, readRun, readSession, readView, utf8Length, word } from "./wire.js";
import type { Wire } from "./wire.js";

/** The state isn't the one that the delta was made for: a snapshot is needed. */
export class Misfit extends Error {}

/**
 * The state after a delta. It costs time in proportion to the delta and to the parts of the messages that it changes, however
 * many messages there are. `changed` is told the ids of the messages and runs that it changes.
 */
export function apply(state: SessionState, ops: readonly Wire[], changed = new Set<string>()): SessionState {
  const draft = new Draft(state, changed);
  for (const op of ops) draft.apply(op);
  return draft.finish();
}

/** How many UTF-8 bytes the growing text of a part has. Parts are immutable, so it is counted once and then added to. */
const lengths = new WeakMap<Part, number>();

class Draft {
  readonly #changed: Set<string>;
  readonly #state: { -readonly [K in keyof SessionState]: SessionState[K] };
  /** The parts of messages that change, by position: copied once for the whole delta. */
  readonly #edited = new Map<number, Part[]>();

  constructor(state: SessionState, changed: Set<string>) {
    this.#changed = changed;
    this.#state = { ...state };
  }

  apply(op: Wire): void {
    const [kind, body] = only(op);
    switch (kind) {
      case "session_changed":
        return this.#session(body);
      case "message_added":
        return this.#add(readMessage(body));
      case "message_reset":
        return this.#edit(body, (parts) => void (parts.length = 0));
      case "part_appended":
        return this.#editPart(body, (part) => appended(part, body["at"] ?? 0, body["text"] ?? ""));
      case "part_set":
        return this.#edit(body, (parts) => {
          const at: number = body["part"] ?? 0;
          if (at > parts.length) throw new Misfit();
          parts[at] = readPart(body["value"] ?? {});
        });
      case "tool_call_changed":
        return this.#editPart(body, (part) => toolCallChanged(part, body));
      case "run_changed":
        return this.#run(readRun(body));
      case "custom_set":
        this.#state.custom = new Map(this.#state.custom).set(body["kind"] ?? "", readCustom(body["value"] ?? {}));
        return;
      default:
        throw new Misfit();
    }
  }

  finish(): SessionState {
    for (const [at, parts] of this.#edited) {
      const message = this.#state.messages.at(at) as Message;
      this.#state.messages = this.#state.messages.replaced(at, { ...message, parts });
    }
    return this.#state;
  }

  #session(body: Wire): void {
    const session = readSession(body);
    if (session.status === "erased") {
      this.#edited.clear();
      Object.assign(this.#state, readView({}, 0));
    }
    this.#state.session = session;
  }

  #add(message: Message): void {
    if (this.#state.messages.has(message.id)) throw new Misfit();
    this.#state.messages = this.#state.messages.pushed([message]);
    this.#changed.add(message.id);
  }

  #edit(body: Wire, change: (parts: Part[]) => void): void {
    const id: string = body["message"];
    const at = this.#state.messages.indexOf(id);
    if (at < 0) {
      // It may be one that the window leaves out.
      if (this.#state.olderMessages > 0) return;
      throw new Misfit();
    }
    let parts = this.#edited.get(at);
    if (!parts) {
      parts = (this.#state.messages.at(at) as Message).parts.slice();
      this.#edited.set(at, parts);
    }
    change(parts);
    this.#changed.add(id);
  }

  #editPart(body: Wire, change: (part: Part) => Part): void {
    this.#edit(body, (parts) => {
      const at: number = body["part"] ?? 0;
      const part = parts[at];
      if (!part) throw new Misfit();
      parts[at] = change(part);
    });
  }

  #run(run: Run): void {
    const { runs, openRuns } = this.#state;
    const at = runs.indexOf(run.id);
    this.#state.runs = at < 0 ? runs.pushed([run]) : runs.replaced(at, run);
    const isOpen = !isFinal(run);
    const wasOpen = openRuns.some((known) => known.id === run.id);
    if (wasOpen) this.#state.openRuns = openRuns.flatMap((known) => (known.id !== run.id ? known : isOpen ? run : []));
    else if (isOpen) this.#state.openRuns = [...openRuns, run];
    this.#changed.add(run.id);
  }
}

function appended(part: Part, at: number, text: string): Part {
  const stream =
    part.kind === "text" || part.kind === "reasoning" ? part.text : part.kind === "tool_call" ? part.arguments : undefined;
  if (stream === undefined) throw new Misfit();
  const length = lengths.get(part) ?? utf8Length(stream);
  if (length !== at) throw new Misfit();
  // Engines join texts without copying them, until they are read.
  const grown = part.kind === "tool_call" ? { ...part, arguments: stream + text } : ({ ...part, text: stream + text } as Part);
  lengths.set(grown, length + utf8Length(text));
  return grown;
}

function toolCallChanged(part: Part, body: Wire): Part {
  if (part.kind !== "tool_call") throw new Misfit();
  const { result: _, ...call } = part;
  const result: string | null | undefined = body["result"];
  const next = { ...call, status: word<typeof part.status>(body["status"], "TOOL_STATUS_"), ...(result != null && { result }) };
  const length = lengths.get(part);
  if (length !== undefined) lengths.set(next, length);
  return next;
}
