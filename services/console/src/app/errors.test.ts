import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { ERRORS, LOCAL } from "./errors";

it("has words for every error of the protocol, and for no other", () => {
  const page = readFileSync(new URL("../../../../docs/errors.md", import.meta.url), "utf8");
  const table = page.slice(page.indexOf("## The table"));
  const names = [...table.matchAll(/^\| `(\w+)` \|/gm)].map((row) => row[1]);
  expect(names.length).toBeGreaterThan(30);
  expect(Object.keys(LOCAL).filter((name) => names.includes(name))).toEqual([]);
  expect(Object.keys(ERRORS).sort()).toEqual(names.sort());
});
