import { type Message, newId, textOf } from "fanfold";
import { useEffect, useRef, useState } from "react";
import type { Actions } from "./actions";

interface Props {
  message: Message;
  actions: Actions;
  onDone(): void;
}

// Another version of a message, beside the one there is.
export function Edit({ message, actions, onDone }: Props) {
  const [text, setText] = useState(() => textOf(message));
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const save = async () => {
    if (!text.trim() || busy) return;
    setBusy(true);
    const sent = await actions.send(text.trim(), { message: newId(), parent: message.parent ?? null, interrupt: true });
    setBusy(false);
    if (sent) onDone();
  };
  return (
    <form
      className="edit"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <textarea
        ref={field}
        aria-label="Edit message"
        value={text}
        rows={3}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onDone();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void save();
        }}
      />
      <div className="buttons">
        <span className="hint">The first version stays, beside this one.</span>
        <button type="button" onClick={onDone}>
          Cancel
        </button>
        <button type="submit" className="primary" disabled={busy || !text.trim()}>
          Send
        </button>
      </div>
    </form>
  );
}
