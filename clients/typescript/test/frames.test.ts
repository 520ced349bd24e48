/** What the client makes of frames that a real node sends rarely or never: told by a socket that follows a script. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Backoff } from "../src/backoff.js";
import { VERSION } from "../src/client.js";
import { Fanfold, FanfoldError, textOf } from "../src/index.js";
import type { FanfoldOptions, SessionList, WatchOptions, WebSocketClass } from "../src/index.js";
import { retryOf } from "../src/error.js";
import { memoryStorage, subscriptions, until, waiting } from "./support/until.js";

type Frame = Record<string, Record<string, unknown>>;

const file = (path: string) => readFileSync(new URL(`../../../../${path}`, import.meta.url), "utf8");

/** Sockets that say what a test tells them to say. */
class Script {
  /** What was sent over each connection. */
  readonly sent: Frame[][] = [];
  private sockets: { onmessage?: (event: { data: string }) => void; onclose?: (event: object) => void }[] = [];

  readonly WebSocket = (() => {
    const script = this;
    return class {
      readyState = 1;
      onopen = () => {};
      readonly number = script.sent.push([]) - 1;
      constructor() {
        script.sockets.push(this as never);
        queueMicrotask(() => this.onopen());
      }
      send(text: string): void {
        script.sent[this.number]!.push(JSON.parse(text) as Frame);
        script.heard();
      }
      close(): void {
        this.readyState = 3;
      }
    };
  })() as unknown as WebSocketClass;

  private heard = () => {};

  /** Tells when something was sent. */
  readonly listen = (listener: () => void) => {
    this.heard = listener;
    return () => {};
  };

  say(...frames: Frame[]): void {
    for (const frame of frames) this.sockets.at(-1)!.onmessage!({ data: JSON.stringify(frame) });
  }

  close(code: number, reason = ""): void {
    this.sockets.at(-1)!.onclose!({ code, reason });
  }

  /** Waits until something of this kind was sent over the newest connection. */
  sends(kind: string, count = 1): Promise<Frame> {
    const found = () => (this.sent.at(-1) ?? []).filter((frame) => kind in frame)[count - 1];
    return waiting(`${count} ${kind}`, found, this.listen);
  }
}

const welcome = { welcome: { node: "n", ping_interval_ms: 60_000 } };
const subscribed = (how: string, cursor: string, offset: string, head = offset) => ({
  subscribed: { session: "s", how: `HOW_${how}`, cursor, offset, head, reset_reason: "RESET_REASON_UNSPECIFIED" },
});
const snapshot = (cursor: string, offset: string, text: string) => ({
  snapshot: { session: "s", cursor, offset, view: { messages: [{ id: "m", parts: [{ text: { text } }] }] }, older_messages: 0 },
});
const delta = (after: string, cursor: string, offset: string, ...ops: unknown[]) => ({
  delta: { session: "s", after, cursor, offset, ops },
});
const append = (at: number, text: string) => ({ part_appended: { message: "m", part: 0, at, text } });

function scripted(context: TestContext, options: FanfoldOptions = {}) {
  const script = new Script();
  const fanfold = new Fanfold({
    url: "http://node.example",
    transports: ["websocket"],
    WebSocket: script.WebSocket,
    backoffFirstMs: 1,
    backoffLongestMs: 5,
    ...options,
  });
  context.after(() => fanfold.close());
  return { script, fanfold };
}

/** A session that is live, with one message that says `a`. */
async function following(context: TestContext, options: FanfoldOptions = {}) {
  const { script, fanfold } = scripted(context, options);
  const session = fanfold.follow("s");
  await script.sends("hello");
  script.say(welcome);
  assert.deepEqual(await script.sends("subscribe"), { subscribe: { session: "s", window: 100 } });
  script.say(subscribed("FRESH", "c1", "1"), snapshot("c1", "1", "a"));
  assert.equal(session.phase, "live");
  const text = () => textOf(session.state.messages.at(0)!);
  return { script, fanfold, session, text };
}

/** Puts these in the place of the global ones, or where there are none. */
function stub(context: TestContext, stubs: object): void {
  for (const [name, value] of Object.entries(stubs)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true });
    context.after(() => (before ? Object.defineProperty(globalThis, name, before) : Reflect.deleteProperty(globalThis, name)));
  }
}

/** Looks again and again at what tells nobody that it has changed. */
const soon = (look: () => void) => {
  const timer = setInterval(look, 5);
  return () => clearInterval(timer);
};

test("the transcript of the protocol leads where it says", async (context) => {
  const block = (name: string) => new RegExp(`\n\`\`\`${name}\n([^]*?)\n\`\`\``).exec(file("docs/protocol.md"))![1]!;
  const { script, fanfold } = scripted(context);
  const session = fanfold.follow("demo");
  const seen = subscriptions(session);
  await script.sends("hello");
  for (const line of block("transcript").split("\n")) {
    if (line.startsWith("# The connection is cut")) {
      script.close(1006);
      await waiting("another connection", () => script.sent.length === 2 && script.sent[1]!.length > 0, script.listen);
    } else if (line.startsWith("< ")) {
      script.say(JSON.parse(line.slice(2)) as Frame);
    }
  }
  const last = session.state.messages.at(-1)!;
  assert.equal(last.parts.map((part) => ("text" in part ? part.text : "")).join(""), block("final"));
  assert.deepEqual(
    seen.map(({ how }) => how),
    ["fresh", "resumed"],
  );
  assert.deepEqual(session.snapshot.closed, { code: "closed", reason: "done" });
});

test("a delta that doesn't follow on, or doesn't fit, is answered by beginning anew", async (context) => {
  const misfits = [
    delta("c0", "c2", "2", append(1, "b")),
    delta("c1", "c2", "2", append(2, "b")),
    delta("c1", "c2", "2", { later: {} }),
    delta("c1", "c2", "2", { message_added: { id: "m" } }),
  ];
  for (const misfit of misfits) {
    const { script, session, text } = await following(context);
    script.say(misfit, delta("c2", "c3", "3", append(1, "never")));
    assert.equal(text(), "a");
    assert.notEqual(session.phase, "live");
    assert.deepEqual(await script.sends("subscribe", 2), { subscribe: { session: "s", window: 100 } });
    // What was on its way belongs to the subscription before.
    script.say(delta("c1", "c9", "9", append(1, "old")), subscribed("FRESH", "c5", "5"), snapshot("c5", "5", "abc"));
    assert.deepEqual([text(), session.phase, session.cursor], ["abc", "live", "c5"]);
  }
});

test("a ping that knows of more than came is answered by going on from the cursor", async (context) => {
  const { script, session, text } = await following(context);
  script.say({ ping: { positions: [{ session: "s", cursor: "c1", head: "4" }] } });
  assert.equal(session.snapshot.head, "4");
  script.say({ ping: { positions: [{ session: "s", cursor: "c2", head: "4" }] } });
  assert.deepEqual(await script.sends("subscribe", 2), { subscribe: { session: "s", window: 100, cursor: "c1" } });
  script.say(subscribed("RESUMED", "c1", "1", "2"), delta("c1", "c2", "2", append(1, "b")));
  assert.deepEqual([text(), session.phase], ["ab", "live"]);
});

test("a snapshot may come at any time, and what isn't known is passed over", async (context) => {
  const { script, session, text } = await following(context);
  script.say({ oracle: { session: "s" } }, snapshot("c7", "7", "abcdefg"), { caught_up: { session: "s", cursor: "c7" } });
  script.say(delta("c7", "c8", "8"));
  assert.deepEqual([text(), session.phase, session.cursor], ["abcdefg", "live", "c8"]);
});

test("an error of a session ends its subscription, for a while or for good", async (context) => {
  const { script, session } = await following(context);
  script.say({ error: { code: "unavailable", session: "s", command: "", retry_after_ms: 0, outcome: "not_applied" } });
  assert.equal(session.phase, "catching_up");
  assert.deepEqual(await script.sends("subscribe", 2), { subscribe: { session: "s", window: 100, cursor: "c1" } });
  script.say({ error: { code: "permission_denied", message: "No.", session: "s", command: "", outcome: "not_applied" } });
  assert.deepEqual([session.phase, session.snapshot.error?.code], ["failed", "permission_denied"]);
  await assert.rejects(async () => {
    for await (const _ of session);
  }, FanfoldError);
});

test("close codes say whether to come back", async (context) => {
  for (const [code, name, stopped] of [
    [1006, "network", false],
    [4408, "slow_consumer", false],
    [4503, "permission_denied", true],
    [4999, "close_4999", true],
  ] as const) {
    const { script, fanfold, session } = await following(context);
    script.close(code, code < 4000 || code === 4999 ? "" : name);
    assert.equal(fanfold.connection.error?.code, name);
    assert.deepEqual([fanfold.connection.phase === "stopped", session.phase], [stopped, stopped ? "failed" : "lost"]);
    if (!stopped) continue;
    fanfold.reconnect();
    assert.equal(session.phase, "lost");
    await script.sends("hello");
    script.say(welcome);
    assert.deepEqual(await script.sends("subscribe"), { subscribe: { session: "s", window: 100, cursor: "c1" } });
  }
});

test("a node that goes away names the least time to stay away", async (context) => {
  const { script, fanfold, session } = await following(context);
  script.say({ draining: { reconnect_after_ms: 60_000 } });
  const { phase, error, retryAtMs } = fanfold.connection;
  assert.deepEqual([phase, error?.code, session.phase], ["waiting", "draining", "lost"]);
  assert.ok(retryAtMs! > Date.now() + 59_000, "the jitter comes on top");
});

test("a command that failed for now is sent again with its id, one that was refused isn't", async (context) => {
  const { script, session } = await following(context);
  const sent = session.send("x", { id: "mine" });
  assert.equal((await script.sends("command"))["command"]!["id"], "mine");
  script.say({ error: { code: "busy", session: "s", command: "mine", retry_after_ms: 1, outcome: "not_applied" } });
  assert.equal((await script.sends("command", 2))["command"]!["id"], "mine");
  script.say({ receipt: { command: "mine", session: "s", verdict: "VERDICT_REPEATED", refusal: "", cursor: "c2", offset: "2" } });
  assert.equal((await sent).repeated, true);
  const refused = session.steer("r", "x", { id: "no" });
  await script.sends("command", 3);
  script.say({ receipt: { command: "no", session: "s", verdict: "VERDICT_REFUSED", refusal: "run_not_started" } });
  await assert.rejects(refused, (error: FanfoldError) => error.code === "run_not_started" && error.retry === "later");
});

test("listeners that throw keep nobody from going on", async (context) => {
  const { script, session, text } = await following(context);
  const reported = context.mock.method(console, "error", () => {});
  session.subscribe(() => {
    throw new Error("the listener's own");
  });
  let told = 0;
  session.subscribe(() => void (told += 1));
  script.say(delta("c1", "c2", "2", append(1, "b")));
  assert.deepEqual([text(), told, reported.mock.callCount()], ["ab", 1, 1]);
});

test("the same object as long as nothing changes", async (context) => {
  const { script, fanfold, session } = await following(context);
  const { snapshot: before } = session;
  const { connection } = fanfold;
  script.say({ ping: { positions: [{ session: "s", cursor: "c1", head: "1" }] } }, { caught_up: { session: "s", cursor: "c1" } });
  assert.equal(session.snapshot, before);
  assert.equal(fanfold.connection, connection);
});

test("a node that has lost its log says so until it has it again", async (context) => {
  const { script, fanfold, session } = await following(context);
  const ping = (log_away: boolean) => script.say({ ping: { positions: [], log_away } });
  ping(true);
  const { connection } = fanfold;
  assert.deepEqual([connection.phase, connection.logAway, session.phase], ["open", true, "live"]);
  ping(true);
  assert.equal(fanfold.connection, connection);
  ping(false);
  assert.equal(fanfold.connection.logAway, false);
  ping(true);
  script.close(1006);
  assert.equal(fanfold.connection.logAway, undefined, "another node may have it");
});

test("a storage that is slow, full or spoilt does no harm", async (context) => {
  const memory = memoryStorage();
  const slow = {
    getItem: async (key: string) => memory.getItem(key),
    setItem: async (key: string, value: string) => memory.setItem(key, value),
    removeItem: async (key: string) => memory.removeItem(key),
  };
  const first = await following(context, { storage: slow });
  first.fanfold.close();
  const { script, fanfold } = scripted(context, { storage: slow });
  const session = fanfold.follow("s");
  assert.equal(session.phase, "connecting");
  await script.sends("hello");
  script.say(welcome);
  assert.deepEqual(await script.sends("subscribe"), { subscribe: { session: "s", window: 100, cursor: "c1" } });
  assert.equal(textOf(session.state.messages.at(0)!), "a");
  await fanfold.forget();
  assert.deepEqual([...memory.map.keys()], []);

  const full = {
    ...memory,
    setItem: () => {
      throw new Error("quota");
    },
  };
  (await following(context, { storage: full })).fanfold.close();
  for (const spoilt of ["{", '{"format":0}', '{"format":1}', "7"]) {
    const storage = memoryStorage();
    storage.setItem("fanfold:http://node.example/s", spoilt);
    await following(context, { storage });
  }
});

test("no more sessions are kept than there is room for", async (context) => {
  const storage = memoryStorage();
  const { script, fanfold } = scripted(context, { storage });
  for (let at = 0; at < 25; at++) {
    const session = fanfold.follow(`s${at}`);
    if (!at) {
      await script.sends("hello");
      script.say(welcome);
    }
    await script.sends("subscribe", at + 1);
    const [subscribed_, snapshot_] = [subscribed("FRESH", "c1", "1"), snapshot("c1", "1", "a")];
    subscribed_.subscribed.session = snapshot_.snapshot.session = `s${at}`;
    script.say(subscribed_, snapshot_);
    session.leave();
    await until(session, ({ closed }) => closed !== undefined);
  }
  await waiting(
    "the oldest are gone",
    () => storage.map.size === 21 && !storage.map.has("fanfold:http://node.example/s4"),
    soon,
  );
});

test("the newest states are kept where a storage is full", async (context) => {
  const storage = memoryStorage();
  const full = {
    ...storage,
    setItem(key: string, value: string) {
      if (storage.map.size >= 4 && !storage.map.has(key)) throw new Error("quota");
      storage.setItem(key, value);
    },
  };
  const { script, fanfold } = scripted(context, { storage: full });
  const kept = () => [...storage.map.keys()].flatMap((key) => key.split("/s")[1] ?? []).join();
  for (let at = 0; at < 6; at++) {
    const session = fanfold.follow(`s${at}`);
    if (!at) {
      await script.sends("hello");
      script.say(welcome);
    }
    await script.sends("subscribe", at + 1);
    const [subscribed_, snapshot_] = [subscribed("FRESH", "c1", "1"), snapshot("c1", "1", "a")];
    subscribed_.subscribed.session = snapshot_.snapshot.session = `s${at}`;
    script.say(subscribed_, snapshot_);
    session.leave();
    await until(session, ({ closed }) => closed !== undefined);
    await waiting("it is kept", () => storage.map.has(`fanfold:http://node.example/s${at}`), soon);
  }
  assert.equal(kept(), "3,4,5");
  await waiting("and listed", () => storage.map.get("fanfold:http://node.example") === '["s3","s4","s5"]', soon);
});

test("a command that the node wouldn't take is refused here, and ends no connection", async (context) => {
  const { script, fanfold } = scripted(context);
  const session = fanfold.follow("s");
  await script.sends("hello");
  script.say({ welcome: { ...welcome.welcome, limits: { request_bytes_max: 1000 } } });
  await assert.rejects(session.send("ü".repeat(500), { id: "long" }), (error: FanfoldError) => {
    assert.deepEqual([error.code, error.command, error.outcome], ["too_large", "long", "not_applied"]);
    return true;
  });
  void session.send("ü".repeat(300), { id: "short" }).catch(() => {});
  assert.equal((await script.sends("command"))["command"]!["id"], "short");
  assert.equal(fanfold.connection.phase, "open");
});

test("waits are spread over all of a bound that grows, and begin anew after progress only", (context) => {
  for (const random of [0, 0.5, 1 - Number.EPSILON]) {
    context.mock.method(Math, "random", () => random);
    const backoff = new Backoff(500, 30_000);
    for (const boundMs of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      assert.equal(backoff.next(100), 100 + random * boundMs);
    }
    assert.equal(backoff.failures, 8);
    backoff.reset();
    assert.equal(backoff.next(), random * 500);
  }
});

/** Signs of a browser, which come when the test says so. Timers that go on by themselves stand still, as while a machine sleeps. */
function asleep(context: TestContext): { sign(type: string): void; sleep(ms: number): void } {
  const heard: [string, (event: Event) => void][] = [];
  const signs = {
    addEventListener: (name: string, listener: (event: Event) => void) => void heard.push([name, listener]),
    removeEventListener: () => {},
  };
  stub(context, { ...signs, document: { ...signs, visibilityState: "visible" } });
  const now = Date.now;
  let sleptMs = 0;
  context.mock.method(Date, "now", () => now() + sleptMs);
  context.mock.method(globalThis, "setInterval", () => undefined as never);
  return {
    sign: (type) => {
      for (const [name, listener] of heard) if (name === type) listener({ type } as Event);
    },
    sleep: (ms) => void (sleptMs += ms),
  };
}

for (const sign of ["pageshow", "focus", "visibilitychange", "resume"]) {
  test(`a machine that wakes by ${sign} sees that its connection is dead`, async (context) => {
    const { sign: tell, sleep } = asleep(context);
    const { fanfold } = await following(context);
    tell(sign);
    assert.equal(fanfold.connection.phase, "open");
    sleep(3_600_000);
    assert.equal(fanfold.connection.phase, "open");
    tell(sign);
    assert.equal(fanfold.connection.phase, "waiting");
  });

  test(`a machine that wakes by ${sign} comes back at once when that was due`, async (context) => {
    const { sign: tell, sleep } = asleep(context);
    context.mock.method(Math, "random", () => 0.9);
    const { script, fanfold } = await following(context, { backoffFirstMs: 3_600_000, backoffLongestMs: 3_600_000 });
    script.close(1006);
    tell(sign);
    assert.equal(fanfold.connection.phase, "waiting");
    sleep(3_600_000);
    assert.equal(script.sent.length, 1);
    tell(sign);
    await waiting("another connection", () => script.sent.length === 2, script.listen);
  });
}

test("a node that takes connections and drops them is left in peace", async (context) => {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const fanfold = new Fanfold({
    url: `http://127.0.0.1:${port}`,
    backoffFirstMs: 64,
    backoffLongestMs: 100_000,
    connectTimeoutMs: 500,
  });
  context.after(() => {
    fanfold.close();
    server.close();
  });
  const session = fanfold.follow("s");
  await waiting("three failures", () => fanfold.connection.failures >= 3, fanfold.subscribe);
  assert.equal(session.phase, "connecting");
  assert.equal(fanfold.connection.phase, "waiting");
  // Each try asks over both transports, as WebSocket has never worked.
  assert.ok(connections <= 2 * fanfold.connection.failures, `${connections}`);
  assert.ok(fanfold.connection.retryAtMs! <= Date.now() + 64 * 2 ** (fanfold.connection.failures - 1));
});

test("without a network a connection is given up soon, also where something was still on its way", async (context) => {
  const signs = new Map<string, (event: Event) => void>();
  const stubs = {
    navigator: { onLine: false },
    addEventListener: (name: string, listener: (event: Event) => void) => void signs.set(name, listener),
    removeEventListener: () => {},
  };
  stub(context, stubs);
  const { script, fanfold, session, text } = await following(context);
  signs.get("offline")!({ type: "offline" } as Event);
  setTimeout(() => script.say(delta("c1", "c2", "2", append(1, "b"))), 100);
  await waiting("the loss", () => fanfold.connection.phase === "offline", fanfold.subscribe);
  assert.deepEqual([text(), session.phase], ["ab", "lost"]);
});

test("a connection that was opened is no progress, something new is", async (context) => {
  const { script, fanfold, session } = await following(context);
  for (let failures = 1; failures <= 4; failures++) {
    script.close(1006);
    assert.equal(fanfold.connection.failures, failures);
    await waiting("the next connection", () => script.sent.length === failures + 1, script.listen);
    await script.sends("hello");
    script.say(welcome);
    await script.sends("subscribe");
    script.say(subscribed("RESUMED", "c1", "1"), { caught_up: { session: "s", cursor: "c1" } });
    if (failures % 2) script.say(snapshot("c1", "1", "a"));
    assert.equal(session.phase, "live");
    assert.equal(fanfold.connection.failures, failures);
  }
  script.say(delta("c1", "c2", "2"));
  assert.equal(fanfold.connection.failures, 0);
});

test("what to do about an error is what docs/errors.md says", () => {
  const rows = file("docs/errors.md").matchAll(/^\| `(\w+)` \|.*\| (no|later|with_token|resume) \| (not_applied|unknown) \|$/gm);
  let count = 0;
  for (const [, name, retry, outcome] of rows) {
    count += 1;
    assert.equal(retryOf(name!), retry, name);
    assert.equal(new FanfoldError({ code: name! }).outcome, outcome, name);
  }
  assert.ok(count > 30);
});

test("the version is the package's", () => {
  assert.equal((JSON.parse(file("clients/typescript/package.json")) as { version: string }).version, VERSION);
});

const row = (session: string, offset: string, at: number, status = "open") => ({
  session,
  status,
  offset,
  opened_at_ms: "1",
  active_at_ms: String(at),
});
const listed = (rows: object[], reset: boolean, next?: string) => ({ listed: { rows, reset, ...(next && { next_page: next }) } });
const listError = (code: string) => ({ error: { code, retry_after_ms: 0, outcome: "not_applied", list: true } });
const shown = (list: SessionList) => list.snapshot.rows.map(({ session, offset }) => `${session}${offset}`).join();

/** A list that was asked for. */
async function watching(context: TestContext, options: WatchOptions = {}) {
  const { script, fanfold } = scripted(context, { storage: null });
  const list = fanfold.watch(options);
  await script.sends("hello");
  script.say(welcome);
  assert.deepEqual(await script.sends("watch"), { watch: options });
  return { script, fanfold, list };
}

test("a list that is watched keeps what is newer, and begins anew where it is told to", async (context) => {
  const { script, fanfold, list } = await watching(context, { user: "ann", limit: 2 });
  assert.equal(list.snapshot.phase, "connecting");
  script.say(listed([row("b", "9", 5), row("a", "10", 5)], true, "5.a"));
  assert.equal(shown(list), "b9,a10", "of two at one time the higher id is first");
  assert.equal(list.snapshot.nextPage, "5.a");
  script.say(listed([row("a", "9", 9), row("c", "11", 9)], false));
  assert.equal(shown(list), "c11,b9,a10", "an older row changes nothing");
  assert.equal(list.snapshot.nextPage, "5.a");
  script.say(listed([row("b", "12", 12, "erased")], false));
  assert.equal(shown(list), "c11,a10");
  assert.equal(list.get("b")?.status, "erased");
  script.say(listed([row("b", "9", 5)], false));
  assert.equal(shown(list), "c11,a10", "it doesn't come back by what another node was late to tell");
  const kept = list.snapshot.rows[1];
  script.say(listed([row("a", "10", 5)], true));
  assert.equal(list.snapshot.rows[0], kept);
  assert.equal(shown(list), "a10");
  assert.equal(list.snapshot.nextPage, undefined);
  script.say(listed(Array.from({ length: 1001 }, (_, at) => row(`s${at}`, "20", 20)), false));
  await script.sends("watch", 2);
  script.say(listError("permission_denied"));
  assert.deepEqual([list.snapshot.phase, list.snapshot.error?.code], ["failed", "permission_denied"]);
  assert.equal(fanfold.connection.phase, "open");
  await waiting("nothing needs the connection", () => fanfold.connection.phase === "idle", fanfold.subscribe);
});

test("a list that can't be told for a while is asked for again", async (context) => {
  const { script, list } = await watching(context);
  script.say(listError("unavailable"));
  assert.deepEqual([list.snapshot.phase, list.snapshot.error], ["connecting", undefined], "nothing is known yet");
  await script.sends("watch", 2);
  script.say(listed([row("a", "1", 1)], true));
  assert.deepEqual([list.snapshot.phase, shown(list)], ["live", "a1"]);
  script.say(listError("busy"));
  assert.deepEqual([list.snapshot.phase, list.snapshot.error, shown(list)], ["lost", undefined, "a1"]);
  await script.sends("watch", 3);
  script.say(listed([row("b", "2", 2)], false));
  assert.equal(shown(list), "a1", "it has not begun anew yet");
  script.close(1006);
  await waiting("the next connection", () => script.sent.length === 2, script.listen);
  await script.sends("hello");
  script.say(welcome);
  await script.sends("watch");
  script.say(listed([row("b", "2", 2)], true));
  assert.deepEqual([list.snapshot.phase, shown(list)], ["live", "b2"]);
});

test("a list holds as many rows as it was told to, also after it has begun anew", async (context) => {
  const { script, list } = await watching(context, { limit: 2 });
  script.say(listed([row("d", "4", 4), row("c", "3", 3)], true, "3.c"));
  list.loadMore(2);
  assert.deepEqual(await script.sends("watch", 2), { watch: { limit: 4 } });
  assert.deepEqual([list.snapshot.phase, shown(list)], ["live", "d4,c3"]);
  const all = listed([row("d", "4", 4), row("c", "3", 3), row("b", "2", 2), row("a", "1", 1)], true);
  script.say(all);
  assert.deepEqual([shown(list), list.snapshot.nextPage], ["d4,c3,b2,a1", undefined]);
  script.say(listed([row("b", "5", 5, "erased")], false));
  assert.equal(shown(list), "d4,c3,a1", "what was loaded later is kept up like the others");
  script.close(1006);
  await waiting("the next connection", () => script.sent.length === 2, script.listen);
  await script.sends("hello");
  script.say(welcome);
  assert.deepEqual(await script.sends("watch"), { watch: { limit: 4 } });
});

test("a list that was left, or replaced by another, is told so and tells nothing more", async (context) => {
  const { script, fanfold, list } = await watching(context);
  script.say(listed([row("a", "1", 1)], true));
  const another = fanfold.watch({ user: "ann" });
  await script.sends("watch", 2);
  assert.deepEqual([list.snapshot.phase, list.snapshot.error?.code], ["failed", "stopped"]);
  script.say(listed([row("b", "2", 2)], false));
  assert.deepEqual([another.snapshot.phase, shown(another)], ["connecting", ""], "that belonged to the list before");
  list.leave();
  list.loadMore();
  script.say(listed([row("c", "3", 3)], true));
  assert.deepEqual([another.snapshot.phase, shown(another), shown(list)], ["live", "c3", "a1"]);
  another.leave();
  await script.sends("unwatch");
  assert.deepEqual([another.snapshot.phase, another.snapshot.error?.code], ["failed", "stopped"]);
  assert.equal(script.sent[0]!.filter((frame) => "unwatch" in frame).length, 1);
  fanfold.reconnect();
  assert.equal(another.snapshot.phase, "failed", "whoever left comes back by watching anew");
});

test("a list of which nothing is known isn't taken for an empty one", async (context) => {
  const { script, fanfold, list } = await watching(context);
  script.close(4401, "unauthenticated");
  assert.deepEqual([list.snapshot.phase, list.snapshot.error?.code], ["failed", "unauthenticated"]);
  fanfold.reconnect();
  assert.deepEqual([list.snapshot.phase, list.snapshot.error], ["connecting", undefined]);
  await script.sends("hello");
  script.close(1006);
  assert.equal(list.snapshot.phase, "connecting");
});
