/**
 * Follows Fanfold sessions: typed live state that survives reloads, lost networks and lost nodes. README.md shows the use,
 * docs/clients.md every option, docs/protocol.md what goes over the wire.
 */

export { Fanfold, follow, newId } from "./client.js";
export { FanfoldError } from "./error.js";
export type { LocalCode, Outcome, Retry } from "./error.js";
export { KeyedList, MessageList } from "./list.js";
export type * from "./options.js";
export { connecting, LiveSession } from "./session.js";
export { SessionList } from "./watched.js";
export { isFinal, payloadBytes, payloadText, textOf } from "./state.js";
export type * from "./state.js";
