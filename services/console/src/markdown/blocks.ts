// A growing Markdown text as blocks. A block that something follows is never parsed again: only the last one is still open.

import { Marked, type Token } from "marked";
import { mathBlock, mathInline } from "./math";

export interface Block {
  // Where it begins in the text: the same for as long as the text only grows.
  readonly start: number;
  readonly token: Token;
}

const marked = new Marked({ gfm: true });
marked.use({ extensions: [mathBlock, mathInline] });

export class Blocks {
  #text = "";
  #blocks: readonly Block[] = [];
  // A reference such as `[name]: address` reaches back into blocks that are done: once the text is final it is read again.
  #references = false;
  #final = false;

  // Takes the text as it is now. Cheap when it begins with what it was before.
  update(source: string, final: boolean): readonly Block[] {
    const text = source.includes("\r") ? source.replace(/\r\n?/g, "\n") : source;
    const grown = text.startsWith(this.#text) && !(final && !this.#final && this.#references);
    if (grown && text.length === this.#text.length) {
      this.#final = final;
      return this.#blocks;
    }
    this.#blocks = grown ? this.#continued(text) : parse(text, 0);
    this.#references = this.#blocks.some((block) => block.token.type === "def");
    this.#text = text;
    this.#final = final;
    return this.#blocks;
  }

  #continued(text: string): readonly Block[] {
    const open = this.#blocks.findLastIndex((block) => block.token.type !== "space");
    const from = this.#blocks[open];
    return from ? [...this.#blocks.slice(0, open), ...parse(text, from.start)] : parse(text, 0);
  }
}

function parse(text: string, from: number): Block[] {
  let start = from;
  return marked.lexer(text.slice(from)).map((token) => {
    const block = { start, token };
    start += token.raw.length;
    return block;
  });
}
