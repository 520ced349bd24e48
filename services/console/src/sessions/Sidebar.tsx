import type { SessionRow } from "fanfold";
import { useConnection } from "fanfold/react";
import { memo, useEffect, useRef, useState } from "react";
import { fanfold } from "../app/client";
import { wordsFor } from "../app/errors";
import { token } from "../app/identity";
import { hrefOf } from "../app/route";
import { useStore } from "../app/store";
import { CloseIcon, EditIcon, Mark, PlusIcon, SearchIcon } from "../ui/icons";
import { trouble } from "../ui/notices";
import { ThemeSwitch } from "../ui/ThemeSwitch";
import { ago, dayOf, full } from "../ui/time";
import { isUnread, list, loadMore, seenMarks } from "./list";
import { useFound } from "./useFound";

interface Props {
  current: string | null;
  open: boolean;
  onClose(): void;
}

export function Sidebar({ current, open, onClose }: Props) {
  const { rows, earlier, error: failed } = useStore(list);
  const connection = useConnection(fanfold);
  const error = failed ?? (rows === null ? (connection.error ?? null) : null);
  const marks = useStore(seenMarks);
  const signedIn = useStore(token) !== "";
  const [wanted, setWanted] = useState("");
  const now = useMinutes();
  const found = useFound(wanted);
  const shown = found?.rows ?? rows ?? [];
  const groups = Map.groupBy(shown, (row) => dayOf(row.activeAtMs, now));
  return (
    <nav className={open ? "sidebar open" : "sidebar"} aria-label="Sessions">
      <header>
        <a className="brand" href={hrefOf({})} onClick={onClose}>
          <Mark />
          <span>Fanfold</span>
        </a>
        <span className="gap" />
        <ThemeSwitch />
        <button type="button" className="quiet icon-only close-button" aria-label="Hide the list of sessions" onClick={onClose}>
          <CloseIcon />
        </button>
      </header>
      <a className="button new" href={hrefOf({})} onClick={onClose}>
        <PlusIcon />
        New session
      </a>
      <div className="search">
        <SearchIcon />
        <input
          type="search"
          aria-label="Search sessions"
          placeholder="Search"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
      </div>
      <div className="rows">
        <Standing rows={rows} shown={shown.length} searching={found ? found.searching : null} error={found?.error ?? error} />
        {[...groups].map(([day, rows]) => (
          <section key={day} aria-label={day}>
            <h2>{day}</h2>
            <ul>
              {rows.map((row) => (
                <Item
                  key={row.session}
                  row={row}
                  current={row.session === current}
                  unread={row.session !== current && isUnread(row, marks)}
                  when={ago(row.activeAtMs, now)}
                  onOpen={onClose}
                />
              ))}
            </ul>
          </section>
        ))}
        {(found ? found.more : earlier === "more") && (
          <button type="button" className="quiet" onClick={found ? found.onMore : loadMore}>
            {found ? "Search on" : "Show earlier sessions"}
          </button>
        )}
        {!found && earlier === "sought" && <p className="quiet-text">There are earlier ones. A search finds them.</p>}
      </div>
      {signedIn && (
        <footer>
          <button type="button" className="quiet" onClick={() => token.set("")}>
            Sign out
          </button>
        </footer>
      )}
    </nav>
  );
}

interface StandingProps {
  rows: readonly SessionRow[] | null;
  shown: number;
  // Null while nothing is sought.
  searching: boolean | null;
  error: unknown;
}

// What there is to say in place of rows.
function Standing({ rows, shown, searching, error }: StandingProps) {
  const text =
    error !== null
      ? wordsFor(error).what
      : shown > 0
        ? null
        : searching === true
          ? "Searching…"
          : searching === false
            ? "No session has a title with these words."
            : rows === null
              ? "Loading…"
              : "No sessions yet. Say something to begin one.";
  return (
    <p className="quiet-text" role="status">
      {text}
    </p>
  );
}

interface ItemProps {
  row: SessionRow;
  current: boolean;
  unread: boolean;
  when: string;
  onOpen(): void;
}

const Item = memo(function Item({ row, current, unread, when, onOpen }: ItemProps) {
  const [renaming, setRenaming] = useState(false);
  const title = row.title || "Untitled session";
  if (renaming) return <RenameItem row={row} onDone={() => setRenaming(false)} />;
  return (
    <li className={unread ? "unread" : undefined}>
      <a href={hrefOf({ session: row.session })} aria-current={current ? "page" : undefined} onClick={onOpen}>
        <span className="title">
          {title}
          {unread && <span className="off-screen">(something new)</span>}
        </span>
        {row.openRuns > 0 && <i className="writing" role="img" aria-label="being answered" title="Being answered" />}
        <time dateTime={new Date(row.activeAtMs).toISOString()} title={full(row.activeAtMs)}>
          {row.status === "closed" ? "ended" : when}
        </time>
      </a>
      {row.status === "open" && (
        <button type="button" className="quiet icon-only" aria-label={`Rename ${title}`} onClick={() => setRenaming(true)}>
          <EditIcon />
        </button>
      )}
    </li>
  );
});

function RenameItem({ row, onDone }: { row: SessionRow; onDone(): void }) {
  const [text, setText] = useState(row.title ?? "");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), []);
  const save = async () => {
    onDone();
    const title = text.trim();
    if (!title || title === row.title) return;
    try {
      await fanfold.command(row.session, { set_title: { title } });
    } catch (error) {
      trouble(error);
    }
  };
  return (
    <li>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <input
          ref={field}
          aria-label="Title"
          value={text}
          maxLength={200}
          onChange={(event) => setText(event.target.value)}
          onBlur={() => void save()}
          onKeyDown={(event) => event.key === "Escape" && onDone()}
        />
      </form>
    </li>
  );
}

function useMinutes(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 30_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
