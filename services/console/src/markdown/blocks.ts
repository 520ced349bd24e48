// A growing Markdown text as blocks. A block that something follows is never parsed again: only the last one is still open. Of a list
// or a table only its last items or rows are.

import type { Tokens } from "marked";
import { type Done, longerList, longerTable } from "./longer";
import { type Block, parse } from "./parse";

export type { Block };

const NONE: Done = { start: -1, items: 0, loose: false };

export class Blocks {
  #text = "";
  #blocks: readonly Block[] = [];
  // A reference such as `[name]: address` reaches back into blocks that are done: once the text is final it is read again.
  #references = false;
  #final = false;
  #done = NONE;

  // Takes the text as it is now. Cheap when it begins with what it was before.
  update(source: string, final: boolean): readonly Block[] {
    const text = source.includes("\r") ? source.replace(/\r\n?/g, "\n") : source;
    const grown = text.startsWith(this.#text) && !(final && !this.#final && this.#references);
    if (grown && text.length === this.#text.length) {
      this.#final = final;
      return this.#blocks;
    }
    if (!grown) this.#done = NONE;
    this.#blocks = grown ? this.#continued(text) : parse(text, 0);
    this.#references = this.#blocks.some((block) => block.token.type === "def");
    this.#text = text;
    this.#final = final;
    return this.#blocks;
  }

  #continued(text: string): readonly Block[] {
    const last = this.#before(this.#blocks.length);
    // A block whose first line wasn't whole may turn out to belong to the block before.
    const whole = this.#text.includes("\n", this.#blocks[last]?.start ?? 0);
    const open = whole ? last : Math.max(this.#before(last), 0);
    const from = this.#blocks[open];
    if (!from) return parse(text, 0);
    const now = this.#lengthened(from, text) ?? parse(text, from.start);
    if (now[0]?.token.type === from.token.type && now[0].token.raw === from.token.raw) now[0] = from;
    return [...this.#blocks.slice(0, open), ...now];
  }

  // The block before another one, where the blank lines between are none.
  #before(index: number): number {
    return this.#blocks.slice(0, index).findLastIndex((block) => block.token.type !== "space");
  }

  // The open block and what follows it, when the finished items or rows of the block can stay as they are.
  #lengthened(open: Block, text: string): Block[] | null {
    if (open.token.type === "table") return longerTable(open.start, open.token as Tokens.Table, text);
    if (open.token.type !== "list") return null;
    if (this.#done.start !== open.start) this.#done = { start: open.start, items: 0, loose: false };
    return longerList(open.token as Tokens.List, text, this.#done);
  }
}
