// What a page loads, gzipped: the built file for pages without a bundler, and what a bundler makes of each entry, React left out.
// Fails above the limit.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "rolldown";

const LIMIT = 12 * 1024;

async function bundled(input) {
  const { output } = await build({ input, external: ["react"], write: false, output: { format: "esm", minify: true } });
  return output[0].code;
}

const files = {
  "dist/fanfold.min.js": readFileSync(new URL("../dist/fanfold.min.js", import.meta.url)),
  "src/index.ts": await bundled("src/index.ts"),
  "src/react.ts": await bundled("src/react.ts"),
};
for (const [name, code] of Object.entries(files)) {
  const bytes = gzipSync(code, { level: 9 }).length;
  const ok = bytes <= LIMIT;
  console.log(`${name}: ${code.length} bytes minified, ${bytes} gzipped, ${ok ? "under" : "OVER"} the limit of ${LIMIT}`);
  if (!ok) process.exitCode = 1;
}
