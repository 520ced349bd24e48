// Loaded when first needed: the languages that answers are mostly about.

import type { ElementContent, RootContent } from "hast";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import protobuf from "highlight.js/lib/languages/protobuf";
import { common, createLowlight } from "lowlight";
import { Fragment, type ReactNode } from "react";

const lowlight = createLowlight({ ...common, dockerfile, protobuf });
lowlight.registerAlias({ json: ["jsonl", "json5"], ini: ["toml"], bash: ["console", "shell-session"], xml: ["vue", "svelte"] });

export const knows = (language: string): boolean => lowlight.registered(language);

export function highlight(language: string, code: string): ReactNode {
  return <Fragment key="coloured">{nodes(lowlight.highlight(language, code).children)}</Fragment>;
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
