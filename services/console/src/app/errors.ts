// Every error in a reader's words: what happened, and what to do. The names are those of docs/errors.md; a test compares both.

import { FanfoldError } from "fanfold";

export interface Words {
  what: string;
  todo: string;
}

const AGAIN = "Try again in a moment.";
const NEW = "Start a new session to go on.";
const OPERATOR = "If it stays so, tell whoever runs this node.";
const SETTLED = "Nothing is to be done.";

export const ERRORS: Record<string, Words> = {
  session_not_found: { what: "There is no such session.", todo: "Check the link, or choose a session from the list." },
  session_exists: { what: "A session of this name exists already.", todo: "Open it, or choose another name." },
  session_closed: { what: "This session is closed.", todo: `It stays readable. ${NEW}` },
  session_erased: { what: "This session was erased.", todo: NEW },
  session_full: { what: "This session holds as much as a session may.", todo: NEW },
  session_parked: { what: "This session failed to load too often.", todo: "Tell whoever runs this node: it needs a look." },
  message_not_found: { what: "That message doesn't exist any more.", todo: "Reload the page." },
  message_exists: { what: "This message was sent already.", todo: SETTLED },
  run_not_found: { what: "That answer doesn't exist any more.", todo: "Reload the page." },
  run_exists: { what: "This answer was asked for already.", todo: SETTLED },
  run_ended: { what: "The answer was finished before that reached it.", todo: "Send it as a new message." },
  run_not_started: { what: "The answer hasn't begun yet.", todo: "Try again once it is being written." },
  run_not_next: { what: "Another answer comes first.", todo: "Wait for it, or stop it." },
  attempts_exhausted: { what: "The answer was tried as often as it may be.", todo: "Ask for it again." },
  fenced: { what: "Another worker has taken over.", todo: SETTLED },
  tool_call_not_found: { what: "That tool call doesn't exist any more.", todo: "Reload the page." },
  tool_call_settled: { what: "Somebody has decided this already.", todo: SETTLED },
  nothing_to_cancel: { what: "The answer had ended already.", todo: SETTLED },
  field_limit: { what: "Something is empty or too long.", todo: "Shorten it and send it again." },
  conflict: { what: "Somebody was faster.", todo: "Look at what has changed, then try again." },
  bad_request: { what: "The node didn't understand this page.", todo: "Reload the page: the node may be of a newer release." },
  too_large: { what: "That is too long for one message.", todo: "Send it in parts." },
  cursor_malformed: { what: "This tab lost its place.", todo: "Reload the page." },
  cursor_of_other_session: { what: "This tab lost its place.", todo: "Reload the page." },
  unauthenticated: { what: "This node asks who you are.", todo: "Sign in with a token." },
  token_expired: { what: "Your token has expired.", todo: "Sign in with a new one." },
  lease_lost: { what: "Another worker may have this by now.", todo: SETTLED },
  too_many_runs: { what: "As many answers are under way as may be.", todo: "Try again once one of them has ended." },
  tokens_exhausted: {
    what: "The budget of tokens is used up.",
    todo: "Ask whoever runs this node for more, or wait until it is renewed.",
  },
  permission_denied: { what: "Your token doesn't allow this.", todo: "Ask whoever gave it to you for the right to do it." },
  origin_denied: { what: "Pages from here may not connect to this node.", todo: "Open the console at the node's own address." },
  not_found: { what: "There is nothing here.", todo: "Check the address." },
  unsupported_protocol: { what: "This page and the node don't speak the same protocol.", todo: "Reload the page." },
  too_many_sessions: { what: "This tab follows as many sessions as it may.", todo: "Reload the page." },
  too_many_connections: { what: "The node has as many readers as it can take.", todo: "This tab tries again by itself." },
  busy: { what: "The node is busy.", todo: AGAIN },
  overloaded: { what: "The node can't store more at the moment.", todo: AGAIN },
  unavailable: { what: "The session's history can't be read at the moment.", todo: `${AGAIN} ${OPERATOR}` },
  history_missing: { what: "Part of this session's history is missing or damaged.", todo: "Tell whoever runs this node." },
  unknown_outcome: {
    what: "The node didn't confirm it in time. It may have been done.",
    todo: "Look whether it arrived before you repeat it.",
  },
  slow_consumer: { what: "This connection was too slow.", todo: "This tab comes back by itself, where it was." },
  draining: { what: "The node is going away.", todo: "This tab comes back by itself, where it was." },
  stream_expired: { what: "The connection has lasted as long as it may.", todo: "This tab comes back by itself, where it was." },
  internal: { what: "Something went wrong on the node.", todo: `${AGAIN} ${OPERATOR}` },
};

// What the client library says besides: nothing came from the node.
export const LOCAL: Record<string, Words> = {
  network: { what: "The node can't be reached.", todo: "Check your network. This tab keeps trying." },
  timeout: { what: "The node didn't answer in time.", todo: "Look whether it arrived before you repeat it." },
  queue_full: { what: "Too much is waiting to be sent.", todo: "Wait until the connection is back." },
  aborted: { what: "That was given up.", todo: SETTLED },
  stopped: { what: "The connection was closed before an answer came.", todo: "Reload the page." },
};

// What to tell the reader of anything that was thrown.
export const wordsFor = (error: unknown): Words => wordsOf(codeOf(error));

export function wordsOf(code: string): Words {
  return ERRORS[code] ?? LOCAL[code] ?? { what: "Something went wrong.", todo: `${AGAIN} ${OPERATOR}` };
}

export function codeOf(error: unknown): string {
  return error instanceof FanfoldError ? error.code : "";
}
