// One minified file, for pages without a bundler.
import { build } from "rolldown";

await build({ input: "src/index.ts", output: { file: "dist/fanfold.min.js", format: "esm", minify: true, sourcemap: true } });
