// What a reader can do in a session. Each call ends when the node has judged it, also over a lost connection. What fails is
// told to the reader in words; the caller learns whether it was done.

import { type LiveSession, newId } from "fanfold";
import { trouble } from "../ui/notices";
import { type Said, say } from "./unsent";

export interface Actions {
  // It is sent whatever happens to the connection or the page.
  send(said: Said): void;
  // Another answer to the same message, beside those there are.
  regenerate(prompt: string): Promise<boolean>;
  cancel(): Promise<boolean>;
  steer(run: string, text: string): void;
  decide(message: string, call: string, approved: boolean, reason: string): Promise<boolean>;
  rename(title: string): Promise<boolean>;
  end(): Promise<boolean>;
  erase(): Promise<boolean>;
}

// `lead` is told of each message that is asked for: who asks wants to see it, whichever branch is shown.
export function actionsOf(live: LiveSession, lead: (message: string) => void): Actions {
  return {
    send: (said) => {
      lead(said.message);
      say(live.id, said);
    },
    regenerate: (prompt) => {
      const reply = newId();
      lead(reply);
      return done(live.requestRun(prompt, { reply, interrupt: true }));
    },
    cancel: () => done(live.cancel({ reason: "stopped by a reader" })),
    steer: (run, text) => say(live.id, { message: newId(), parts: [{ kind: "text", text }], steers: run }),
    decide: (message, call, approved, reason) => done(live.decideTool(message, call, approved, { reason })),
    rename: (title) => done(live.setTitle(title)),
    end: () => done(live.end({ reason: "ended by a reader" })),
    erase: () => done(live.erase()),
  };
}

async function done(doing: Promise<unknown>): Promise<boolean> {
  try {
    await doing;
    return true;
  } catch (error) {
    trouble(error);
    return false;
  }
}
