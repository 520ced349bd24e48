// Loaded when first needed: TeX as MathML. What the library makes of it becomes the elements and attributes below, and no others.

import { createElement, type ReactNode, useMemo } from "react";
import temml from "temml";
import type { FormulaProps } from "./Formula";

const ELEMENTS = new Set(
  (
    "math mrow mi mn mo mtext mspace msub msup msubsup mmultiscripts mprescripts mover munder munderover mfrac msqrt mroot " +
    "mtable mtr mtd mpadded mphantom mstyle menclose none"
  ).split(" "),
);

const ATTRIBUTES = new Set(
  (
    "display displaystyle scriptlevel mathvariant stretchy symmetric fence separator form accent accentunder movablelimits largeop " +
    "lspace rspace minsize maxsize linethickness width height depth voffset columnspan rowspan notation"
  ).split(" "),
);

// No colours: they must be read in the light and in the dark.
const STYLES = new Set("padding paddingLeft paddingRight border".split(" "));

// Longer ones stay as they were written.
const LENGTH_MAX = 4000;

// What a formula may make of macros.
const EXPANSIONS_MAX = 200;

interface Node {
  readonly type?: string;
  readonly text?: string;
  readonly children?: readonly Node[];
  readonly classes?: readonly string[];
  readonly attributes?: Readonly<Record<string, string>>;
  readonly style?: Readonly<Record<string, string>>;
}

export default function Tex({ text, display }: FormulaProps): ReactNode {
  return useMemo(() => formula(text, display) ?? text, [text, display]);
}

// Null for what isn't TeX, or not yet.
export function formula(text: string, display: boolean): ReactNode {
  if (text.length > LENGTH_MAX) return null;
  try {
    const options = { displayMode: display, throwOnError: true, trust: false, maxExpand: EXPANSIONS_MAX };
    return element(temml.__renderToMathMLTree(text, options) as Node, 0);
  } catch {
    return null;
  }
}

function element(node: Node, key: number): ReactNode {
  if (node.children === undefined) return textOf(node);
  const children = node.children.map(element);
  if (node.type === undefined && !("href" in node)) return children;
  if (node.type === undefined || !ELEMENTS.has(node.type)) throw new Error("no element of a formula");
  const className = node.classes?.filter(Boolean).join(" ");
  const properties = { key, ...only(node.attributes, ATTRIBUTES), style: only(node.style, STYLES), ...(className && { className }) };
  return createElement(node.type, properties, ...children);
}

function textOf({ text, type }: Node): ReactNode {
  if (typeof text !== "string" || type !== undefined) throw new Error("no text of a formula");
  return text;
}

function only(all: Readonly<Record<string, string>> = {}, known: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => known.has(name)));
}
