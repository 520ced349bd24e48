import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";
import { formula } from "./tex";

const markup = (text: string, display = false) => {
  const made = formula(text, display);
  return made === null ? null : renderToStaticMarkup(made);
};

test("formulas become MathML", () => {
  expect(markup("\\frac{t_f}{n}")).toContain("<mfrac><msub><mi>t</mi><mi>f</mi></msub><mi>n</mi></mfrac>");
  expect(markup("x", true)).toMatch(/^<math display="block"/);
  const all = [
    "\\sum_{i=1}^n i^2 = \\sqrt[3]{x}",
    "\\begin{pmatrix}a&b\\\\c&d\\end{pmatrix}",
    "\\begin{aligned}a&=b\\\\c&=d\\end{aligned}",
    "\\begin{cases}1&x>0\\\\0&\\text{otherwise}\\end{cases}",
    "\\hat{x}\\vec{v}\\overline{ab}\\underbrace{x}_{y}\\cancel{z}\\boxed{y}\\binom nk",
    "\\left(\\frac12\\right)\\int_0^\\infty e^{-x}\\,dx\\lim_{x\\to0}\\mathbb{R}\\operatorname{argmax}\\xrightarrow{f}",
  ];
  for (const text of all) expect(markup(text, true), text).toContain("</math>");
});

test("what isn't TeX, or not yet, stays as it was written", () => {
  for (const text of ["\\frac{a", "\\nosuch{x}", "x^", "{", "\\begin{matrix}", "x".repeat(5000)]) expect(markup(text), text).toBeNull();
  const macros = "\\def\\a{xx}\\def\\b{\\a\\a\\a\\a}\\def\\c{\\b\\b\\b\\b}\\def\\d{\\c\\c\\c\\c}\\def\\e{\\d\\d\\d\\d}\\e\\e\\e\\e";
  expect(markup(macros)).toBeNull();
});

test("nothing but formulas comes of it", () => {
  for (const text of [
    "\\href{javascript:window.pwned=1}{x}",
    "\\url{https://outside.invalid}",
    "\\includegraphics{https://outside.invalid/x.png}",
    "\\class{tool}{x}",
    "\\id{root}{x}",
    "\\style{position:fixed}{x}",
    "\\data{x=y}{x}",
    "\\color{red}\\text{<img src=x onerror=alert(1)>}",
  ]) {
    expect(markup(text) ?? "", text).not.toMatch(/<(a|img|span|script)\b|href|src="|onerror="| id=|class="tool|position|color/);
  }
});
