import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { highlight } from "./highlighter";
import { type Colour, Pieces } from "./pieces";

// Much code, with comments and strings that go on over lines.
function code(lines: number): string {
  const all = ["fn main() {"];
  for (let line = 0; all.length < lines; line++) {
    all.push(`    let value_${line} = compute("text ${line}", ${line});`);
    if (line % 40 === 39) all.push("    /* a comment", ...Array.from({ length: 30 }, (_, at) => `       of line ${at} and "more"`), "    */");
  }
  return `${all.join("\n")}\n}`;
}

const rust: Colour = (text) => highlight("rust", text);
const markup = (pieces: Pieces) => pieces.shown().map(({ content }) => renderToStaticMarkup(<>{content}</>));
const words = (html: string) => html.replace(/<[^>]*>/g, "");

function settle(pieces: Pieces, text: string): string[] {
  pieces.update(text, false);
  for (let turn = 0; pieces.advance(turn); turn++);
  return markup(pieces);
}

describe("code in pieces", () => {
  const text = code(400);
  const whole = renderToStaticMarkup(<>{highlight("rust", text).content}</>);

  it("has the colours that the whole would have", () => {
    const pieces = settle(new Pieces(rust), text);
    expect(pieces.length).toBeGreaterThan(5);
    expect(pieces.join("")).toBe(whole);
  });

  it("has them too when it was written bit by bit, and shows every word at each moment", () => {
    const growing = new Pieces(rust);
    for (let at = 0, now = 0; at < text.length; at += 97, now += 40) {
      growing.update(text.slice(0, at), true);
      growing.advance(now);
      expect(words(markup(growing).join(""))).toBe(words(renderToStaticMarkup(<>{text.slice(0, at)}</>)));
    }
    expect(settle(growing, text).join("")).toBe(whole);
  });

  it("is coloured a little at a time, and what is finished once", () => {
    const made: string[] = [];
    const growing = new Pieces((piece, make) => {
      if (make) made.push(piece);
      return make ? highlight("rust", piece) : null;
    });
    for (let at = 0, now = 0; at < text.length; at += 50, now += 250) {
      growing.update(text.slice(0, at), true);
      while (growing.advance(now));
    }
    settle(growing, text);
    expect(Math.max(...made.map((piece) => piece.length))).toBeLessThan(4100);
    const first = growing.shown()[0];
    growing.update(`${text}\n// more`, true);
    expect(growing.shown()[0]).toBe(first);
    expect(made.filter((piece) => text.startsWith(piece)).length).toBeLessThan(25);
  });

  it("stays plain where nothing can be coloured, and begins anew with other code", () => {
    const plain = new Pieces(() => null);
    plain.update(text, true);
    expect(plain.advance(1000)).toBe(false);
    expect(plain.shown().map(({ content }) => content).join("")).toBe(text);
    plain.update("other", false);
    expect(plain.shown()).toEqual([{ start: 0, content: "other" }]);
  });

  it("leaves lines plain that are too long", () => {
    let longest = 0;
    const pieces = new Pieces((piece, make) => {
      longest = Math.max(longest, piece.length);
      return make ? highlight("rust", piece) : null;
    });
    const long = `${"x".repeat(30_000)}\nlet y = 1;\n`;
    expect(words(settle(pieces, long).join(""))).toBe(long);
    expect(longest).toBeLessThan(100);
  });
});
