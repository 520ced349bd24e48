// What went wrong, and what to do about it: it stays until its reader puts it away. What went well goes by itself.

import { useEffect } from "react";
import { wordsFor } from "../app/errors";
import { mint } from "../app/ids";
import { createStore, useStore } from "../app/store";
import { announce } from "./announce";
import { AlertIcon, CheckIcon, CloseIcon } from "./icons";

interface Notice {
  id: string;
  kind: "trouble" | "news";
  what: string;
  todo: string;
}

const SHOWN_MS = 10_000;
const SHOWN_MAX = 3;

const notices = createStore<readonly Notice[]>([]);

function show(notice: Omit<Notice, "id">): void {
  announce(`${notice.what} ${notice.todo}`);
  notices.set((now) => [...now.filter((other) => other.what !== notice.what), { ...notice, id: mint() }].slice(-SHOWN_MAX));
}

export function trouble(error: unknown): void {
  show({ kind: "trouble", ...wordsFor(error) });
}

export function news(what: string): void {
  show({ kind: "news", what, todo: "" });
}

const dismiss = (id: string) => notices.set((now) => now.filter((notice) => notice.id !== id));

export function Notices() {
  return (
    <div className="notices">
      {useStore(notices).map((notice) => (
        <NoticeCard key={notice.id} notice={notice} />
      ))}
    </div>
  );
}

function NoticeCard({ notice }: { notice: Notice }) {
  useEffect(() => {
    if (notice.kind === "trouble") return;
    const timer = setTimeout(() => dismiss(notice.id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [notice]);
  return (
    <div className={`notice ${notice.kind}`}>
      {notice.kind === "trouble" ? <AlertIcon /> : <CheckIcon />}
      <p>
        <strong>{notice.what}</strong> {notice.todo}
      </p>
      <button type="button" className="quiet icon-only" aria-label="Dismiss" onClick={() => dismiss(notice.id)}>
        <CloseIcon />
      </button>
    </div>
  );
}
