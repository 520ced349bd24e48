// A formula, as it was written until it can be set.

import { lazy, Suspense } from "react";

export interface FormulaProps {
  text: string;
  display: boolean;
}

const Source = ({ text }: FormulaProps) => text;

// Where the page has lost its node, formulas stay as they were written.
const Tex = lazy(() => import("./tex").catch(() => ({ default: Source })));

export function Formula({ text, display }: FormulaProps) {
  return (
    <span className={display ? "math display" : "math"} data-source={text}>
      <Suspense fallback={text}>
        <Tex text={text} display={display} />
      </Suspense>
    </span>
  );
}
