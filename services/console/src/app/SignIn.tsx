import { type FormEvent, useId, useState } from "react";
import { Mark } from "../ui/icons";
import { wordsFor } from "./errors";
import { token } from "./identity";

export function SignIn({ error }: { error: unknown }) {
  const [text, setText] = useState("");
  const field = useId();
  const why = useId();
  const { what, todo } = wordsFor(error);
  const save = (event: FormEvent) => {
    event.preventDefault();
    token.set(text.trim());
  };
  return (
    <main className="sign-in" id="main">
      <form onSubmit={save}>
        <Mark />
        <h1>{what}</h1>
        <p id={why}>{todo} It stays in this browser until you sign out.</p>
        <label htmlFor={field}>Token</label>
        <textarea
          id={field}
          aria-describedby={why}
          rows={4}
          value={text}
          autoComplete="off"
          spellCheck={false}
          placeholder="eyJ…"
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" className="primary" disabled={!text.trim()}>
          Sign in
        </button>
      </form>
    </main>
  );
}
