import type { ToolCallPart, ToolStatus } from "fanfold";
import { useEffect, useId, useRef, useState } from "react";
import { Code } from "../markdown/Code";
import { ForwardIcon, ToolIcon } from "../ui/icons";
import type { Actions } from "./actions";
import { useFold } from "./folds";

const STATUS: Record<ToolStatus, string> = {
  unspecified: "",
  writing: "is being written",
  writing_for_approval: "is being written",
  awaiting_approval: "awaits your approval",
  ready: "is running",
  refused: "was refused",
  done: "done",
  failed: "failed",
};

interface Props {
  part: ToolCallPart;
  message: string;
  // Whether the run that called it goes on.
  running: boolean;
  actions: Actions | null;
}

export function Tool({ part, message, running, actions }: Props) {
  const awaits = part.status === "awaiting_approval";
  const [unfolded, unfold] = useFold(`${message}/${part.call}`, false);
  const shown = unfolded || awaits;
  const fold = useRef<HTMLButtonElement>(null);
  const decided = useRef(false);
  // The buttons of the decision are gone with it.
  useEffect(() => {
    if (!awaits && decided.current) fold.current?.focus();
    decided.current = false;
  }, [awaits]);
  const status = part.status === "ready" && !running ? "not answered" : STATUS[part.status];
  return (
    <section className={`tool ${part.status}`} aria-label={`Tool ${part.name}`}>
      <button ref={fold} type="button" className="fold" aria-expanded={shown} disabled={awaits} onClick={() => unfold(!unfolded)}>
        <ToolIcon />
        <span className="name">{part.name}</span>
        <span className="status">{status}</span>
        <span className="chevron">
          <ForwardIcon />
        </span>
      </button>
      {shown && <Payload label="Arguments" text={part.arguments} open={part.status.startsWith("writing") && running} />}
      {shown && part.result !== undefined && <Payload label={resultLabel(part.status)} text={part.result} open={false} />}
      {awaits && actions && (
        <Approval
          part={part}
          message={message}
          actions={actions}
          onDecide={() => {
            decided.current = true;
          }}
        />
      )}
    </section>
  );
}

const resultLabel = (status: ToolStatus) => (status === "refused" ? "Reason" : status === "failed" ? "Error" : "Result");

function Payload({ label, text, open }: { label: string; text: string; open: boolean }) {
  const pretty = open ? null : prettyJson(text);
  return (
    <div className="payload">
      <h3>{label}</h3>
      <Code code={pretty ?? text} language={pretty === null ? "" : "json"} open={open} />
    </div>
  );
}

function prettyJson(text: string): string | null {
  // Numbers would lose digits in a round trip, so that only the layout of objects and arrays is worth it.
  if (!/^\s*[[{]/.test(text) || /\d{16,}/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

interface Asked {
  part: ToolCallPart;
  message: string;
  actions: Actions;
  onDecide(): void;
}

function Approval({ part, message, actions, onDecide }: Asked) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useId();
  const decide = async (approved: boolean) => {
    setBusy(true);
    onDecide();
    await actions.decide(message, part.call, approved, reason.trim());
    setBusy(false);
  };
  return (
    <div className="approval">
      <p>
        The assistant wants to use <strong>{part.name}</strong> with these arguments.
      </p>
      <label className="off-screen" htmlFor={field}>
        Reason
      </label>
      <input
        id={field}
        value={reason}
        maxLength={500}
        placeholder="Reason (optional)"
        onChange={(event) => setReason(event.target.value)}
      />
      <div className="buttons">
        <button type="button" className="primary" disabled={busy} onClick={() => decide(true)}>
          Allow
        </button>
        <button type="button" disabled={busy} onClick={() => decide(false)}>
          Refuse
        </button>
      </div>
    </div>
  );
}
