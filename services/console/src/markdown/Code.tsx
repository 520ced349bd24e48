import { memo, type ReactNode, useEffect, useMemo, useState } from "react";
import { CopyButton } from "../ui/CopyButton";
import { highlighted, isKnown, useHighlighter } from "./highlight";
import { type Piece, Pieces } from "./pieces";

interface Props {
  code: string;
  language: string;
  // Whether more of it may come.
  open: boolean;
}

// Between two pieces that get their colours: the page has other things to do.
const STEP_MS = 30;

export function Code({ code, language, open }: Props) {
  const name =
    language
      .trim()
      .split(/[\s{,:]/)[0]
      ?.toLowerCase() ?? "";
  return (
    <figure className="code">
      <figcaption>
        <span>{name || "text"}</span>
        <CopyButton text={code} what="code" />
      </figcaption>
      {/* a region that scrolls must be reachable */}
      <pre tabIndex={0}>
        <code>
          {usePieces(name, code, open).map(({ start, content }) => (
            <PieceView key={start} content={content} />
          ))}
        </code>
      </pre>
    </figure>
  );
}

// Only pieces that are new are laid out anew.
const PieceView = memo(function PieceView({ content }: { content: ReactNode }) {
  return <span className="piece">{content}</span>;
});

function usePieces(language: string, code: string, open: boolean): readonly Piece[] {
  const ready = useHighlighter(language !== "");
  const coloured = ready && isKnown(language);
  const pieces = useMemo(
    () => new Pieces((text, make) => (coloured ? highlighted(language, text, make) : null)),
    [coloured, language],
  );
  pieces.update(code, open);
  const [, redraw] = useState(0);
  useEffect(() => {
    if (!coloured) return;
    const timer = setInterval(() => {
      if (pieces.advance(performance.now())) redraw((turn) => turn + 1);
      else if (!open) clearInterval(timer);
    }, STEP_MS);
    return () => clearInterval(timer);
  }, [pieces, coloured, open, open ? "" : code]);
  return pieces.shown();
}
