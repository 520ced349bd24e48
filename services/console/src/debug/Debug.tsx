// The session taken apart: each record at its offset, the state there, and what it changed.

import type { Snapshot, StoredRecord } from "fanfold";
import { useConnection } from "fanfold/react";
import { useEffect, useId, useMemo, useState } from "react";
import { cutConnection, fanfold } from "../app/client";
import { wordsFor } from "../app/errors";
import { go } from "../app/route";
import { useStore } from "../app/store";
import { Code } from "../markdown/Code";
import { BackIcon, CloseIcon, CutIcon, ForwardIcon } from "../ui/icons";
import { full } from "../ui/time";
import { type Change, changesBetween } from "./changes";
import { kindOf, nameOf } from "./kinds";
import { momentAt, type Past, useRecords } from "./past";
import { useReaders } from "./readers";
import { type Return, returns } from "./returns";
import { Timeline } from "./Timeline";

interface Props {
  id: string;
  snapshot: Snapshot;
  past: Past | null;
  onClose(): void;
}

export function Debug({ id, snapshot, past, onClose }: Props) {
  const { records, full: cut, error } = useRecords(id, snapshot.head);
  const came = useStore(returns).filter((one) => one.session === id);
  const at = past ? indexAt(records, past.at) : records.length - 1;
  const [moving, setMoving] = useState<number | null>(null);
  const shown = moving ?? at;
  const record = records[shown];
  const slider = useId();

  // Once the page is where the slider rests, the address says where that is.
  useEffect(() => {
    if (moving === at) setMoving(null);
  }, [moving, at]);

  const move = (index: number) => {
    const target = records[Math.max(0, Math.min(records.length - 1, index))];
    if (!target) return;
    setMoving(records.indexOf(target));
    go({ session: id, at: target.offset }, true);
  };
  const toNow = () => {
    setMoving(null);
    go({ session: id }, true);
  };

  return (
    <aside className="debug" aria-label="Debugging panel">
      <header>
        <h2>Replay</h2>
        <span className="gap" />
        <button
          type="button"
          className="small"
          onClick={cutConnection}
          title="Drops this tab's connection, to see that nothing is lost by it"
        >
          <CutIcon />
          Cut the connection
        </button>
        <button type="button" className="quiet icon-only" aria-label="Close the debugging panel" onClick={onClose}>
          <CloseIcon />
        </button>
      </header>
      {error !== null && <p className="note trouble">{wordsFor(error).what}</p>}
      <section className="replay" aria-label="Moments of the session">
        <Timeline records={records} at={shown} returns={came} />
        <label className="off-screen" htmlFor={slider}>
          Offset
        </label>
        <input
          id={slider}
          type="range"
          min={0}
          max={Math.max(0, records.length - 1)}
          value={Math.max(0, shown)}
          disabled={records.length === 0}
          aria-valuetext={record ? `Offset ${record.offset}, ${nameOf(record)}` : "none"}
          onChange={(event) => move(Number(event.target.value))}
        />
        <div className="steps">
          <button
            type="button"
            className="icon-only"
            aria-label="Step back"
            disabled={shown <= 0}
            onClick={() => move(shown - 1)}
          >
            <BackIcon />
          </button>
          <output>
            <strong>{record?.offset ?? "0"}</strong> of {records.at(-1)?.offset ?? "0"}
            {cut ? " (no more are loaded)" : ""}
          </output>
          <button
            type="button"
            className="icon-only"
            aria-label="Step forward"
            disabled={shown >= records.length - 1}
            onClick={() => move(shown + 1)}
          >
            <ForwardIcon />
          </button>
          <span className="gap" />
          <button type="button" className="small" disabled={past === null && moving === null} onClick={toNow}>
            Now
          </button>
        </div>
      </section>
      {record && past === null && moving === null ? (
        <>
          <p className="quiet-text">
            This is now. Step back, or move the slider, to see what a record changed and the session as it was.
          </p>
          <RecordView record={record} />
        </>
      ) : (
        record && <Moment id={id} record={record} before={records[shown - 1]?.offset ?? "0"} />
      )}
      <Returns came={came} />
      <NodeReaders session={id} />
    </aside>
  );
}

// The last record at or before an offset.
function indexAt(records: readonly StoredRecord[], at: string): number {
  return records.findLastIndex((record) => Number(record.offset) <= Number(at));
}

function Moment({ id, record, before }: { id: string; record: StoredRecord; before: string }) {
  const changes = useChanges(id, before, record.offset);
  return (
    <>
      <section aria-label="What changed">
        <h3>What changed</h3>
        {changes === null ? (
          <p className="quiet-text">…</p>
        ) : changes.length === 0 ? (
          <p className="quiet-text">Nothing: the record was judged and did not count, or says what was known.</p>
        ) : (
          <ul className="changes">
            {changes.map((change, index) => (
              <ChangeLine key={index} change={change} />
            ))}
          </ul>
        )}
      </section>
      <RecordView record={record} />
    </>
  );
}

function RecordView({ record }: { record: StoredRecord }) {
  const code = useMemo(() => JSON.stringify(record, null, 2), [record]);
  return (
    <section aria-label="The record">
      <h3>
        <span className={`kind ${kindOf(record)}`}>{nameOf(record)}</span>
        <span className="quiet-text">{full(Number(record.stored_at_ms))}</span>
      </h3>
      <Code code={code} language="json" open={false} />
    </section>
  );
}

function ChangeLine({ change }: { change: Change }) {
  return (
    <li>
      <span>{change.what}</span>
      {change.from !== undefined && <del>{change.from}</del>}
      {change.to !== undefined && <ins>{change.to}</ins>}
    </li>
  );
}

function useChanges(id: string, before: string, at: string): readonly Change[] | null {
  const [found, setFound] = useState<{ key: string; changes: readonly Change[] } | null>(null);
  const key = `${id}/${before}/${at}`;
  useEffect(() => {
    let wanted = true;
    const timer = setTimeout(async () => {
      try {
        const [was, is] = await Promise.all([momentAt(id, before), momentAt(id, at)]);
        if (wanted) setFound({ key, changes: changesBetween(was.state, is.state) });
      } catch {
        // The past that the page shows beside this says so.
      }
    }, 80);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [id, before, at, key]);
  return found?.key === key ? found.changes : null;
}

const HOW: Record<Return["how"], string> = {
  resumed: "resumed: nothing missed, nothing twice",
  snapshot: "came back by a snapshot",
  fresh: "began with a snapshot",
};

function Returns({ came }: { came: readonly Return[] }) {
  return (
    <section aria-label="Connections" className="returns">
      <h3>Connections of this browser</h3>
      {came.length === 0 && <p className="quiet-text">None yet.</p>}
      <ol>
        {[...came].reverse().map((one) => (
          <li key={one.id} className={one.how}>
            <i aria-hidden="true" />
            <span>
              {one.here ? "This tab" : "Another tab"} {HOW[one.how]}
              {why(one.resetReason)}
            </span>
            <span className="quiet-text">
              at {one.offset} · {one.transport} · {new Date(one.atMs).toLocaleTimeString()}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function why(reason: string | undefined): string {
  const word = reason?.replace("RESET_REASON_", "").toLowerCase() ?? "unspecified";
  return word === "unspecified" ? "" : ` (${word.replaceAll("_", " ")})`;
}

const howOf = (wire: string) => wire.replace("HOW_", "").toLowerCase() as Return["how"];

function NodeReaders({ session }: { session: string }) {
  const readers = useReaders(session);
  const { node: own } = useConnection(fanfold);
  if (!readers) return null;
  const { node, attached, counts, latest } = readers;
  return (
    <section aria-label="Readers" className="returns">
      <h3>
        Readers on node {node}
        <span className="quiet-text">{attached} now</span>
      </h3>
      {own !== undefined && own !== node && (
        <p className="quiet-text">This tab's connection is to node {own}: a balancer led the question to another one.</p>
      )}
      <p className="counts">
        {counts.map(({ how, reset_reason, count }) => (
          <span key={how + reset_reason} className={howOf(how)}>
            <i aria-hidden="true" />
            <strong>{count}</strong> {howOf(how)}
            {why(reset_reason)}
          </span>
        ))}
      </p>
      <ol>
        {[...latest].reverse().map((one) => (
          <li key={one.number} className={howOf(one.how)}>
            <i aria-hidden="true" />
            <span>
              {howOf(one.how)}
              {why(one.reset_reason)} {one.from === undefined ? "at" : `from ${one.from} at`} {one.offset}
            </span>
            <span className="quiet-text">
              {TRANSPORT[one.transport] ?? one.transport} · {new Date(Number(one.at_ms)).toLocaleTimeString()}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

const TRANSPORT: Record<string, string> = {
  "fanfold.v1.json": "websocket",
  "fanfold.v1.msgpack": "websocket, MessagePack",
  "fanfold.v1.proto": "websocket, Protobuf",
  sse: "server-sent events",
  sse_many: "server-sent events",
  sse_simple: "server-sent events, simple",
  grpc: "gRPC",
};
