import { type NewPart, newId, type Run } from "fanfold";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { ImageIcon, SendIcon, SteerIcon, StopIcon } from "../ui/icons";
import { backToConversation } from "../ui/focus";
import { dropDraft, keepDraft, useDraft } from "./drafts";
import { Files, nameOf } from "./Files";
import { imageAddress, imageAt, partsOf } from "./images";

interface Props {
  // Drafts are kept apart by it.
  session: string;
  // The run that goes on.
  run: Run | undefined;
  // Why nothing can be sent.
  disabled: string | null;
  autoFocus: boolean;
  // Whether it was taken; what wasn't stays where it was written.
  onSend(parts: NewPart[], message: string): boolean | Promise<boolean>;
  onSteer(run: string, text: string): void;
  onStop(): Promise<boolean>;
  onTyping(typing: boolean): void;
}

const IMAGES_MAX = 8;

// Without a key for so long nobody types any more.
const TYPING_MS = 5000;

export function Composer({ session, run, disabled, autoFocus, onSend, onSteer, onStop, onTyping }: Props) {
  const { text, files } = useDraft(session);
  const [next, setNext] = useState(false);
  const [stopping, setStopping] = useState(false);
  // Null while no address is being written.
  const [address, setAddress] = useState<string | null>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const typed = useRef<ReturnType<typeof setTimeout>>(undefined);
  const typing = useRef(false);
  // A run can be steered once it is being written, also while it waits for a decision.
  const steerable = run?.status === "running" || run?.status === "waiting" ? run : undefined;
  const steered = next ? undefined : steerable;
  const steers = steered !== undefined;
  const sendable = text.trim() !== "" || (!steers && files.length > 0);

  useEffect(() => {
    if (autoFocus) field.current?.focus();
  }, [autoFocus]);

  useEffect(() => () => clearTimeout(typed.current), []);

  const write = (value: string) => {
    keepDraft(session, { text: value, files });
    clearTimeout(typed.current);
    tell(value !== "");
    if (value !== "") typed.current = setTimeout(() => tell(false), TYPING_MS);
  };

  const tell = (now: boolean) => {
    if (typing.current === now) return;
    typing.current = now;
    onTyping(now);
  };

  const submit = async () => {
    const said = text.trim();
    if (!sendable || disabled !== null) return;
    clearTimeout(typed.current);
    tell(false);
    if (steered) {
      onSteer(steered.id, said);
      keepDraft(session, { text: "", files });
    } else if (await onSend(partsOf(said, files), newId())) dropDraft(session);
  };

  const add = () => {
    const url = imageAddress(address ?? "");
    if (!url) return;
    if (!files.some((file) => nameOf(file) === url)) keepDraft(session, { text, files: [...files, imageAt(url)] });
    setAddress(null);
    field.current?.focus();
  };

  const key = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void submit();
  };

  const stop = async () => {
    setStopping(true);
    await onStop();
    setStopping(false);
    backToConversation();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {steerable && (
        <fieldset className="mode">
          <legend className="off-screen">What your message does while the answer is being written</legend>
          <label>
            <input type="radio" name="mode" checked={!next} onChange={() => setNext(false)} />
            <span>
              <SteerIcon />
              Steer this answer
            </span>
          </label>
          <label>
            <input type="radio" name="mode" checked={next} onChange={() => setNext(true)} />
            <span>Send after it</span>
          </label>
        </fieldset>
      )}
      {!steers && <Files files={files} onChange={(files) => keepDraft(session, { text, files })} />}
      {!steers && address !== null && (
        <div className="address">
          <input
            type="url"
            aria-label="Address of an image"
            placeholder="https://…"
            value={address}
            autoFocus
            onChange={(event) => setAddress(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Escape") setAddress(null);
              if (event.key !== "Enter") return;
              event.preventDefault();
              add();
            }}
          />
          <button type="button" className="small" disabled={imageAddress(address) === null} onClick={add}>
            Add
          </button>
        </div>
      )}
      <div className="field">
        {!steers && (
          <button
            type="button"
            className="quiet icon-only"
            aria-label="Add an image by its address"
            aria-expanded={address !== null}
            title="Add an image by its address"
            disabled={disabled !== null || files.length >= IMAGES_MAX}
            onClick={() => setAddress((now) => (now === null ? "" : null))}
          >
            <ImageIcon />
          </button>
        )}
        <textarea
          ref={field}
          aria-label="Message"
          rows={1}
          value={text}
          disabled={disabled !== null}
          placeholder={disabled ?? (steers ? "Say what to change" : "Message")}
          onChange={(event) => write(event.target.value)}
          onKeyDown={key}
        />
        {run && (
          <button type="button" className="stop" disabled={stopping} onClick={stop}>
            <StopIcon />
            <span>Stop</span>
          </button>
        )}
        <button
          type="submit"
          className="primary icon-only"
          aria-label={steers ? "Steer" : "Send"}
          disabled={!sendable || disabled !== null}
        >
          {steers ? <SteerIcon /> : <SendIcon />}
        </button>
      </div>
    </form>
  );
}
