import type { Present } from "fanfold";
import { me } from "../app/identity";

const FACES_MAX = 4;

export function others(presence: readonly Present[]): readonly Present[] {
  return presence.filter((present) => present.who !== me());
}

export function Faces({ presence }: { presence: readonly Present[] }) {
  const there = others(presence);
  if (there.length === 0) return null;
  const names = there.map((present) => present.who).join(", ");
  return (
    <div className="faces" role="img" aria-label={`Also here: ${names}`} title={`Also here: ${names}`}>
      {there.slice(0, FACES_MAX).map(({ who, doing }) => (
        <span key={who} className={`face hue-${hueOf(who)}${doing === "typing" ? " typing" : ""}`}>
          {[...who][0]?.toUpperCase()}
        </span>
      ))}
      {there.length > FACES_MAX && <span className="face more">+{there.length - FACES_MAX}</span>}
    </div>
  );
}

export function Typing({ presence }: { presence: readonly Present[] }) {
  const names = others(presence)
    .filter((present) => present.doing === "typing")
    .map((present) => present.who);
  const [first, second] = names;
  const words =
    first === undefined
      ? ""
      : second === undefined
        ? `${first} is typing…`
        : names.length === 2
          ? `${first} and ${second} are typing…`
          : `${first} and ${names.length - 1} others are typing…`;
  return <p className="typing-line" role="status">{words}</p>;
}

// The same person has the same colour everywhere.
function hueOf(who: string): number {
  let sum = 0;
  for (const char of who) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 6;
  return sum;
}
