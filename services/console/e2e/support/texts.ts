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
