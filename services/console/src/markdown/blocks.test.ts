import { describe, expect, it } from "vitest";
import { Blocks } from "./blocks";

const TEXT = `# Title

A paragraph with *emphasis*, \`code\`, ~~struck~~ and a [link](https://example.org).
It goes on
Setext
======

- one
- two

  still two

- [ ] to do
- [x] done
   1. nested

> quoted
lazily

| a | b |
|---|--:|
| 1 | 2 |
| \`x|y\` | <br> |

\`\`\`rust
fn main() {

    println!("{}", 1);
}
\`\`\`

    indented code

Inline $a_1 * b_2 * c$ costs $5 or $10, and \\(x_i\\).

$$
\\sum_{i=0}^n i_1 * j_2

  = 3
$$

<div onclick="x()">
html
</div>

***

1. a
1. b

 c

Zürich “é” 👋 end`;

const shape = (blocks: ReturnType<Blocks["update"]>) => blocks.map(({ start, token }) => [start, token]);

// The same numbers in each run: what fails can be run again.
function* cuts(length: number, seed: number): Generator<number> {
  let state = seed;
  for (let at = 0; at < length; ) {
    state = (state * 1103515245 + 12345) % 2147483648;
    at = Math.min(length, at + 1 + (state % 9));
    yield at;
  }
}

describe("blocks of a growing text", () => {
  it("are what the whole text gives, wherever it is cut", { timeout: 60_000 }, () => {
    const whole = shape(new Blocks().update(TEXT, true));
    for (let seed = 1; seed <= 15; seed++) {
      const growing = new Blocks();
      for (const at of cuts(TEXT.length, seed)) {
        const now = growing.update(TEXT.slice(0, at), false);
        expect(shape(now), `seed ${seed} at ${at}`).toEqual(shape(new Blocks().update(TEXT.slice(0, at), false)));
      }
      expect(shape(growing.update(TEXT, true))).toEqual(whole);
    }
  });

  it("keep their identity once something follows them", () => {
    const growing = new Blocks();
    const before = growing.update("one\n\ntwo\n\nthr", false);
    const after = growing.update("one\n\ntwo\n\nthree", false);
    expect(after[0]).toBe(before[0]);
    expect(after[2]).toBe(before[2]);
    expect(after[4]).not.toBe(before[4]);
  });

  it("cover the text without gap", () => {
    const raw = new Blocks().update(TEXT, true).map((block) => block.token.raw);
    expect(raw.join("")).toBe(TEXT);
  });

  it("know references that came late, once the text is final", () => {
    const growing = new Blocks();
    growing.update("see [docs]\n\nand on", false);
    const late = "see [docs]\n\nand on\n\n[docs]: https://example.org\n";
    growing.update(late, false);
    expect(JSON.stringify(growing.update(late, true))).toContain('"href":"https://example.org"');
  });

  it("leave formulas and money as they were written", () => {
    const raw = JSON.stringify(new Blocks().update("$a_1 * b_2$ and $5 or $10 and \\(x*y*z\\)", true));
    expect(raw.match(/"type":"math"/g)).toHaveLength(2);
    expect(raw).not.toContain('"type":"em"');
  });
});
