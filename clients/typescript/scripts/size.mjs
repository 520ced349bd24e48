// What a page loads: bundled, minified and gzipped, React left out. Fails above the limit.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT = 12 * 1024;

for (const entry of ["src/index.ts", "src/react.ts"]) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["react"],
    write: false,
    legalComments: "none",
  });
  const code = outputFiles[0].contents;
  const bytes = gzipSync(code, { level: 9 }).length;
  const ok = bytes <= LIMIT;
  console.log(`${entry}: ${code.length} bytes minified, ${bytes} gzipped, ${ok ? "under" : "OVER"} the limit of ${LIMIT}`);
  if (!ok) process.exitCode = 1;
}
