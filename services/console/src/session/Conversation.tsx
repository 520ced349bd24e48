// The messages on the way that the reader looks at. Only those near the window exist in the page.

import type { SessionState } from "fanfold";
import { useCallback, useContext, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import { DownIcon } from "../ui/icons";
import type { Actions } from "./actions";
import { Moment } from "./moment";
import { Pending } from "./Pending";
import { Row } from "./Row";
import type { Step } from "./tree";
import type { Unsent } from "./unsent";
import { useBottom } from "./useBottom";

interface Props {
  session: string;
  state: SessionState;
  path: readonly Step[];
  actions: Actions | null;
  // The message that the page was opened for.
  sought: string | null;
  onChoose(message: string): void;
  // Absent where there is nothing older to be had.
  onOlder?: (() => Promise<void>) | undefined;
  // What is on its way to the node.
  pending: readonly Unsent[];
}

// So close to the beginning older messages are asked for.
const OLDER_AT_PX = 600;

export function Conversation({ session, state, path, actions, sought, onChoose, onOlder, pending }: Props) {
  const scroller = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const rows = useRef<VirtualizerHandle>(null);
  const bottom = useBottom(scroller, content);
  const [editing, setEditing] = useState<string | null>(null);
  const loading = useRef(false);

  // Older messages that come in at the beginning must not move what is being read.
  const first = path[0]?.id;
  const before = useRef(first);
  const prepended = first !== before.current && path.some((step) => step.id === before.current);
  useLayoutEffect(() => {
    before.current = first;
  }, [first]);

  const older = useCallback(() => {
    if (!onOlder || loading.current || (scroller.current?.scrollTop ?? 0) > OLDER_AT_PX) return;
    loading.current = true;
    void onOlder().finally(() => {
      loading.current = false;
    });
  }, [onOlder]);

  // What was sent here is what its sender wants to see.
  const sent = pending.length;
  const { toEnd, stay } = bottom;
  useEffect(() => {
    if (sent > 0) toEnd();
  }, [sent, toEnd]);

  const soughtAt = sought === null ? -1 : path.findIndex((step) => step.id === sought);
  const found = useRef<string | null>(null);
  useEffect(() => {
    if (soughtAt < 0 || found.current === sought) return;
    found.current = sought;
    stay(false);
    rows.current?.scrollToIndex(soughtAt, { align: "center" });
  }, [soughtAt, sought, stay]);

  const writing = useContext(Moment) === null && state.openRuns.some((run) => run.status === "running");
  const editingAt = editing === null ? -1 : path.findIndex((step) => step.id === editing);
  return (
    <div className="conversation">
      {/* a region that scrolls must be reachable */}
      <section className="scroller" aria-label="Conversation" ref={scroller} tabIndex={0} onScroll={older}>
        <div className="column" ref={content}>
          {onOlder && (
            <p className="older">
              <button type="button" className="quiet" onClick={() => void onOlder()}>
                {state.olderMessages.toLocaleString()} earlier messages
              </button>
            </p>
          )}
          <Virtualizer
            ref={rows}
            scrollRef={scroller}
            data={path}
            shift={prepended}
            {...(editingAt < 0 ? {} : { keepMounted: [editingAt] })}
          >
            {(step: Step) => {
              const message = state.messages.get(step.id);
              if (!message) return <div key={step.id} />;
              return (
                <Row
                  key={step.id}
                  session={session}
                  message={message}
                  run={state.runs.get(message.run)}
                  siblings={step.siblings}
                  actions={actions}
                  sought={sought === step.id}
                  last={step.id === path.at(-1)?.id}
                  editing={editing === step.id}
                  onChoose={onChoose}
                  onEdit={setEditing}
                />
              );
            }}
          </Virtualizer>
          {pending.map((one) => (
            <Pending key={one.message} one={one} />
          ))}
        </div>
      </section>
      {!bottom.there && (
        <button type="button" className="to-end" onClick={toEnd}>
          <DownIcon />
          {writing ? "Still writing" : "To the end"}
        </button>
      )}
    </div>
  );
}
