// A message's parts in the order in which a reader meets them: what stands in a row, and the sources below it.

import type { CitationPart, Part } from "fanfold";

export interface Shown {
  readonly part: Exclude<Part, CitationPart>;
  // Its number in the message, as operations name it.
  readonly at: number;
}

export function shownParts(parts: readonly Part[]): { row: Shown[]; sources: CitationPart[] } {
  const row: Shown[] = [];
  const sources: CitationPart[] = [];
  parts.forEach((part, at) => {
    if (part.kind === "citation") sources.push(part);
    else if (part.kind !== "step" && part.kind !== "unknown") row.push({ part, at });
  });
  return { row, sources };
}
