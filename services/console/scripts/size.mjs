// What a reader's browser loads before the page works, compressed: prints it, and fails above the limit.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const KB = 1024;
const LIMIT_KB = 250;

const folder = process.argv[2] ?? new URL("../../fanfold/assets/console", import.meta.url).pathname;
const page = readFileSync(join(folder, "index.html"), "utf8");
const named = [...page.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((match) => match[1] ?? "");
const files = ["index.html", ...named];
let total = 0;
for (const name of files) {
  const bytes = gzipSync(readFileSync(join(folder, name)), { level: 9 }).length;
  total += bytes;
  process.stdout.write(`${(bytes / KB).toFixed(1).padStart(8)} KB  ${name}\n`);
}
process.stdout.write(`${(total / KB).toFixed(1).padStart(8)} KB  first load, of ${LIMIT_KB}\n`);
process.exitCode = total > LIMIT_KB * KB ? 1 : 0;
