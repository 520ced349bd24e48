import { defineConfig } from "@playwright/test";
import { chromium } from "./support/chromium";

// Each test has a node and a browser context of its own; nothing is tried twice to get it green.
export default defineConfig({
  testDir: ".",
  testIgnore: "screenshots.spec.ts",
  outputDir: "out/tests",
  fullyParallel: true,
  workers: Number(process.env.FANFOLD_E2E_WORKERS ?? 2),
  retries: 0,
  timeout: 300_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  use: {
    launchOptions: { executablePath: chromium(), args: ["--no-sandbox", "--disable-dev-shm-usage"] },
    trace: "retain-on-failure",
    viewport: { width: 1200, height: 800 },
  },
});
