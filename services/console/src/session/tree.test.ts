import type { Message } from "fanfold";
import { describe, expect, it } from "vitest";
import { leadTo, pathOf, treeOf } from "./tree";

function messages(...pairs: [id: string, parent?: string][]) {
  const all: Message[] = pairs.map(([id, parent]) => ({ id, role: "user", atMs: 0, parts: [], ...(parent ? { parent } : {}) }));
  return Object.assign(all, { has: (id: string) => all.some((message) => message.id === id) });
}

const way = (tree: ReturnType<typeof treeOf>, choices = {}) => pathOf(tree, choices).map((step) => step.id);

describe("a way through the messages", () => {
  const tree = treeOf(messages(["q"], ["a1", "q"], ["a2", "q"], ["q2", "a1"], ["b", "q2"], ["q2x", "a1"]));

  it("follows the newest message", () => {
    expect(way(tree)).toEqual(["q", "a1", "q2x"]);
  });

  it("follows choices, and the newest below them", () => {
    expect(way(tree, { q: "a2" })).toEqual(["q", "a2"]);
    expect(way(tree, { a1: "q2" })).toEqual(["q", "a1", "q2", "b"]);
    expect(way(tree, { q: "gone" })).toEqual(["q", "a1", "q2x"]);
  });

  it("knows the siblings", () => {
    expect(pathOf(tree, {})[1]?.siblings).toEqual(["a1", "a2"]);
  });

  it("is led to a message", () => {
    expect(way(tree, leadTo(tree, { q: "a2" }, "b"))).toEqual(["q", "a1", "q2", "b"]);
    expect(leadTo(tree, {}, "nobody")).toEqual({});
  });

  it("begins where the page begins", () => {
    expect(way(treeOf(messages(["m5", "m4"], ["m6", "m5"])))).toEqual(["m5", "m6"]);
    expect(way(treeOf(messages()))).toEqual([]);
  });
});
