// Formulas are found and kept as they were written: nothing inside them is taken for emphasis, links or escapes. `tex.tsx` sets them.

import type { TokenizerAndRendererExtension, Tokens } from "marked";

export interface MathToken extends Tokens.Generic {
  type: "math";
  raw: string;
  text: string;
  display: boolean;
}

const token = (raw: string, text: string, display: boolean): MathToken => ({ type: "math", raw, text: text.trim(), display });

// `$$ … $$` or `\[ … \]` that begin a line. Until its end has come a formula runs to the end of the text.
const BLOCK = /^ {0,3}(?:\$\$([\s\S]*?)(?:\$\$|$)|\\\[([\s\S]*?)(?:\\\]|$))[ \t]*(?:\n|$)/;

// `$…$` as pandoc reads it: no space inside the dollars, no digit after them, so that "$5 or $10" stays money.
const INLINE = /^(?:\$\$([^$\n]+)\$\$|\$(?!\s)((?:\\.|[^$\\\n])*?[^\s\\$])\$(?!\d)|\\\(([^\n]*?)\\\)|\\\[([^\n]*?)\\\])/;

export const mathBlock: TokenizerAndRendererExtension = {
  name: "math",
  level: "block",
  start: (source) => source.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
  tokenizer(source) {
    const found = BLOCK.exec(source);
    return found ? token(found[0], found[1] ?? found[2] ?? "", true) : undefined;
  },
};

export const mathInline: TokenizerAndRendererExtension = {
  name: "math",
  level: "inline",
  start: (source) => source.match(/\$|\\[([]/)?.index,
  tokenizer(source) {
    const found = INLINE.exec(source);
    if (!found) return undefined;
    const display = found[1] ?? found[4];
    return token(found[0], display ?? found[2] ?? found[3] ?? "", display !== undefined);
  },
};
