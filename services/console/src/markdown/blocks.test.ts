import type { Tokens } from "marked";
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

const LONG: Record<string, string> = {
  "a tight list": "Before:\n\n- one\n- two *words*\n- three\n  lazy\nlazier\n- four\n   - nested\n   - `more`\n- five\n- six\n\nAfter.",
  "a list of tasks": "- [ ] a\n- [x] b\n- c\n- [ ] d\n- [x] e\n- [ ] f\n\n- [ ] g\n- h\n- i\n- [x] j\n- k",
  "a loose list": "1. a\n\n2. b\n\n   still b\n\n3. c\n\n4. d\n\n   ```js\n   x\n\n   ```\n\n5. e\n6. f\n7. g\n8. h\n",
  "a list that is loose at its beginning": "- a\n\n- b\n- c\n- d\n- e\n- f\n- g\n- h\n- i\n\n\n* another\n* one\n* two\n* three\n* four\n",
  "a list that is loose at its end": "* a\n* b\n* c\n* d\n* e\n* f\n\n* g\n* h\n* i\n***\n* j\n* k\n* l\n* m\n---\n",
  "a list that is loose inside": "- a\n- b\n- c\n\n  d\n- e\n- f\n- g\n- h\n> quoted\n- i\n- j\n- k\n- l\n1. x\n1. y\n1. z\n1. w\n1. v",
  "a table": "| a | b |\n|:--|--:|\n| 1 | *2* |\n| 3 |\n| 4 | 5 | 6 |\n7 | 8\n- | 9\n| `x` | \\| |\n\n| c |\n|---|\n| 1 |\n| 2 |\n- a list\n",
  "a table that a heading ends": "a|b\n-|-\n1|2\n3|4\n5|6\n# Title\n| a |\n|---|\n|1|\n|2|\n> q\n",
};

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

  for (const [name, text] of Object.entries(LONG)) {
    it(`are what the whole text gives in ${name}`, { timeout: 60_000 }, () => {
      for (let seed = 1; seed <= 40; seed++) {
        const growing = new Blocks();
        for (const at of cuts(text.length, seed)) {
          const now = growing.update(text.slice(0, at), false);
          expect(shape(now), `seed ${seed} at ${at}`).toEqual(shape(new Blocks().update(text.slice(0, at), false)));
        }
      }
    });
  }

  it("keep the finished items of a list and the finished rows of a table", () => {
    const list = new Blocks();
    const items = (text: string) => (list.update(text, false)[0]?.token as Tokens.List).items;
    const first = items("- a\n- b\n- c\n- d\n- e");
    const longer = items("- a\n- b\n- c\n- d\n- e and\n- f");
    expect(longer.map((item, at) => item === first[at])).toEqual([true, true, false, false, false, false]);
    const table = new Blocks();
    const rows = (text: string) => (table.update(text, false)[0]?.token as Tokens.Table).rows;
    const few = rows("|a|\n|-|\n|1|\n|2|\n|3");
    expect(rows("|a|\n|-|\n|1|\n|2|\n|3|\n|4|").map((row, at) => row === few[at])).toEqual([true, true, false, false]);
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
