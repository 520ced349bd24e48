// Code in pieces that are coloured one after the other, so that the page never stands still for it, however long the code is. A piece
// is some lines that end where neither a comment nor a string is open; it is coloured once, also while more code is being written.

import type { ReactNode } from "react";

export interface Piece {
  // Where it begins in the code.
  readonly start: number;
  readonly content: ReactNode;
}

export interface Coloured {
  readonly content: ReactNode;
  // Whether what follows can be coloured without it.
  readonly whole: boolean;
}

// Null where colours would have to be made, and the caller wants none made.
export type Colour = (text: string, make: boolean) => Coloured | null;

// A piece is this long, or longer where a comment goes on; after the last it ends wherever it is.
const LENGTHS = [1000, 2000, 4000];

// Lines so long are no code that somebody reads, and stay plain.
const PIECE_MAX = 8000;

// Longer code stays plain behind this.
const LENGTH_MAX = 200_000;

// The lines after the last piece are coloured so often while more are written.
const REFRESH_MS = 250;

export class Pieces {
  readonly #colour: Colour;
  #code = "";
  #open = true;
  #done: Piece[] = [];
  #doneAt = 0;
  #length = 0;
  #tail: { readonly text: string; readonly content: ReactNode } | null = null;
  #tailAtMs = 0;

  constructor(colour: Colour) {
    this.#colour = colour;
  }

  // Takes the code as it is now, with the colours that are known of it.
  update(code: string, open: boolean): void {
    if (!code.startsWith(this.#code)) {
      this.#done = [];
      this.#doneAt = this.#length = 0;
      this.#tail = null;
    }
    this.#code = code;
    this.#open = open;
    while (this.#next(false));
  }

  // Makes the colours of a piece, or of the lines after the last one. False when there is nothing to be done now.
  advance(nowMs: number): boolean {
    if (this.#next(true)) return true;
    if (this.#open && nowMs - this.#tailAtMs < REFRESH_MS) return false;
    this.#tailAtMs = nowMs;
    return this.#colourTail(true);
  }

  // All of the code: what is coloured, and the rest as it is.
  shown(): readonly Piece[] {
    const shown = [...this.#done];
    let at = this.#doneAt;
    if (this.#tail && this.#code.startsWith(this.#tail.text, at)) {
      shown.push({ start: at, content: this.#tail.content });
      at += this.#tail.text.length;
    }
    while (at < this.#code.length) {
      const end = this.#lineEnd(at, LENGTHS[0] ?? 0) || this.#code.length;
      shown.push({ start: at, content: this.#code.slice(at, end) });
      at = end;
    }
    return shown;
  }

  #next(make: boolean): boolean {
    const length = LENGTHS[this.#length];
    const end = length === undefined || this.#doneAt > LENGTH_MAX ? 0 : this.#lineEnd(this.#doneAt, length);
    if (end === 0) return !this.#open && this.#colourTail(make);
    const text = this.#code.slice(this.#doneAt, end);
    const coloured = text.length > PIECE_MAX ? { content: text, whole: true } : this.#colour(text, make);
    if (!coloured) return false;
    this.#length += 1;
    if (!coloured.whole && this.#length < LENGTHS.length) return true;
    this.#done = [...this.#done, { start: this.#doneAt, content: coloured.content }];
    this.#doneAt = end;
    this.#length = 0;
    this.#tail = null;
    return true;
  }

  // Of a line that is still being written nothing is known.
  #colourTail(make: boolean): boolean {
    const end = this.#open ? this.#code.lastIndexOf("\n") + 1 : this.#code.length;
    const text = this.#code.slice(this.#doneAt, end);
    if (text === "" || text.length > PIECE_MAX || this.#doneAt > LENGTH_MAX || text === this.#tail?.text) return false;
    const coloured = this.#colour(text, make);
    if (coloured) this.#tail = { text, content: coloured.content };
    return coloured !== null;
  }

  // Behind the first line that ends after so many characters; 0 if there is none yet.
  #lineEnd(from: number, length: number): number {
    return this.#code.indexOf("\n", from + length - 1) + 1;
  }
}
