// All records at a glance: what kinds there are where, and where connections came back.

import type { StoredRecord } from "fanfold";
import { memo, useMemo } from "react";
import { type Kind, kindOf } from "./kinds";
import type { Return } from "./returns";

const WIDTH = 240;
const HEIGHT = 28;

// What is rare stands before what there is much of.
const ORDER: readonly Kind[] = ["session", "message", "tool", "run", "reasoning", "text", "other"];

interface Props {
  records: readonly StoredRecord[];
  at: number;
  returns: readonly Return[];
}

export function Timeline({ records, at, returns }: Props) {
  const place = (index: number) => ((index + 0.5) / Math.max(1, records.length)) * WIDTH;
  const marks = returns.map((one) => records.findLastIndex((record) => Number(record.offset) <= Number(one.offset)));
  return (
    <svg className="timeline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <Bars records={records} />
      {marks.map((index, number) => (
        <path key={returns[number]?.id} className={`return ${returns[number]?.how}`} d={`M${place(index)} 0v${HEIGHT}`} />
      ))}
      <path className="here" d={`M${place(at)} 0v${HEIGHT}`} />
    </svg>
  );
}

const Bars = memo(function Bars({ records }: { records: readonly StoredRecord[] }) {
  const bars = useMemo(() => barsOf(records), [records]);
  return bars.map((kind, bar) => (
    <rect key={bar} className={kind} x={(bar * WIDTH) / bars.length} y={4} width={WIDTH / bars.length} height={HEIGHT - 8} />
  ));
});

// As many bars as can be told apart, each with the rarest kind in it.
function barsOf(records: readonly StoredRecord[]): Kind[] {
  const count = Math.min(records.length, WIDTH);
  return Array.from({ length: count }, (_, bar) => {
    const from = Math.floor((bar * records.length) / count);
    const to = Math.floor(((bar + 1) * records.length) / count);
    const kinds = new Set(records.slice(from, to).map(kindOf));
    return ORDER.find((kind) => kinds.has(kind)) ?? "other";
  });
}
