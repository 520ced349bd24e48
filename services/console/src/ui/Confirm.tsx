import { useEffect, useId, useRef, useState } from "react";

interface Props {
  title: string;
  text: string;
  yes: string;
  danger: boolean;
  onYes(): Promise<void>;
  onNo(): void;
}

export function Confirm({ title, text, yes, danger, onYes, onNo }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const heading = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onNo}>
      <h2 id={heading}>{title}</h2>
      <p>{text}</p>
      <div className="buttons">
        <button type="button" onClick={onNo}>
          Cancel
        </button>
        <button
          type="button"
          className={danger ? "danger" : "primary"}
          disabled={busy}
          onClick={async () => {
            setBusy(true);
            await onYes();
          }}
        >
          {yes}
        </button>
      </div>
    </dialog>
  );
}
