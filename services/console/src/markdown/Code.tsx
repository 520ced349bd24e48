import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { CopyButton } from "../ui/CopyButton";
import { highlighted, useHighlighter } from "./highlight";

interface Props {
  code: string;
  language: string;
  // Whether more of it may come.
  open: boolean;
}

// While code is written, its lines are coloured this often; between, they stand plain.
const REFRESH_MS = 250;

export function Code({ code, language, open }: Props) {
  const name =
    language
      .trim()
      .split(/[\s{,:]/)[0]
      ?.toLowerCase() ?? "";
  const ready = useHighlighter(name !== "");
  const done = useThrottled(open ? code.slice(0, code.lastIndexOf("\n") + 1) : code, open ? REFRESH_MS : 0);
  const coloured = useMemo(() => (ready ? highlighted(name, done) : null), [ready, name, done]);
  const content: ReactNode = coloured && code.startsWith(done) ? [coloured, code.slice(done.length)] : code;
  return (
    <figure className="code">
      <figcaption>
        <span>{name || "text"}</span>
        <CopyButton text={code} what="code" />
      </figcaption>
      {/* a region that scrolls must be reachable */}
      <pre tabIndex={0}>
        <code>{content}</code>
      </pre>
    </figure>
  );
}

function useThrottled(value: string, interval: number): string {
  const [shown, setShown] = useState(value);
  const latest = useRef(value);
  latest.current = value;
  useEffect(() => {
    if (interval === 0) return;
    const timer = setInterval(() => setShown(latest.current), interval);
    return () => clearInterval(timer);
  }, [interval]);
  return interval === 0 ? value : shown;
}
