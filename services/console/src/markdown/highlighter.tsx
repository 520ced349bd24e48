// Loaded when first needed: the languages that answers are mostly about.

import type { ElementContent, RootContent } from "hast";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import protobuf from "highlight.js/lib/languages/protobuf";
import { common, createLowlight } from "lowlight";
import { Fragment, type ReactNode } from "react";
import type { Coloured } from "./pieces";

const lowlight = createLowlight({ ...common, dockerfile, protobuf });
lowlight.registerAlias({ json: ["jsonl", "json5"], ini: ["toml"], bash: ["console", "shell-session"], xml: ["vue", "svelte"] });

export const knows = (language: string): boolean => lowlight.registered(language);

export function highlight(language: string, code: string): Coloured {
  const { children } = lowlight.highlight(language, code);
  // A comment or a string that goes on is an element that holds the end of the last line.
  return { content: <Fragment key="coloured">{nodes(children)}</Fragment>, whole: children.at(-1)?.type === "text" };
}

function nodes(of: readonly (ElementContent | RootContent)[]): ReactNode {
  return of.map((node, index) => {
    if (node.type === "text") return node.value;
    if (node.type !== "element") return null;
    const names = node.properties.className;
    return (
      <span key={index} className={Array.isArray(names) ? names.join(" ") : undefined}>
        {nodes(node.children)}
      </span>
    );
  });
}
