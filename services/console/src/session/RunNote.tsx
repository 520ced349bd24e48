// How an answer stands: that it waits, or why it ended early, and what to do.

import type { FinishReason, Run } from "fanfold";
import { useContext, useEffect, useState } from "react";
import { AlertIcon, PauseIcon, RetryIcon, StopIcon } from "../ui/icons";
import { full } from "../ui/time";
import { backToConversation } from "../ui/focus";
import type { Actions } from "./actions";
import { Moment } from "./moment";

// Then a reader is told that nobody may be there to answer.
const PATIENCE_MS = 4000;

interface Props {
  run: Run;
  // Whether nothing of it has been written yet.
  empty: boolean;
  actions: Actions | null;
}

export function RunNote({ run, empty, actions }: Props) {
  switch (run.status) {
    case "queued":
      return <Queued key={run.attempts} run={run} />;
    case "running":
      return empty && <Dots words="The assistant begins" />;
    case "waiting":
      return <Waiting waiting={run.waiting} />;
    case "completed":
      return <Finished finish={run.finish} />;
    case "cancelled":
      return (
        <p className="note">
          <StopIcon />
          Stopped. What was written stays.
        </p>
      );
    case "failed":
    case "orphaned":
      return <Failed run={run} actions={actions} />;
    case "unspecified":
      return null;
  }
}

function Dots({ words }: { words: string }) {
  const past = useContext(Moment) !== null;
  return (
    <p className="note waiting">
      {!past && (
        <span className="dots" aria-hidden="true">
          <i />
          <i />
          <i />
        </span>
      )}
      {words}
    </p>
  );
}

function Queued({ run }: { run: Run }) {
  const [long, setLong] = useState(false);
  const past = useContext(Moment) !== null;
  useEffect(() => {
    if (past) return setLong(false);
    const timer = setTimeout(() => setLong(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [past]);
  if (run.error) {
    const why = run.error.message ? ` (${run.error.message.replace(/\.$/, "")})` : "";
    return <Dots words={`Attempt ${run.attempts} of ${run.attemptsMax} failed${why}. Trying again`} />;
  }
  if (run.waiting) return <Dots words={long ? "Decided. It goes on once a worker takes it up" : "Decided. It goes on"} />;
  return <Dots words={long ? "No worker has taken this yet. It is kept, and answered once one does" : "Waiting for a worker"} />;
}

// Nobody writes until a person has decided.
function Waiting({ waiting }: { waiting: Run["waiting"] }) {
  return (
    <p className="note">
      <PauseIcon />
      It waits for a decision{waiting && <>. Without one it counts as refused from {full(waiting.untilMs)} on</>}.
    </p>
  );
}

function Finished({ finish }: { finish: FinishReason | undefined }) {
  const words = {
    length: "The model reached its limit here. Ask it to go on.",
    content_filter: "The model's provider withheld the rest.",
    tool_calls: "The model waits for its tools.",
    other: finish?.other ? `The model stopped: ${finish.other}.` : "",
    stop: "",
    unspecified: "",
  }[finish?.kind ?? "stop"];
  return words ? <p className="note">{words}</p> : null;
}

function Failed({ run, actions }: { run: Run; actions: Actions | null }) {
  const why =
    run.status === "orphaned"
      ? "The worker that wrote this was lost, and no attempt is left."
      : run.error?.code === "no_worker"
        ? "No worker took this in time."
        : "This could not be answered.";
  return (
    <div className="note trouble">
      <AlertIcon />
      <p>
        <strong>{why}</strong> {run.error?.code !== "no_worker" && run.error?.message} What was written stays.
      </p>
      {actions && (
        <button type="button" onClick={() => {
            void actions.regenerate(run.prompt);
            backToConversation();
          }}>
          <RetryIcon />
          Try again
        </button>
      )}
    </div>
  );
}
