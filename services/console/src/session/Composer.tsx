import { newId, type Run } from "fanfold";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { SendIcon, SteerIcon, StopIcon } from "../ui/icons";

interface Props {
  // Drafts are kept apart by it.
  session: string;
  // The run that goes on.
  run: Run | undefined;
  // Why nothing can be sent.
  disabled: string | null;
  autoFocus: boolean;
  onSend(text: string, message: string): Promise<boolean>;
  onSteer(run: string, text: string): Promise<boolean>;
  onStop(): Promise<boolean>;
  onTyping(typing: boolean): void;
}

const drafts = new Map<string, string>();

// Without a key for so long nobody types any more.
const TYPING_MS = 5000;

export function Composer({ session, run, disabled, autoFocus, onSend, onSteer, onStop, onTyping }: Props) {
  const [text, setText] = useState(drafts.get(session) ?? "");
  const [next, setNext] = useState(false);
  const [stopping, setStopping] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const typed = useRef<ReturnType<typeof setTimeout>>(undefined);
  const typing = useRef(false);
  // A run can be steered once it is being written.
  const steered = run?.status === "running" && !next ? run : undefined;

  useEffect(() => {
    if (autoFocus) field.current?.focus();
  }, [autoFocus]);

  useEffect(() => () => clearTimeout(typed.current), []);

  const write = (value: string) => {
    setText(value);
    drafts.set(session, value);
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
    if (!said || disabled !== null) return;
    write("");
    const done = steered ? await onSteer(steered.id, said) : await onSend(said, newId());
    // What wasn't taken goes back to its writer, unless they have gone on writing.
    if (!done && field.current?.value === "") write(said);
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
  };

  const steers = steered !== undefined;
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {run?.status === "running" && (
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
      <div className="field">
        <textarea
          ref={field}
          aria-label="Message"
          rows={1}
          value={text}
          disabled={disabled !== null}
          placeholder={disabled ?? (steers ? "Say what to change while it writes" : "Message")}
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
          disabled={!text.trim() || disabled !== null}
        >
          {steers ? <SteerIcon /> : <SendIcon />}
        </button>
      </div>
    </form>
  );
}
