import { defineConfig } from "@playwright/test";
import config from "./playwright.config";

// `npm run screenshots`: the main states of the console as pictures, in e2e/out/screenshots.
export default defineConfig({ ...config, testIgnore: [], testMatch: "screenshots.spec.ts", workers: 1 });
