// A record's events in a word each, and what kind of thing they are.

import type { StoredRecord } from "fanfold";

export type Kind = "message" | "run" | "text" | "reasoning" | "tool" | "session" | "other";

export function kindOf(record: StoredRecord): Kind {
  const [name, body] = first(record);
  if (name === "output") {
    const said = Object.keys(firstSaid(body))[0] ?? "";
    if (said === "text" || said === "citation") return "text";
    if (said === "reasoning") return "reasoning";
    return said.startsWith("tool") ? "tool" : "run";
  }
  if (name.startsWith("session")) return "session";
  if (name === "message_added") return "message";
  if (name === "tool_decided") return "tool";
  return /^(run|attempt)_/.test(name) ? "run" : "other";
}

export function nameOf(record: StoredRecord): string {
  if (record.unreadable) return "unreadable";
  const names = record.events.map((event) => {
    const [name, body] = Object.entries(event)[0] ?? ["unknown", {}];
    if (name !== "output") return name.replaceAll("_", " ");
    const said = (body as { said?: Record<string, unknown>[] }).said ?? [];
    const kinds = [...new Set(said.map((one) => Object.keys(one)[0] ?? "unknown"))];
    return `says ${kinds.join(", ").replaceAll("_", " ")}`;
  });
  return names.join(" + ");
}

const first = (record: StoredRecord): [string, unknown] => Object.entries(record.events[0] ?? {})[0] ?? ["unknown", {}];

const firstSaid = (output: unknown): object => (output as { said?: object[] }).said?.[0] ?? {};
