// What the reader has unfolded stays so while it is scrolled away. Lives as long as the page.

import { useState } from "react";

const KEPT_MAX = 2000;
const folds = new Map<string, boolean>();

export function useFold(key: string, initially: boolean): [open: boolean, set: (open: boolean) => void] {
  const [, redraw] = useState(0);
  const set = (open: boolean) => {
    folds.delete(key);
    folds.set(key, open);
    const oldest = folds.size > KEPT_MAX ? folds.keys().next().value : undefined;
    if (oldest !== undefined) folds.delete(oldest);
    redraw((turn) => turn + 1);
  };
  return [folds.get(key) ?? initially, set];
}
