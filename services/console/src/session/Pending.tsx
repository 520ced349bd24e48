import { wordsOf } from "../app/errors";
import { AlertIcon, EditIcon, RetryIcon } from "../ui/icons";
import { nameOf } from "./Files";
import { sayAgain, takeBack, type Unsent } from "./unsent";

// A message that the node hasn't confirmed, and what can be done where it was refused.
export function Pending({ one }: { one: Unsent }) {
  const { parts, failed } = one;
  return (
    <article
      className={failed === undefined ? "message user pending" : "message user pending failed"}
      aria-label={failed === undefined ? "You, being sent" : "You, not sent"}
    >
      <div className="body">
        <p className="said">{parts.map((part) => (part.kind === "text" ? part.text : nameOf(part))).join("\n")}</p>
      </div>
      {failed === undefined ? <p className="note">Sending…</p> : <Failed one={one} code={failed} />}
    </article>
  );
}

function Failed({ one, code }: { one: Unsent; code: string }) {
  const { what, todo } = wordsOf(code);
  return (
    <div className="note trouble">
      <AlertIcon />
      <p>
        <strong>Not sent. {what}</strong> {todo}
      </p>
      <button type="button" onClick={() => sayAgain(one)}>
        <RetryIcon />
        Send again
      </button>
      <button type="button" onClick={() => takeBack(one)}>
        <EditIcon />
        Take it back
      </button>
    </div>
  );
}
