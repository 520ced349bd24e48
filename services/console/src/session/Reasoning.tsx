import type { ReasoningPart, Run } from "fanfold";
import { useEffect, useState } from "react";
import { Markdown } from "../markdown/Markdown";
import { ForwardIcon, ThoughtIcon } from "../ui/icons";
import { duration } from "../ui/time";
import { useFold } from "./folds";
import { thoughtOf } from "./thoughts";

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
  return (
    <div className="reasoning">
      <button type="button" className="fold" aria-expanded={unfolded} onClick={() => unfold(!unfolded)}>
        <ThoughtIcon />
        {open ? <Thinking message={message} at={at} /> : <span>{thoughtFor(message, at, run)}</span>}
        <span className="chevron">
          <ForwardIcon />
        </span>
      </button>
      {unfolded && <Markdown text={part.text} open={open} />}
    </div>
  );
}

function Thinking({ message, at }: { message: string; at: number }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 100);
    return () => clearInterval(timer);
  }, []);
  const start = thoughtOf(message, at)?.startMs ?? now;
  return <span className="thinking">Thinking · {duration(now - start)}</span>;
}

function thoughtFor(message: string, at: number, run: Run | undefined): string {
  const watched = thoughtOf(message, at);
  if (watched?.endMs !== undefined) return `Thought for ${duration(watched.endMs - watched.startMs)}`;
  const tokens = run?.usage?.reasoning ?? 0;
  return tokens > 0 ? `Thought · ${tokens.toLocaleString()} tokens` : "Thought";
}
