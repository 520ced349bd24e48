// What the page says about its connection.

import type { Snapshot } from "fanfold";
import { useConnection } from "fanfold/react";
import { useEffect, useState } from "react";
import { fanfold } from "../app/client";
import { announce } from "../ui/announce";
import { standingOf } from "./standing";

// Shorter than this a change isn't worth a sentence to a screen reader.
const SETTLED_MS = 1500;

export function ConnectionPill({ snapshot }: { snapshot: Snapshot | null }) {
  const connection = useConnection(fanfold);
  const now = useSeconds(connection.phase === "waiting");
  const standing = standingOf(connection, snapshot, now);
  const { word } = standing;
  useEffect(() => {
    const timer = setTimeout(() => announce(word), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [word]);
  return (
    <div className={`connection ${standing.tone}`}>
      <span className="pill" title={standing.detail}>
        <i aria-hidden="true" />
        <span>{word}</span>
      </span>
      {standing.retry && (
        <button type="button" className="small" onClick={() => fanfold.reconnect()}>
          Try now
        </button>
      )}
    </div>
  );
}

// A strip that says more, once it lasts: a blink of the network needs no words.
export function ConnectionStrip({ snapshot }: { snapshot: Snapshot }) {
  const connection = useConnection(fanfold);
  const now = useSeconds(connection.phase === "waiting");
  const standing = standingOf(connection, snapshot, now);
  const troubled = standing.tone === "bad" || standing.tone === "off";
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (!troubled) return setShown(false);
    const timer = setTimeout(() => setShown(true), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [troubled]);
  return troubled && shown ? <p className={`strip ${standing.tone}`}>{standing.detail}</p> : null;
}

function useSeconds(running: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return now;
}
