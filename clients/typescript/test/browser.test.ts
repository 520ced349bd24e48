/** The client in a real browser: the examples of docs/clients.md as they stand there, and React. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "rolldown";

import { haveChromium, Page } from "./support/chromium.js";
import { Fanfold } from "../src/index.js";
import { haveNode, Node, token } from "./support/node.js";
import { Site } from "./support/site.js";

const skip = !haveNode() || !haveChromium();
const repository = new URL("../../../../", import.meta.url);
const document = readFileSync(new URL("docs/clients.md", repository), "utf8");
const examples = (kind: string) => {
  const found = document.matchAll(new RegExp(`\n\`\`\`${kind}\n([^]*?)\n\`\`\``, "g"));
  return [...found].map(([, code]) => code!);
};
const example = (kind: string) => examples(kind)[0]!;

/** A module of a page, as a bundler makes it; `fanfold` is what is built of it. */
async function bundled(contents: string, loader: "ts" | "tsx"): Promise<string> {
  const here = fileURLToPath(new URL("clients/typescript", repository));
  const page = `${here}/page.${loader}`;
  const { output } = await build({
    input: page,
    plugins: [{ name: "page", resolveId: (id) => (id === page ? id : null), load: (id) => (id === page ? contents : null) }],
    resolve: { alias: { "fanfold/react": `${here}/dist/react.js`, fanfold: `${here}/dist/index.js` } },
    transform: { define: { "process.env.NODE_ENV": '"production"' } },
    write: false,
  });
  return output[0].code;
}

async function opened(context: TestContext, pace: string, files: Record<string, string>): Promise<[Page, Site]> {
  const node = await Node.dev(context, "--model-pace", pace);
  const site = await Site.start(context, node.url, files);
  const page = await Page.open(context);
  await page.go(`${site.url}/`);
  return [page, site];
}

test(
  "the plain script works, and goes on in the middle of an answer after a reload",
  { skip, timeout: 300_000 },
  async (context) => {
    const script = readFileSync(new URL("clients/typescript/dist/fanfold.min.js", repository), "utf8");
    const html = example("html").replace("const live =", "const live = globalThis.live =");
    const [page] = await opened(context, "20", { "/": html, "/fanfold.min.js": script });
    const chat = `document.querySelector("#chat").textContent`;
    const before = await page.until<string>(`${chat}.length > 60 && ${chat}`);
    assert.match(before, /^What is a log\?/);
    await page.reload();
    await page.until(`${chat}.startsWith(${JSON.stringify(before)})`);
    // It asks once: there are one question and one answer in the end.
    await page.until(`live.phase === "live" && live.state.openRuns.length === 0`);
    assert.equal(await page.evaluate("live.state.messages.length"), 2);
    assert.deepEqual(page.said, []);
  },
);

test("the module for a bundler works, over a network that comes and goes", { skip, timeout: 300_000 }, async (context) => {
  const html = `<pre id="chat"></pre><p id="state"></p><script type="module" src="/page.js"></script>`;
  const watched = example("ts")
    .replace("const live =", "const live = globalThis.live =")
    .replace("const fanfold =", "const fanfold = globalThis.fanfold =");
  const [page, site] = await opened(context, "10", { "/": html, "/page.js": await bundled(watched, "ts") });
  await page.until(`live.state.openRuns.length > 0 && live.phase === "live"`);
  await page.evaluate(`live.subscribe((event) => event.kind === "subscribed" && (globalThis.how = event.how))`);
  site.reachable = false;
  site.cut();
  await page.until(`document.querySelector("#state").textContent === "lost"`);
  // The browser says so, and says when it is over.
  await page.ask("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await page.until(`fanfold.connection.phase === "offline"`);
  site.reachable = true;
  await page.ask("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: -1,
  });
  await page.until(`live.phase === "live" && live.state.openRuns.length === 0`);
  assert.equal(await page.evaluate("how"), "resumed");
  await page.reload();
  await page.until(`globalThis.live?.phase === "live"`);
  assert.equal(await page.evaluate("live.state.messages.length"), 2);
  const same = `fanfold.state(live.id).then(({ state }) => JSON.stringify(state.messages.slice()) === JSON.stringify(live.state.messages.slice()))`;
  assert.equal(await page.evaluate(same), true);
  assert.deepEqual(page.said, []);
});

test("a page of another origin uses the node, and gets nothing where it isn't listed", { skip, timeout: 300_000 }, async (context) => {
  const script = readFileSync(new URL("clients/typescript/dist/fanfold.min.js", repository), "utf8");
  const nowhere = "http://127.0.0.1:9";
  const [listed, other] = [await Site.start(context, nowhere, {}), await Site.start(context, nowhere, {})];
  const node = await Node.serve(context, [listed.url]);
  const ann = token({ sub: "ann", exp: 4_000_000_000 });
  const overSse = { url: node.url, token: ann, transports: ["sse"], storage: null };
  const html = examples("html")
    .find((one) => one.includes("https://node.example"))!
    .replace("https://node.example", node.url)
    .replace("const fanfold =", "const fanfold = globalThis.fanfold =")
    .replace("const live =", "const live = globalThis.live =");
  for (const site of [listed, other]) {
    for (const [path, file] of Object.entries({ "/": html, "/fanfold.min.js": script, "/my/token": ann })) site.put(path, file);
  }
  const page = await Page.open(context);
  await page.go(`${listed.url}/`);
  await page.until(`globalThis.live?.state.messages.length === 2 && live.state.openRuns.length === 0`);
  assert.match(await page.evaluate(`document.querySelector("#chat").textContent`), /^What is a log\?\n\n./);
  assert.equal(await page.evaluate("fanfold.connection.transport"), "websocket");
  // The same without WebSocket: requests that browsers ask for leave to send.
  await page.evaluate(`import("/fanfold.min.js").then(({ Fanfold }) => {
    globalThis.second = new Fanfold(${JSON.stringify(overSse)});
    globalThis.read = second.follow(live.id);
  })`);
  await page.until(`read.phase === "live" && read.state.messages.length === 2`);
  await page.evaluate(`second.command(live.id, { set_title: { title: "From elsewhere" } })`);
  await page.until(`live.state.session.title === "From elsewhere" && read.state.session.title === "From elsewhere"`);
  assert.deepEqual(page.said, []);

  const session = await page.evaluate<string>("live.id");
  const stranger = await Page.open(context);
  await stranger.go(`${other.url}/#${session}`);
  // Over both transports, as the first was refused.
  await stranger.until(`globalThis.fanfold?.connection.failures >= 2`);
  const seen = await stranger.evaluate("[live.phase, live.state.messages.length, fanfold.connection.error.code]");
  assert.deepEqual(seen, ["connecting", 0, "network"]);
  const tried = (what: string) => stranger.evaluate(`${what}.then(() => "done", (error) => error.code)`);
  assert.equal(await tried(`fanfold.list()`), "network");
  assert.equal(await tried(`fanfold.open({ session: "theirs" })`), "network");
  assert.equal(await tried(`fanfold.command(live.id, { set_title: { title: "Theirs" } }, { timeoutMs: 1000 })`), "timeout");
  const direct = new Fanfold({ url: node.url, token: ann });
  context.after(() => direct.close());
  assert.equal((await direct.state(session)).state.session.title, "From elsewhere");
  const { sessions } = await direct.list();
  assert.deepEqual(
    sessions.map((row) => row.session),
    [session],
  );
});

test("where WebSocket can't pass, a page reads server-sent events", { skip, timeout: 300_000 }, async (context) => {
  const html = `<pre id="chat"></pre><p id="state"></p><script type="module" src="/page.js"></script>`;
  const watched = example("ts")
    .replace("new Fanfold()", `new Fanfold({ transports: ["sse"] })`)
    .replace("const live =", "const live = globalThis.live =")
    .replace("const fanfold =", "const fanfold = globalThis.fanfold =");
  const [page] = await opened(context, "2", { "/": html, "/page.js": await bundled(watched, "ts") });
  await page.until(`live.phase === "live" && live.state.messages.length === 2 && live.state.openRuns.length === 0`);
  assert.equal(await page.evaluate("fanfold.connection.transport"), "sse");
  assert.deepEqual(page.said, []);
});

test(
  "React renders what changes, under StrictMode too, and follows as long as it is there",
  { skip, timeout: 300_000 },
  async (context) => {
    const app = `
    import { StrictMode, memo, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { useConnection, useSelected } from "fanfold/react";
    ${example("tsx")}
    globalThis.fanfold = fanfold;
    globalThis.renders = {};
    const Row = memo(function Row({ live, id }) {
      const message = useSelected(live, ({ state }) => state.messages.get(id));
      renders[id] = (renders[id] ?? 0) + 1;
      return <li>{message ? textOf(message) : ""}</li>;
    });
    function List({ id }) {
      const { live, state } = useSession(fanfold, id);
      globalThis.live = live;
      return <ol>{live && state.messages.map(({ id }) => <Row key={id} live={live} id={id} />)}</ol>;
    }
    function App({ ids }) {
      const [at, setAt] = useState(0);
      globalThis.show = setAt;
      const { phase } = useConnection(fanfold);
      return <><i>{phase}</i>{at < 2 && <><Chat id={ids[at]} /><List id={ids[at]} /></>}</>;
    }
    const ids = [await fanfold.open({ title: "a" }), await fanfold.open({ title: "b" })];
    globalThis.ids = ids;
    createRoot(document.querySelector("#app")).render(<StrictMode><App ids={ids} /></StrictMode>);`;
    const html = `<div id="app"></div><script type="module" src="/page.js"></script>`;
    const [page] = await opened(context, "2", { "/": html, "/page.js": await bundled(app, "tsx") });
    await page.until(`globalThis.live?.phase === "live"`);
    await page.evaluate(`live.send("first")`);
    await page.until(`live.state.messages.length === 2 && live.state.openRuns.length === 0`);
    const answer = await page.evaluate<string>(
      `live.state.messages.at(-1).parts.filter((part) => part.kind === "text").map((part) => part.text).join("")`,
    );
    await page.until(`document.querySelector("ol").lastChild.textContent === ${JSON.stringify(answer)}`);
    const [question, reply] = await page.evaluate<[number, number]>(`live.state.messages.map(({ id }) => renders[id])`);
    // StrictMode renders twice what it renders first.
    assert.ok(question <= 4, `the question was rendered ${question} times`);
    assert.ok(reply > question, `the answer ${reply} times`);
    await page.evaluate(`show(1)`);
    await page.until(`live.id === ids[1] && live.phase === "live" && document.querySelector("ol").children.length === 0`);
    await page.evaluate(`show(2)`);
    await page.until(`fanfold.connection.phase === "idle" && document.querySelector("i").textContent === "idle"`);
    assert.deepEqual(page.said, []);
  },
);

test("the examples are what the types allow, as a stranger's compiler sees them", () => {
  const folder = fileURLToPath(new URL("clients/typescript/build/examples/", repository));
  mkdirSync(folder, { recursive: true });
  const paths = { fanfold: ["../../dist/index.d.ts"], "fanfold/react": ["../../dist/react.d.ts"] };
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    module: "esnext",
    moduleResolution: "bundler",
    target: "es2022",
  };
  const lib = ["es2022", "dom", "dom.iterable"];
  const config = { compilerOptions: { ...compilerOptions, lib, jsx: "react-jsx", types: [], paths }, include: ["*"] };
  writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(config));
  writeFileSync(`${folder}/page.ts`, example("ts"));
  writeFileSync(`${folder}/chat.tsx`, example("tsx"));
  const compiler = fileURLToPath(new URL("clients/typescript/node_modules/.bin/tsc", repository));
  const { status, stdout } = spawnSync(compiler, ["-p", folder], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("docs/clients.md has every option, code and phase", () => {
  const options = readFileSync(new URL("clients/typescript/src/options.ts", repository), "utf8");
  const names = [...options.matchAll(/interface (?:FanfoldOptions|FollowOptions|CommandOptions) \{([^]*?)\n\}/g)].flatMap(
    ([, body]) => [...body!.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, name]) => name!),
  );
  assert.ok(names.length > 15, names.join());
  const error = readFileSync(new URL("clients/typescript/src/error.ts", repository), "utf8");
  const words = [
    /type LocalCode =([^;]*);/.exec(error),
    /type Phase =([^;]*);/.exec(options),
    /readonly phase:([^;]*);/.exec(options),
  ];
  for (const word of words) names.push(...[...word![1]!.matchAll(/"(\w+)"/g)].map(([, name]) => name!));
  for (const name of names) assert.ok(document.includes(`\`${name}\``), name);
});
