import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Nothing inline and nothing from elsewhere: the node serves what is built here under `default-src 'self'`.
export default defineConfig({
  plugins: [react()],
  // The client library from its source, with this package's React.
  resolve: {
    alias: [
      { find: /^fanfold$/, replacement: new URL("../../clients/typescript/src/index.ts", import.meta.url).pathname },
      { find: /^fanfold\/react$/, replacement: new URL("../../clients/typescript/src/react.ts", import.meta.url).pathname },
      { find: /^react$/, replacement: new URL("node_modules/react", import.meta.url).pathname },
    ],
  },
  build: {
    // Where the node's binary takes it from.
    outDir: "../fanfold/assets/console",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
  },
  server: { proxy: { "/v1": { target: process.env.FANFOLD_URL ?? "http://127.0.0.1:8080", ws: true } } },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
