/** The client against a real node, through a network that misbehaves. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Fanfold, FanfoldError, isFinal, textOf } from "../src/index.js";
import type { FanfoldOptions, LiveSession, Message, Snapshot } from "../src/index.js";
import { haveNode, Node, token } from "./support/node.js";
import { Proxy } from "./support/proxy.js";
import { memoryStorage, subscriptions, until, waiting } from "./support/until.js";

const there = haveNode();

/** A test of this file needs a node. */
function live(name: string, run: (context: TestContext) => Promise<void>): void {
  test(name, { skip: !there, timeout: 300_000 }, run);
}

function client(context: TestContext, url: string, options: FanfoldOptions = {}): Fanfold {
  const fanfold = new Fanfold({ url, backoffFirstMs: 50, backoffLongestMs: 500, connectTimeoutMs: 10_000, ...options });
  context.after(() => fanfold.close());
  return fanfold;
}

const answered = ({ state }: Snapshot) => state.runs.length > 0 && state.openRuns.length === 0;
const answer = (live: LiveSession) => textOf(live.state.messages.at(-1) as Message);
const growing = (characters: number) => (snapshot: Snapshot) => {
  const last = snapshot.state.messages.at(-1);
  return last?.role === "assistant" && last.parts.some((part) => "text" in part && part.text.length > characters);
};

/** What a client holds is what the node says. */
async function same(fanfold: Fanfold, live: LiveSession): Promise<void> {
  const truth = await fanfold.state(live.id, { window: 10_000 });
  assert.deepEqual(live.state.messages.slice(), truth.state.messages.slice());
  assert.deepEqual(live.state.runs.slice(), truth.state.runs.slice());
  assert.deepEqual(live.state.session, truth.state.session);
}

live("a question is answered, and the session ended", async (context) => {
  const node = await Node.dev(context, "--model-pace", "1");
  const fanfold = client(context, node.url);
  const session = fanfold.follow(await fanfold.open({ title: "Züge" }));
  const states: number[] = [];
  const iterating = (async () => {
    for await (const state of session) states.push(state.messages.length);
  })();
  assert.equal((await session.ready()).session.title, "Züge");
  const receipt = await session.send("What is a log?");
  assert.equal(receipt.repeated, false);
  await until(session, answered);
  assert.ok(answer(session).length > 10);
  assert.equal(session.state.runs.at(0)?.status, "completed");
  assert.ok(isFinal(session.state.runs.at(0)!));
  assert.equal(session.state.messages.get(receipt.message)?.role, "user");
  await session.setTitle("Bahnen");
  await session.setCustom("theme", "text/plain", "dünkel");
  await until(session, ({ state }) => state.session.title === "Bahnen" && state.custom.has("theme"));
  await same(fanfold, session);
  await session.end({ reason: "genug" });
  await until(session, ({ phase }) => phase === "closed");
  assert.deepEqual(session.snapshot.closed, { code: "closed", reason: "genug" });
  await iterating;
  assert.equal(states.at(0), 0);
  assert.equal(states.at(-1), 2);
  const page = await fanfold.list();
  assert.equal(page.sessions[0]?.session, session.id);
  const { records, end } = await fanfold.events(session.id, { limit: 1000 });
  assert.ok(end && records.length > 3);
  const early = await fanfold.state(session.id, { at: records[0]!.offset });
  assert.equal(early.state.messages.length, 0);
});

live("a page that is reloaded in the middle of an answer goes on where it was", async (context) => {
  const node = await Node.dev(context, "--model-pace", "10");
  const storage = memoryStorage();
  const first = client(context, node.url, { storage });
  const before = first.follow(await first.open());
  await before.ready();
  await before.send("Tell me a story of the Zürich–Genève line.");
  await until(before, growing(20));
  const { state, offset } = before.snapshot;
  first.close();
  const second = client(context, node.url, { storage });
  const after = second.follow(before.id);
  assert.deepEqual(after.state.messages.slice(), state.messages.slice(), "shown at once, before anything was asked");
  assert.equal(after.snapshot.offset, offset);
  assert.equal(after.phase, "lost");
  const seen = subscriptions(after);
  await until(after, answered);
  assert.deepEqual(
    seen.map(({ how }) => how),
    ["resumed"],
  );
  await same(second, after);
});

live("connections that are cut again and again lose nothing", async (context) => {
  const node = await Node.dev(context, "--model-pace", "20");
  const proxy = await Proxy.start(context, node.url);
  const fanfold = client(context, proxy.url);
  const session = fanfold.follow(await fanfold.open());
  const seen = subscriptions(session);
  await session.ready();
  await session.send("Tell me something long.");
  await until(session, ({ state }) => state.messages.length === 2);
  for (let cut = 1; cut <= 5 && !answered(session.snapshot); cut++) {
    const characters = answer(session).length;
    await until(session, (snapshot) => answered(snapshot) || growing(characters)(snapshot));
    proxy.cut();
    await waiting("the loss is told", () => session.phase === "lost" || answered(session.snapshot), session.subscribe);
  }
  await until(session, answered);
  await until(session, ({ phase }) => phase === "live");
  assert.ok(seen.length >= 2 && seen.slice(1).every(({ how }) => how === "resumed"), JSON.stringify(seen));
  await same(fanfold, session);
});

live("where WebSocket can't pass, server-sent events do", async (context) => {
  const node = await Node.dev(context, "--model-pace", "5");
  const proxy = await Proxy.start(context, node.url);
  proxy.toNode = (bytes) => !bytes.toString("latin1").startsWith("GET /v1/ws");
  const fanfold = client(context, proxy.url);
  const session = fanfold.follow(await fanfold.open());
  const seen = subscriptions(session);
  await session.ready();
  assert.equal(fanfold.connection.transport, "sse");
  const receipt = await session.send("Hello over SSE");
  assert.ok(receipt.message);
  await until(session, growing(5));
  proxy.cut();
  await until(session, answered);
  assert.deepEqual(
    seen.map(({ how }) => how),
    ["fresh", "resumed"],
  );
  await same(fanfold, session);
  await assert.rejects(session.steer(receipt.run, "more"), (error: FanfoldError) => error.code === "run_ended");
  const other = fanfold.follow(await fanfold.open({ title: "other" }));
  await other.ready();
  await until(session, ({ phase }) => phase === "live");
  const missing = fanfold.follow("missing");
  await until(missing, ({ phase }) => phase === "failed");
  assert.equal(missing.snapshot.error?.code, "session_not_found");
  await other.setTitle("still read");
  await until(other, ({ state }) => state.session.title === "still read");
  await session.end();
  await until(session, ({ phase }) => phase === "closed");
  await other.setTitle("and still");
  await until(other, ({ state }) => state.session.title === "and still");
});

live("a command whose receipt was lost is sent again and acts once", async (context) => {
  for (const transports of [["websocket"], ["sse"]] as const) {
    const node = await Node.dev(context, "--worker-slots", "0");
    const proxy = await Proxy.start(context, node.url);
    const fanfold = client(context, proxy.url, { transports });
    const session = fanfold.follow(await fanfold.open());
    await session.ready();
    let lost = 0;
    proxy.fromNode = (bytes) => lost > 1 || !bytes.includes("VERDICT_APPLIED") || ((lost += 1), false);
    const [receipt, second] = await Promise.all([session.send("once"), session.send("twice", { id: "mine" })]);
    assert.equal(lost, 2, "receipts were lost");
    assert.ok(receipt.repeated && second.repeated);
    await until(session, ({ state }) => state.messages.has(receipt.message) && state.messages.has(second.message));
    const users = session.state.messages.slice().filter(({ role }) => role === "user");
    assert.deepEqual(users.map(textOf), ["once", "twice"], transports[0]);
    const again = await session.send("twice", { id: "mine" });
    assert.deepEqual([again.repeated, again.message], [true, second.message]);
    await same(fanfold, session);
  }
});

live("commands wait for a connection, in their order, and not without end", async (context) => {
  const node = await Node.dev(context, "--worker-slots", "0");
  const proxy = await Proxy.start(context, node.url);
  const fanfold = client(context, proxy.url, { commandsMax: 3 });
  const session = fanfold.follow(await fanfold.open());
  await session.ready();
  proxy.refusing = true;
  proxy.cut();
  await until(session, ({ phase }) => phase === "lost");
  const stop = new AbortController();
  const sent = [session.send("one"), session.send("two"), session.send("three", { signal: stop.signal })];
  await assert.rejects(
    session.send("four"),
    (error: FanfoldError) => error.code === "queue_full" && error.outcome === "not_applied",
  );
  stop.abort();
  await assert.rejects(sent.pop()!, (error: FanfoldError) => error.code === "aborted" && error.outcome === "not_applied");
  await assert.rejects(session.send("five", { timeoutMs: 50 }), (error: FanfoldError) => error.code === "timeout");
  proxy.refusing = false;
  await Promise.all(sent);
  await until(session, ({ state }) => state.messages.length === 4);
  const users = session.state.messages.slice().filter(({ role }) => role === "user");
  assert.deepEqual(users.map(textOf), ["one", "two"]);
});

live("a node that drains says when to come back", async (context) => {
  const node = await Node.dev(context, "--model-pace", "20");
  const fanfold = client(context, node.url);
  const session = fanfold.follow(await fanfold.open());
  const seen = subscriptions(session);
  await session.ready();
  await session.send("Will this survive?");
  await until(session, growing(5));
  const told = waiting(
    "draining is told",
    () => fanfold.connection.error?.code === "draining" && fanfold.connection,
    fanfold.subscribe,
  );
  const beganMs = Date.now();
  const ended = node.end("SIGTERM");
  const { error, retryAtMs } = await told;
  assert.ok(retryAtMs && error && retryAtMs >= beganMs + error.retryAfterMs, "not before it was asked to");
  await ended;
  await node.restart();
  await until(session, ({ phase }) => phase === "live");
  assert.ok(seen.length >= 2);
  await session.send("Still there?");
  // A state that grows on would be compared with a later one.
  await session.cancel();
  await until(session, answered);
  await same(fanfold, session);
});

live("a node that was killed comes back with everything", async (context) => {
  const node = await Node.dev(context, "--model-pace", "20");
  const fanfold = client(context, node.url);
  const session = fanfold.follow(await fanfold.open());
  await session.ready();
  await session.send("Will this survive?");
  await until(session, growing(5));
  await node.end("SIGKILL");
  await until(session, ({ phase }) => phase === "lost");
  await node.restart();
  await until(session, ({ phase }) => phase === "live");
  await session.setTitle("Yes");
  await until(session, ({ state }) => state.session.title === "Yes");
});

live("two sessions share one connection", async (context) => {
  const node = await Node.dev(context, "--model-pace", "1");
  const proxy = await Proxy.start(context, node.url);
  const fanfold = client(context, proxy.url);
  const direct = client(context, node.url);
  const sessions = [await direct.open(), await direct.open()].map((id) => fanfold.follow(id));
  const [one, other] = sessions as [LiveSession, LiveSession];
  assert.equal(fanfold.follow(one.id), one);
  await Promise.all(sessions.map((session) => session.ready()));
  await Promise.all(sessions.map((session) => session.send(`Hello ${session.id}`)));
  await Promise.all(sessions.map((session) => until(session, answered)));
  for (const session of sessions) await same(direct, session);
  one.leave();
  assert.equal(one.snapshot.closed, undefined, "followed twice, left once");
  one.leave();
  await until(one, ({ closed }) => closed?.code === "left");
  await other.setTitle("goes on");
  await until(other, ({ state }) => state.session.title === "goes on");
  await one.ready();
  const anew = fanfold.follow(one.id);
  assert.notEqual(anew, one);
  await until(anew, ({ phase }) => phase === "live");
  assert.equal(proxy.connections, 1);
});

live("what is over for good is not asked for again", async (context) => {
  const node = await Node.dev(context);
  const proxy = await Proxy.start(context, node.url);
  const fanfold = client(context, proxy.url, { storage: memoryStorage() });
  const ids = [await fanfold.open(), await fanfold.open()];
  const [closed, erased] = ids.map((id) => fanfold.follow(id)) as [LiveSession, LiveSession];
  await Promise.all([closed.ready(), erased.ready()]);
  await erased.send("secret", { answer: false });
  await Promise.all([closed.end(), erased.erase()]);
  await until(closed, ({ phase }) => phase === "closed");
  await until(erased, ({ phase }) => phase === "closed");
  assert.equal(erased.snapshot.closed?.code, "erased");
  assert.equal(erased.state.messages.length, 0);
  await waiting("nothing is needed", () => fanfold.connection.phase === "idle", fanfold.subscribe);
  await assert.rejects(closed.send("more"), (error: FanfoldError) => error.code === "session_closed");
  // It can still be read by who asks anew.
  const seen: string[] = [];
  for (const live of [fanfold.follow(closed.id), fanfold.follow(erased.id)]) {
    await until(live, ({ phase }) => phase === "closed");
    seen.push(live.snapshot.closed!.code, live.state.session.status);
  }
  assert.deepEqual(seen, ["closed", "closed", "erased", "erased"]);
});

live("a connection on which nothing comes is taken for dead", async (context) => {
  const node = await Node.pinging(context, 500, "--worker-slots", "0");
  const proxy = await Proxy.start(context, node.url);
  const fanfold = client(context, proxy.url);
  const session = fanfold.follow(await fanfold.open());
  await until(session, ({ phase }) => phase === "live");
  proxy.hold();
  const direct = client(context, node.url);
  await direct.command(session.id, { set_title: { title: "meanwhile" } });
  await until(session, ({ phase }) => phase === "lost");
  assert.match(fanfold.connection.error?.message ?? "", /nothing came/);
  await until(session, ({ state }) => state.session.title === "meanwhile");
});

live("older messages than the window are brought when they are wanted", async (context) => {
  const node = await Node.dev(context, "--worker-slots", "0");
  for (const transports of [["websocket"], ["sse"]] as const) {
    const fanfold = client(context, node.url, { transports });
    const id = await fanfold.open();
    for (let at = 0; at < 12; at++) {
      await fanfold.command(id, { send: { parts: [{ text: { text: `message ${at}` } }] } });
    }
    const session = fanfold.follow(id, { window: 5 });
    const { messages, olderMessages } = await session.ready();
    assert.deepEqual([messages.length, olderMessages], [5, 7]);
    const newest = messages.at(-1);
    await session.loadOlder(4);
    assert.deepEqual([session.state.messages.length, session.state.olderMessages], [9, 3]);
    assert.equal(session.state.messages.at(-1), newest, "what is the same is the same object");
    await session.loadOlder();
    assert.deepEqual([session.state.messages.length, session.state.olderMessages], [12, 0]);
    await session.loadOlder();
    await session.send("after", { answer: false });
    await until(session, ({ state }) => state.messages.length === 13);
    await same(fanfold, session);
  }
});

live("a token is replaced in band before it ends", async (context) => {
  const node = await Node.serve(context);
  const proxy = await Proxy.start(context, node.url);
  let brought = 0;
  const now = () => Math.floor(Date.now() / 1000);
  const fanfold = client(context, proxy.url, {
    token: () => ((brought += 1), token({ sub: "ann", iat: now(), exp: now() + 9 })),
  });
  const direct = client(context, node.url, { token: token({ sub: "ann", exp: now() + 600 }) });
  const session = fanfold.follow(await direct.open());
  await until(session, ({ phase }) => phase === "live");
  const opened = Date.now();
  await waiting("the first token is over", () => Date.now() > opened + 11_000, ticking);
  assert.ok(brought >= 2, "a second token was asked for");
  await session.setTitle("by the second token");
  assert.equal(proxy.connections, 1, "over the same connection");
});

live("a token that ended is replaced by another one, a bad one ends it", async (context) => {
  const node = await Node.serve(context);
  const now = () => Math.floor(Date.now() / 1000);
  let brought = 0;
  // By its own times the first one is not to be replaced before it ends.
  const fanfold = client(context, node.url, {
    token: () => token({ sub: "ann", iat: now() - 1000, exp: now() + ((brought += 1) > 1 ? 600 : 8) }),
  });
  const direct = client(context, node.url, { token: token({ sub: "ann", exp: now() + 600 }) });
  const session = fanfold.follow(await direct.open());
  await until(session, ({ phase }) => phase === "live");
  await until(session, ({ phase }) => phase === "lost");
  assert.equal(fanfold.connection.error?.code, "token_expired");
  await until(session, ({ phase }) => phase === "live");

  const forged = client(context, node.url, { token: `${token({ sub: "eve", exp: now() + 600 })}x` });
  const denied = forged.follow(session.id);
  await until(denied, ({ phase }) => phase === "failed");
  assert.deepEqual([denied.snapshot.error?.code, forged.connection.phase], ["unauthenticated", "stopped"]);
  await assert.rejects(denied.ready(), FanfoldError);
  await assert.rejects(denied.send("x"), (error: FanfoldError) => error.code === "unauthenticated");
  await assert.rejects(forged.list(), (error: FanfoldError) => error.code === "unauthenticated");
});

live("people see who is there and who types", async (context) => {
  const node = await Node.serve(context);
  const exp = Math.floor(Date.now() / 1000) + 600;
  const [ann, bob] = ["ann", "bob"].map((sub) => client(context, node.url, { token: token({ sub, exp }) })) as [Fanfold, Fanfold];
  const id = await ann.open();
  const [hers, his] = [ann.follow(id), bob.follow(id)];
  await Promise.all([hers.ready(), his.ready()]);
  hers.setPresence("present");
  const shown =
    (...rows: string[]) =>
    (snapshot: Snapshot) =>
      snapshot.presence
        .map(({ who, doing }) => `${who} ${doing}`)
        .sort()
        .join() === rows.join();
  await until(his, shown("ann present"));
  his.setPresence("present");
  his.typing();
  await until(hers, shown("ann present", "bob typing"));
  await until(hers, shown("ann present", "bob present"));
  his.leave();
  await until(hers, shown("ann present"));
});

/** Looks again every now and then, for what nobody tells of. */
function ticking(listener: () => void): () => void {
  const timer = setInterval(listener, 50);
  return () => clearInterval(timer);
}

for (const transport of ["websocket", "sse"] as const) {
  live(`the list of sessions is watched over ${transport}, and survives the node`, async (context) => {
    const node = await Node.dev(context, "--worker-slots", "0");
    const fanfold = client(context, node.url, { transports: [transport] });
    const other = client(context, node.url);
    const first = await other.open({ title: "First", user: "ann" });
    const list = fanfold.watch({ limit: 10 });
    const until = (what: string, holds: () => boolean) => waiting(what, () => holds() || undefined, list.subscribe);
    const titles = () => list.snapshot.rows.map((row) => row.title).join();
    await until("the list", () => titles() === "First");
    // What is followed beside it goes on.
    const session = fanfold.follow(first);
    await session.ready();
    const second = await other.open({ title: "Second" });
    await until("a new session", () => titles() === "Second,First");
    await other.command(first, { send: { parts: [{ text: { text: "hello" } }], answer: {} } });
    await until("the newest activity first", () => titles() === "First,Second" && list.snapshot.rows[0]?.openRuns === 1);
    const kept = list.snapshot.rows[1];
    await node.end("SIGKILL");
    await until("the loss", () => list.snapshot.phase === "lost");
    await node.restart();
    await until("the return", () => list.snapshot.phase === "live");
    assert.equal(list.snapshot.rows.find((row) => row.session === second), kept, "what has not changed is the same object");
    await other.command(second, { set_title: { title: "Renamed" } });
    await until("a new title", () => titles() === "Renamed,First");
    const found = await other.list({ query: "ren", sinceMs: Date.now() - 3_600_000 });
    assert.deepEqual(found.sessions.map((row) => row.session), [second]);
    assert.deepEqual((await other.list({ untilMs: 1 })).sessions, []);
    await other.command(second, { erase: {} });
    await until("the erasure", () => titles() === "First");
    list.leave();
    session.leave();
  });
}

live("a list that one may not see is told, and the connection stays", async (context) => {
  const node = await Node.serve(context);
  const worker = token({ sub: "w", role: "worker", exp: 4_000_000_000 });
  for (const transport of ["websocket", "sse"] as const) {
    const fanfold = client(context, node.url, { token: worker, transports: [transport] });
    const list = fanfold.watch();
    await waiting("a refusal", () => list.snapshot.error, list.subscribe);
    assert.deepEqual([list.snapshot.phase, list.snapshot.error?.code], ["failed", "permission_denied"]);
    assert.notEqual(fanfold.connection.phase, "stopped");
  }
});

live("over server-sent events as many sessions are read as may be, on a stream that is opened once", async (context) => {
  const node = await Node.dev(context, "--worker-slots", "0");
  const asked: string[] = [];
  const counted: typeof fetch = (url, init) => {
    asked.push(`${init?.method ?? "GET"} ${String(url)}`);
    return fetch(url, init);
  };
  const direct = client(context, node.url);
  const ids = Array.from({ length: 100 }, (_, at) => `${String(at).padStart(3, "0")}${"x".repeat(61)}`);
  await Promise.all(ids.map((session) => direct.open({ session })));
  const streams = () => asked.filter((one) => one.includes("/v1/stream"));
  const fanfold = client(context, node.url, { transports: ["sse"], fetch: counted });
  const list = fanfold.watch({ limit: 100 });
  const sessions = ids.map((id) => fanfold.follow(id));
  await Promise.all(sessions.map((session) => until(session, ({ phase }) => phase === "live")));
  await waiting("the list", () => list.snapshot.rows.length === 100, list.subscribe);
  assert.deepEqual(streams(), [`POST ${node.url}/v1/stream`]);
  await node.end("SIGKILL");
  await until(sessions[0]!, ({ phase }) => phase === "lost");
  await node.restart();
  await Promise.all(sessions.map((session) => until(session, ({ phase }) => phase === "live")));
  await waiting("the list again", () => list.snapshot.phase === "live", list.subscribe);
  assert.ok(asked.every((one) => one.length < 300), "a proxy takes every address");
  assert.ok(streams().every((one) => one === `POST ${node.url}/v1/stream`));
  await direct.command(ids[99]!, { set_title: { title: "the last" } });
  await until(sessions[99]!, ({ state }) => state.session.title === "the last");
  list.leave();
});
