import type { ReasoningPart, Run, Thought } from "fanfold";
import { useContext, useEffect, useState } from "react";
import { Markdown } from "../markdown/Markdown";
import { ForwardIcon, ThoughtIcon } from "../ui/icons";
import { duration } from "../ui/time";
import { useFold } from "./folds";
import { Moment } from "./moment";

interface Props {
  part: ReasoningPart;
  message: string;
  at: number;
  run: Run | undefined;
  // Whether it is being written.
  open: boolean;
}

export function Reasoning({ part, message, at, run, open }: Props) {
  const [unfolded, unfold] = useFold(`${message}/${at}`, false);
  const past = useContext(Moment) !== null;
  const thought = run?.thoughts?.find((thought) => thought.part === at);
  return (
    <div className="reasoning">
      <button type="button" className="fold" aria-expanded={unfolded} onClick={() => unfold(!unfolded)}>
        <ThoughtIcon />
        {open ? <Thinking since={thought?.fromMs} /> : <span>{thoughtFor(thought, run)}</span>}
        <span className="chevron">
          <ForwardIcon />
        </span>
      </button>
      {unfolded && <Markdown text={part.text} open={open && !past} />}
    </div>
  );
}

// Counted from when its first words were written, by their writer's clock, which may be ahead.
function Thinking({ since }: { since: number | undefined }) {
  const moment = useContext(Moment);
  const [present, setPresent] = useState(() => Date.now());
  useEffect(() => {
    if (moment) return;
    const timer = setInterval(() => setPresent(Date.now()), 100);
    return () => clearInterval(timer);
  }, [moment]);
  const now = moment?.atMs ?? present;
  return <span className={moment ? undefined : "thinking"}>Thinking · {duration(Math.max(0, now - (since ?? now)))}</span>;
}

function thoughtFor(thought: Thought | undefined, run: Run | undefined): string {
  if (thought?.uptoMs !== undefined) return `Thought for ${duration(Math.max(0, thought.uptoMs - thought.fromMs))}`;
  const tokens = run?.usage?.reasoning ?? 0;
  return tokens > 0 ? `Thought · ${tokens.toLocaleString()} tokens` : "Thought";
}
