// What the browser's tab says: the session, and how many others have something new.

import { useEffect } from "react";
import { isUnread, list, seenMarks } from "../sessions/list";
import { useRoute } from "./route";
import { useStore } from "./store";

export function useTitle(session: string | null): void {
  const { rows } = useStore(list);
  const marks = useStore(seenMarks);
  const current = useRoute().session;
  const unread = rows?.filter((row) => row.session !== current && isUnread(row, marks)).length ?? 0;
  useEffect(() => {
    const name = session === null ? "Fanfold" : `${session} · Fanfold`;
    document.title = unread > 0 ? `(${unread}) ${name}` : name;
  }, [session, unread]);
}
