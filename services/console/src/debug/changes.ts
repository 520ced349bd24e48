// What changed between two states, in words.

import type { Message, Part, Run, SessionState } from "fanfold";

export interface Change {
  readonly what: string;
  readonly from?: string;
  readonly to?: string;
}

export function changesBetween(before: SessionState, after: SessionState): Change[] {
  return [
    ...fields("session", before.session, after.session),
    ...[...after.messages].flatMap((message) => messageChanges(before.messages.get(message.id), message)),
    ...[...after.runs].flatMap((run) => runChanges(before.runs.get(run.id), run)),
    ...customChanges(before, after),
  ];
}

function messageChanges(before: Message | undefined, after: Message): Change[] {
  if (!before)
    return [
      {
        what: `message ${short(after.id)} added`,
        to: `${after.role}${after.parts.length > 0 ? `: ${brief(after.parts[0])}` : ""}`,
      },
    ];
  const changes: Change[] = [];
  if (after.parts.length < before.parts.length) changes.push({ what: `message ${short(after.id)} begins anew` });
  after.parts.forEach((part, at) => {
    const old = before.parts[at];
    const name = `${short(after.id)} part ${at}`;
    if (!old) changes.push({ what: `${name} added`, to: brief(part) });
    else if (JSON.stringify(old) !== JSON.stringify(part)) changes.push(partChange(name, old, part));
  });
  return changes;
}

function partChange(name: string, old: Part, part: Part): Change {
  const [was, is] = [growing(old), growing(part)];
  if (was !== null && is !== null && old.kind === part.kind && is.startsWith(was) && is.length > was.length) {
    return { what: `${name} (${part.kind}) grew`, to: `“${is.slice(was.length)}”` };
  }
  if (old.kind === "tool_call" && part.kind === "tool_call") {
    return {
      what: `${name} (${part.name})`,
      from: old.status,
      to: part.result === undefined ? part.status : `${part.status}: ${part.result}`,
    };
  }
  return { what: `${name} replaced`, from: brief(old), to: brief(part) };
}

function growing(part: Part): string | null {
  if (part.kind === "text" || part.kind === "reasoning") return part.text;
  return part.kind === "tool_call" ? part.arguments : null;
}

function runChanges(before: Run | undefined, after: Run): Change[] {
  if (!before) return [{ what: `run ${short(after.id)} added`, to: after.status }];
  return fields(`run ${short(after.id)}`, before, after);
}

function fields(name: string, before: object, after: object): Change[] {
  const [old, now] = [before as Record<string, unknown>, after as Record<string, unknown>];
  const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  const different = keys.filter((key) => JSON.stringify(old[key]) !== JSON.stringify(now[key]));
  return different.map((key) => ({ what: `${name} ${key}`, from: plain(old[key]), to: plain(now[key]) }));
}

function customChanges(before: SessionState, after: SessionState): Change[] {
  const changed = [...after.custom].filter(([kind, value]) => before.custom.get(kind)?.payload !== value.payload);
  return changed.map(([kind, value]) => ({
    what: `custom ${kind}`,
    to: `${value.contentType}, ${value.payload.length} characters of base64`,
  }));
}

// Enough of an id to know it again: the record beside has it whole.
function short(id: string): string {
  return id.length > 12 ? `${id.slice(0, 10)}…` : id;
}

function brief(part: Part | undefined): string {
  if (!part) return "";
  const text = growing(part) ?? JSON.stringify(part);
  return `${part.kind} “${text.length > 80 ? `${text.slice(0, 80)}…` : text}”`;
}

function plain(value: unknown): string {
  if (value === undefined) return "—";
  return typeof value === "string" ? value : JSON.stringify(value);
}
