// Where a session begins. Who comes for the first time finds out here what this is.

import { type NewPart, newId } from "fanfold";
import { useState } from "react";
import { Composer } from "../session/Composer";
import { say } from "../session/unsent";
import { list } from "../sessions/list";
import { Mark, MenuIcon } from "../ui/icons";
import { trouble } from "../ui/notices";
import { fanfold } from "./client";
import { go } from "./route";
import { useStore } from "./store";
import { useTitle } from "./title";

const FIRST = "What happens when I reload this page in the middle of your answer?";

const PROMPTS = [FIRST, "Explain what a durable session is.", "Show me some code that follows a session."];

const PROMISES = [
  { name: "Reload in mid-answer", text: "The answer goes on from the exact word. Nothing is lost, nothing comes twice." },
  { name: "Open a second tab", text: "Both show the same, live, and so does everybody else who is in the session." },
  { name: "Cut the network, kill the node", text: "The log is durable: whoever comes back continues where they were." },
  { name: "Look into the past", text: "The debugging panel replays each record and shows the state at any offset." },
];

export function Home({ onMenu }: { onMenu(): void }) {
  const { rows } = useStore(list);
  const [busy, setBusy] = useState(false);
  const first = rows !== null && rows.length === 0;
  useTitle(null);

  const start = async (parts: readonly NewPart[], message: string): Promise<boolean> => {
    setBusy(true);
    try {
      const session = await fanfold.open({ session: newId() });
      say(session, { message, parts });
      go({ session });
      return true;
    } catch (error) {
      trouble(error);
      return false;
    } finally {
      setBusy(false);
    }
  };

  const begin = (text: string) => start([{ kind: "text", text }], newId());
  return (
    <main className="talk home" id="main">
      <header className="bar">
        <button type="button" className="quiet icon-only menu-button" aria-label="Show the list of sessions" onClick={onMenu}>
          <MenuIcon />
        </button>
      </header>
      <div className="welcome">
        <div className="hero">
          <Mark />
          <h1>{first ? "Conversations that outlast the connection" : "Begin a session"}</h1>
          {first && (
            <p>
              Fanfold keeps each conversation between people and an AI as a durable log, and shows it live to everybody who is in
              it. Start one, then try to break it:
            </p>
          )}
        </div>
        {first && (
          <ul className="promises">
            {PROMISES.map(({ name, text }) => (
              <li key={name}>
                <h2>{name}</h2>
                <p>{text}</p>
              </li>
            ))}
          </ul>
        )}
        {first && (
          <button type="button" className="primary start" disabled={busy} onClick={() => begin(FIRST)}>
            Start a session
          </button>
        )}
        {!first && (
          <ul className="prompts" aria-label="Suggestions">
            {PROMPTS.map((prompt) => (
              <li key={prompt}>
                <button type="button" disabled={busy} onClick={() => begin(prompt)}>
                  {prompt}
                </button>
              </li>
            ))}
          </ul>
        )}
      </div>
      <div className="foot">
        <Composer
          session=""
          run={undefined}
          disabled={busy ? "Opening a session…" : null}
          // Not before it is known what the page shows: the keys are for the button where there is one.
          autoFocus={rows !== null && !first && !matchMedia("(pointer: coarse)").matches}
          onSend={start}
          onSteer={() => {}}
          onStop={() => Promise.resolve(false)}
          onTyping={() => {}}
        />
      </div>
    </main>
  );
}
