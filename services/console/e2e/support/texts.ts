// Texts to stream: words as a model's tokens come, with Markdown among them. The same each time.

const WORDS =
  "the log keeps what was said and a reader who comes back finds its place in it without a word lost or told twice".split(" ");

export function* tokens(count: number): Generator<string> {
  for (let at = 0; at < count; at++) {
    const word = WORDS[(at * 7) % WORDS.length] ?? "";
    if (at % 400 === 399) yield `\n\n\`\`\`rust\nfn step_${at}() -> u64 {\n    ${at}\n}\n\`\`\`\n\n`;
    else if (at % 120 === 119) yield `.\n\n## Part ${at}\n\n`;
    else if (at % 60 === 59) yield ".\n\n- ";
    else if (at % 20 === 19) yield ` **${word}**,`;
    else yield `${at % 60 === 0 ? "" : " "}${word}`;
  }
}

// One block that doesn't end: what is open of it is all of it.
export const LONG: Record<string, () => Generator<string>> = {
  *list() {
    for (let at = 0; ; at++) {
      yield at === 0 ? "- " : "\n- ";
      for (let word = 0; word < 8; word++) yield word === 3 ? "**bold** " : `${WORDS[(at * 3 + word * 7) % WORDS.length]} `;
    }
  },
  *table() {
    yield "| one | two | three |\n|---|---|--:|";
    for (let row = 0; ; row++) {
      yield "\n|";
      for (let word = 0; word < 6; word++) yield ` ${WORDS[(row * 5 + word) % WORDS.length]}${word % 2 === 1 ? " |" : ""}`;
      yield ` ${row} |`;
    }
  },
  *code() {
    yield "```rust\n";
    for (let step = 0; ; step++) {
      yield `fn step_${step}`;
      yield "(log: &mut Log) -> Result<u64> {\n";
      yield `    // the log keeps what was said, step ${step}\n`;
      yield `    let offset = `;
      yield `log.append("step", ${step})?;\n`;
      yield "    Ok(offset)\n}\n\n";
    }
  },
};
