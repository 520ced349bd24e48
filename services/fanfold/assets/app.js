// The smallest useful client: one WebSocket, one session at a time, resumed from its cursor.
// The protocol is described in docs/protocol.md; a library and a full console build on the same frames.

const $ = (id) => document.getElementById(id);
const state = { session: null, cursor: null, view: null, socket: null, tries: 0, sessions: [] };

const fresh = () => crypto.randomUUID().replaceAll("-", "");

// ---- connection -------------------------------------------------------------------------------------------------------

function connect() {
  const url = new URL("/v1/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, ["fanfold.v1.json"]);
  state.socket = socket;
  socket.onopen = () => {
    send({ hello: { client: "page" } });
    if (state.session) subscribe();
  };
  socket.onmessage = (message) => receive(JSON.parse(message.data));
  socket.onclose = () => {
    if (state.socket !== socket) return;
    show("offline, coming back");
    // Full jitter; reset only after progress (see `receive`).
    const wait = Math.random() * Math.min(10_000, 250 * 2 ** state.tries++);
    setTimeout(connect, wait);
  };
}

function send(frame) {
  if (state.socket?.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(frame));
}

function subscribe() {
  const request = { session: state.session };
  if (state.cursor) request.cursor = state.cursor;
  send({ subscribe: request });
}

function command(action) {
  send({ command: { id: fresh(), session: state.session, ...action } });
}

function receive(frame) {
  const [kind, body] = Object.entries(frame)[0];
  if (body.session && body.session !== state.session) return;
  switch (kind) {
    case "subscribed":
      show(`live (${body.how})`);
      break;
    case "snapshot":
      state.view = index(body.view ?? {});
      advance(body.cursor);
      drawAll();
      break;
    case "delta":
      for (const op of body.ops ?? []) apply(op);
      advance(body.cursor);
      break;
    case "draining":
      show("the node is going away, coming back");
      break;
    case "closed":
      show(`closed: ${body.reason}`);
      break;
    case "error":
      show(body.message);
      break;
  }
}

function advance(cursor) {
  state.cursor = cursor;
  state.tries = 0;
  $("position").textContent = cursor;
}

function show(text) {
  $("connection").textContent = text;
}

// ---- state ------------------------------------------------------------------------------------------------------------

function index(view) {
  const messages = new Map((view.messages ?? []).map((message) => [message.id, message]));
  const runs = new Map((view.runs ?? []).map((run) => [run.id, run]));
  return { messages, runs, session: view.session ?? {} };
}

function apply(op) {
  const { messages, runs } = state.view;
  const [kind, body] = Object.entries(op)[0];
  const message = messages.get(body.message);
  switch (kind) {
    case "session_changed":
      state.view.session = body;
      loadSessions();
      return;
    case "message_added":
      messages.set(body.id, body);
      return drawMessage(body);
    case "message_reset":
      if (message) message.parts = [];
      break;
    case "part_appended": {
      const part = message?.parts?.[body.part ?? 0];
      if (!part) return;
      const [name, content] = Object.entries(part)[0];
      const field = name === "tool_call" ? "arguments" : "text";
      content[field] = (content[field] ?? "") + body.text;
      break;
    }
    case "part_set":
      if (message) (message.parts ??= [])[body.part ?? 0] = body.value;
      break;
    case "tool_call_changed": {
      const call = message?.parts?.[body.part ?? 0]?.tool_call;
      if (call) Object.assign(call, { status: body.status, result: body.result });
      break;
    }
    case "run_changed":
      runs.set(body.id, body);
      buttons();
      return drawMessage(messages.get(body.reply));
    default:
      return;
  }
  if (message) drawMessage(message);
}

// ---- page -------------------------------------------------------------------------------------------------------------

function drawAll() {
  $("messages").replaceChildren();
  for (const message of state.view.messages.values()) drawMessage(message);
  buttons();
}

function drawMessage(message) {
  if (!message) return;
  const list = $("messages");
  const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const run = state.view.runs.get(message.run);
  const item = document.createElement("li");
  item.id = `message-${message.id}`;
  item.className = (message.role ?? "").replace("ROLE_", "").toLowerCase();
  item.classList.toggle("streaming", run?.status === "RUN_STATUS_RUNNING");
  item.replaceChildren(...(message.parts ?? []).map(drawPart), ...note(run));
  const old = $(item.id);
  if (old) old.replaceWith(item);
  else list.append(item);
  $("hint").hidden = true;
  if (follow) list.scrollTop = list.scrollHeight;
}

// Model output only ever becomes text nodes.
function drawPart(part) {
  const [kind, body] = Object.entries(part)[0];
  const element = document.createElement(kind === "reasoning" ? "details" : "div");
  element.className = kind === "tool_call" ? "tool" : kind === "text" ? "text" : "note";
  switch (kind) {
    case "text":
      element.textContent = body.text;
      break;
    case "reasoning": {
      const summary = document.createElement("summary");
      summary.textContent = "Reasoning";
      element.append(summary, body.text ?? "");
      element.className = "";
      break;
    }
    case "tool_call":
      element.textContent = `${body.name}(${body.arguments ?? ""})${body.result ? `\n→ ${body.result}` : ""}`;
      break;
    case "citation":
      element.textContent = `[${body.title ?? body.url ?? body.source ?? "source"}]`;
      break;
    case "steering":
      element.textContent = `steered: ${body.text}`;
      break;
    case "file":
      element.textContent = `file: ${body.name ?? body.url}`;
      break;
    default:
      element.hidden = true;
  }
  return element;
}

function note(run) {
  const words = {
    RUN_STATUS_QUEUED: "waiting for a worker",
    RUN_STATUS_CANCELLED: "stopped",
    RUN_STATUS_FAILED: `failed: ${run?.error?.message || run?.error?.code || ""}`,
    RUN_STATUS_ORPHANED: "its worker was lost",
  };
  const text = words[run?.status];
  if (!text) return [];
  const element = document.createElement("div");
  element.className = "note";
  element.textContent = text;
  return [element];
}

function buttons() {
  const open = [...state.view.runs.values()].some((run) => ["RUN_STATUS_QUEUED", "RUN_STATUS_RUNNING"].includes(run.status));
  $("stop").hidden = !open;
}

async function loadSessions() {
  const response = await fetch("/v1/sessions");
  if (!response.ok) return show(`sessions can't be listed: ${response.status}`);
  const { sessions = [] } = await response.json();
  $("sessions").replaceChildren(
    ...sessions.map((session) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = session.title || session.session;
      if (session.session === state.session) button.setAttribute("aria-current", "true");
      button.onclick = () => open(session.session);
      item.append(button);
      return item;
    }),
  );
}

function open(session) {
  if (state.session) send({ unsubscribe: { session: state.session } });
  Object.assign(state, { session, cursor: null, view: index({}) });
  history.replaceState(null, "", `#${session}`);
  $("messages").replaceChildren();
  $("hint").hidden = false;
  subscribe();
  loadSessions();
}

async function create() {
  const response = await fetch("/v1/sessions", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  if (!response.ok) return show(`no session was opened: ${response.status}`);
  open((await response.json()).session);
}

$("form").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  if (!state.session) await create();
  command({ send: { role: "ROLE_USER", parts: [{ text: { text } }], answer: {} } });
};
$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("form").requestSubmit();
  }
};
$("stop").onclick = () => command({ cancel: { reason: "stopped by the user" } });
$("new").onclick = create;
$("cut").onclick = () => state.socket.close();

state.view = index({});
state.session = location.hash.slice(1) || null;
connect();
loadSessions();
