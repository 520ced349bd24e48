import { type Message, type NewPart, newId, textOf } from "fanfold";
import { useEffect, useRef, useState } from "react";
import { backToConversation } from "../ui/focus";
import type { Actions } from "./actions";
import { type Draft, draftOf, dropDraft, keepDraft } from "./drafts";
import { Files } from "./Files";
import { partsOf } from "./images";

interface Props {
  session: string;
  message: Message;
  actions: Actions;
  onDone(): void;
}

// Another version of a message, beside the one there is.
export function Edit({ session, message, actions, onDone }: Props) {
  const place = `${session}/${message.id}`;
  const [version, setVersion] = useState(() => draftOf(place) ?? versionOf(message));
  const { text, files } = version;
  const write = (next: Draft) => {
    setVersion(next);
    keepDraft(place, next);
  };
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const sendable = text.trim() !== "" || files.length > 0;
  const save = () => {
    if (!sendable) return;
    actions.send({ message: newId(), parts: partsOf(text.trim(), files), parent: message.parent ?? null, interrupt: true });
    backToConversation();
    close();
  };
  const close = () => {
    dropDraft(place);
    onDone();
  };
  return (
    <form
      className="edit"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        ref={field}
        aria-label="Edit message"
        value={text}
        rows={3}
        onChange={(event) => write({ text: event.target.value, files })}
        onKeyDown={(event) => {
          if (event.key === "Escape") close();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
        }}
      />
      <Files files={files} onChange={(files) => write({ text, files })} />
      <div className="buttons">
        <span className="hint">The first version stays, beside this one.</span>
        <button type="button" onClick={close}>
          Cancel
        </button>
        <button type="submit" className="primary" disabled={!sendable}>
          Send
        </button>
      </div>
    </form>
  );
}

// What a person can have said: their text in one, and all that goes with it.
function versionOf(message: Message): Draft {
  const files = message.parts.flatMap((part): NewPart[] => (part.kind === "file" || part.kind === "citation" ? [part] : []));
  return { text: textOf(message), files };
}
