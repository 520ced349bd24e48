// One message, with what a reader can do with it.

import { isFinal, type Message, type Run, textOf } from "fanfold";
import { memo, type ReactNode, useContext, useEffect, useRef } from "react";
import { me } from "../app/identity";
import { hrefOf } from "../app/route";
import { Markdown } from "../markdown/Markdown";
import { CopyButton } from "../ui/CopyButton";
import { BackIcon, EditIcon, ForwardIcon, LinkIcon, RetryIcon, SteerIcon } from "../ui/icons";
import { backToConversation } from "../ui/focus";
import { clock, duration, full } from "../ui/time";
import type { Actions } from "./actions";
import { Edit } from "./Edit";
import { File } from "./File";
import { Moment } from "./moment";
import { type Shown, shownParts } from "./parts";
import { Reasoning } from "./Reasoning";
import { RunNote } from "./RunNote";
import { Sources } from "./Sources";
import { Tool } from "./Tool";

interface Props {
  session: string;
  message: Message;
  run: Run | undefined;
  siblings: readonly string[];
  // Absent where nothing can be changed: in the past, and in a session that has ended.
  actions: Actions | null;
  // Whether the page was opened for this message.
  sought: boolean;
  // What was said last shows what can be done with it; the others when they are pointed at.
  last: boolean;
  editing: boolean;
  onChoose(message: string): void;
  onEdit(message: string | null): void;
}

const WHO = { user: "You", assistant: "Assistant", system: "Instructions", tool: "Tool", unspecified: "Message" } as const;

export const Row = memo(function Row(props: Props) {
  const { session, message, run, sought, last, editing, actions } = props;
  const own = message.author === undefined || message.author === me();
  const who = message.role === "user" && !own ? message.author : WHO[message.role];
  const writing = run !== undefined && !isFinal(run);
  const goesOn = useContext(Moment) === null && writing;
  const { row, sources } = shownParts(message.parts);
  const article = useRef<HTMLElement>(null);
  const edited = useRef(editing);
  useEffect(() => {
    // Who gives up an edit is back at what began it.
    if (edited.current && !editing && document.activeElement === document.body) {
      article.current?.querySelector<HTMLElement>("button.edit-message")?.focus();
    }
    edited.current = editing;
  }, [editing]);
  return (
    <article
      ref={article}
      className={`message ${message.role}${sought ? " sought" : ""}${last ? " last" : ""}`}
      aria-label={`${who}, ${clock(message.atMs)}`}
      aria-busy={goesOn && run.status !== "waiting"}
      data-message={message.id}
    >
      <h2 className={message.role === "user" && !own ? "author" : "off-screen"}>{who}</h2>
      {editing && actions ? (
        <Edit session={session} message={message} actions={actions} onDone={() => props.onEdit(null)} />
      ) : (
        <div className="body">
          {row.map((shown, index) => (
            <PartView key={shown.at} shown={shown} {...props} open={writing && index === row.length - 1} running={writing} />
          ))}
        </div>
      )}
      {sources.length > 0 && <Sources sources={sources} />}
      {run && <RunNote run={run} empty={row.length === 0} actions={actions} />}
      {!editing && <Footer {...props} writing={writing} />}
    </article>
  );
});

function PartView({
  shown,
  message,
  run,
  actions,
  open,
  running,
}: Props & { shown: Shown; open: boolean; running: boolean }): ReactNode {
  const { part, at } = shown;
  const past = useContext(Moment) !== null;
  switch (part.kind) {
    case "text":
      // People write what they mean; models write Markdown.
      return message.role === "user" ? <p className="said">{part.text}</p> : <Markdown text={part.text} open={open && !past} />;
    case "reasoning":
      return <Reasoning part={part} message={message.id} at={at} run={run} open={open} />;
    case "tool_call":
      return <Tool part={part} message={message.id} running={running} actions={actions} />;
    case "file":
      return <File part={part} />;
    case "steering":
      return (
        <p className="steering">
          <SteerIcon />
          <span>
            <strong>{part.author === undefined || part.author === me() ? "You" : part.author}</strong> steered: {part.text}
          </span>
        </p>
      );
    case "step":
    case "unknown":
      return null;
  }
}

function Footer({ session, message, run, siblings, actions, writing, onChoose, onEdit }: Props & { writing: boolean }) {
  const text = textOf(message);
  return (
    <footer>
      {siblings.length > 1 && <Branches message={message.id} siblings={siblings} onChoose={onChoose} />}
      <div className="tools">
        {text !== "" && !writing && <CopyButton text={text} what="message" />}
        {actions && message.role === "user" && (
          <button type="button" className="quiet small edit-message" onClick={() => onEdit(message.id)}>
            <EditIcon />
            <span>Edit</span>
          </button>
        )}
        {actions && run && (run.status === "completed" || run.status === "cancelled") && (
          <button type="button" className="quiet small" onClick={() => again(actions, run)}>
            <RetryIcon />
            <span>Regenerate</span>
          </button>
        )}
        {!writing && (
          <a className="quiet small button" href={hrefOf({ session, message: message.id })} title={full(message.atMs)}>
            <LinkIcon />
            <span>{clock(message.atMs)}</span>
          </a>
        )}
        {run && !writing && <RunFacts run={run} />}
      </div>
    </footer>
  );
}

function again(actions: Actions, run: Run): void {
  void actions.regenerate(run.prompt);
  backToConversation();
}

function RunFacts({ run }: { run: Run }) {
  const facts: string[] = [];
  if (run.model) facts.push(run.model);
  if (run.usage && run.usage.output > 0) facts.push(`${run.usage.output.toLocaleString()} tokens`);
  if (run.startedAtMs !== undefined && run.endedAtMs !== undefined) facts.push(duration(run.endedAtMs - run.startedAtMs));
  return facts.length > 0 && <span className="facts">{facts.join(" · ")}</span>;
}

function Branches({
  message,
  siblings,
  onChoose,
}: {
  message: string;
  siblings: readonly string[];
  onChoose(message: string): void;
}) {
  const at = siblings.indexOf(message);
  const [before, after] = [siblings[at - 1], siblings[at + 1]];
  return (
    <fieldset className="branches" aria-label="Versions of this message">
      <button
        type="button"
        className="quiet icon-only"
        aria-label="Previous version"
        disabled={!before}
        onClick={() => before && onChoose(before)}
      >
        <BackIcon />
      </button>
      <span aria-live="off">
        {at + 1} / {siblings.length}
      </span>
      <button
        type="button"
        className="quiet icon-only"
        aria-label="Next version"
        disabled={!after}
        onClick={() => after && onChoose(after)}
      >
        <ForwardIcon />
      </button>
    </fieldset>
  );
}
