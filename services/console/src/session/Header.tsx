import type { Snapshot } from "fanfold";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { go } from "../app/route";
import { useTitle } from "../app/title";
import { Confirm } from "../ui/Confirm";
import { DebugIcon, EditIcon, MenuIcon, MoreIcon } from "../ui/icons";
import { Menu } from "../ui/Menu";
import { news } from "../ui/notices";
import type { Actions } from "./actions";
import { ConnectionPill } from "./connection";
import { Faces } from "./Presence";

interface Props {
  id: string;
  snapshot: Snapshot;
  actions: Actions | null;
  debugging: boolean;
  onDebug(on: boolean): void;
  onMenu(): void;
}

export function Header({ id, snapshot, actions, debugging, onDebug, onMenu }: Props) {
  const [renaming, setRenaming] = useState(false);
  const [asking, setAsking] = useState<"end" | "erase" | null>(null);
  const title = snapshot.state.session.title || "Untitled session";
  useTitle(title);
  return (
    <header className="bar">
      <button type="button" className="quiet icon-only menu-button" aria-label="Show the list of sessions" onClick={onMenu}>
        <MenuIcon />
      </button>
      {renaming && actions ? (
        <Rename title={snapshot.state.session.title ?? ""} actions={actions} onDone={() => setRenaming(false)} />
      ) : (
        <h1 title={title}>{title}</h1>
      )}
      {actions && !renaming && (
        <button
          type="button"
          className="quiet icon-only rename"
          aria-label="Rename the session"
          onClick={() => setRenaming(true)}
        >
          <EditIcon />
        </button>
      )}
      <span className="gap" />
      <Faces presence={snapshot.presence} />
      <ConnectionPill snapshot={snapshot} />
      <button
        type="button"
        className="quiet icon-only"
        aria-label="Debugging panel"
        aria-pressed={debugging}
        title="Debugging panel"
        onClick={() => onDebug(!debugging)}
      >
        <DebugIcon />
      </button>
      <Menu label="More about this session" icon={<MoreIcon />}>
        <button type="button" role="menuitem" onClick={() => void copyLink(id)}>
          Copy the link
        </button>
        {actions && (
          <button type="button" role="menuitem" onClick={() => setAsking("end")}>
            End the session…
          </button>
        )}
        {actions && (
          <button type="button" role="menuitem" className="danger" onClick={() => setAsking("erase")}>
            Erase its content…
          </button>
        )}
      </Menu>
      {asking && actions && (
        <Confirm
          title={asking === "end" ? "End this session for everybody?" : "Erase this session for everybody?"}
          text={
            asking === "end"
              ? "Nothing more can be said in it. What is there stays readable."
              : "Its messages are removed for good and can't be brought back."
          }
          yes={asking === "end" ? "End it" : "Erase it"}
          danger={asking === "erase"}
          onNo={() => setAsking(null)}
          onYes={async () => {
            const done = await (asking === "end" ? actions.end() : actions.erase());
            setAsking(null);
            if (done && asking === "erase") go({});
          }}
        />
      )}
    </header>
  );
}

async function copyLink(session: string): Promise<void> {
  const link = new URL(`#/s/${session}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    news("The link is copied.");
  } catch {
    news(link);
  }
}

function Rename({ title, actions, onDone }: { title: string; actions: Actions; onDone(): void }) {
  const [text, setText] = useState(title);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), []);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() && text.trim() !== title) await actions.rename(text.trim());
    onDone();
  };
  return (
    <form className="rename-form" onSubmit={save}>
      <input
        ref={field}
        aria-label="Title"
        value={text}
        maxLength={200}
        onChange={(event) => setText(event.target.value)}
        onBlur={save}
        onKeyDown={(event) => event.key === "Escape" && onDone()}
      />
    </form>
  );
}
