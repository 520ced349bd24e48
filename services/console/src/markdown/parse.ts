import { Marked, type Token } from "marked";
import { mathBlock, mathInline } from "./math";

export interface Block {
  // Where it begins in the text: the same for as long as the text only grows.
  readonly start: number;
  readonly token: Token;
}

const marked = new Marked({ gfm: true });
marked.use({ extensions: [mathBlock, mathInline] });

export const lex = (text: string): readonly Token[] => marked.lexer(text);

export const parse = (text: string, from: number): Block[] => placed(lex(text.slice(from)), from);

export function placed(tokens: readonly Token[], from: number): Block[] {
  let start = from;
  return tokens.map((token) => {
    const block = { start, token };
    start += token.raw.length;
    return block;
  });
}
