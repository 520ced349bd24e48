// A worker over plain HTTP, without any dependency: answers each run with the words of its prompt, until somebody presses stop.
//
//     npx tsc && node worker.js http://127.0.0.1:8080

type Part = { text?: { text: string } };
type Message = { role: string; parts: Part[] };
type Lease = { session: string; run: string; lease: string };
type Taken = { lease?: Lease; messages: Message[]; lease_ms: number };

const node = process.argv[2];
const headers = { authorization: `Bearer ${process.env.FANFOLD_TOKEN ?? ""}` };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Yours goes here: it gets the conversation and gives its answer in pieces. */
async function* model(messages: Message[]): AsyncGenerator<string> {
  const prompt = messages.at(-1)?.parts[0]?.text?.text ?? "";
  for (const word of prompt.split(" ")) {
    await sleep(20);
    yield `${word} `;
  }
}

/** What the worker says: a line for each piece, the last of which ends the run. */
async function* lines(messages: Message[]): AsyncGenerator<object> {
  try {
    for await (const text of model(messages)) yield { text: { text } };
    yield { completed: { reason: { kind: "FINISH_KIND_STOP" } } };
  } catch (error) {
    // The run is tried again, by this worker or another.
    yield { failed: { code: "model_error", message: String(error), retryable: true } };
  }
}

async function attempt(lease: Lease, taken: Taken): Promise<void> {
  // One request, streamed. It is answered when it ends, or as soon as the run is cancelled or another worker's.
  const encoder = new TextEncoder();
  const said = lines(taken.messages);
  const body = new ReadableStream<Uint8Array>({
    async pull(stream) {
      const line = await said.next();
      if (line.done) stream.close();
      else stream.enqueue(encoder.encode(`${JSON.stringify(line.value)}\n`));
    },
    cancel: () => void said.return(undefined),
  });
  // A sign of life, for as long as the model may be silent.
  const beat = setInterval(() => void post("/v1/runs/extend", lease).catch(() => {}), taken.lease_ms / 3);
  try {
    const path = `/v1/sessions/${lease.session}/runs/${lease.run}/output?worker=typescript`;
    const answer = await fetch(node + path, { method: "POST", headers, body, duplex: "half" } as RequestInit);
    const verdict = await answer.json();
    if (!answer.ok || verdict.over) console.error(verdict.code ?? verdict.over.run.status);
  } finally {
    clearInterval(beat);
  }
}

const post = (path: string, body: object) => fetch(node + path, { method: "POST", headers, body: JSON.stringify(body) });

for (;;) {
  try {
    const answer = await post("/v1/runs/take", { wait_ms: 30_000 });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    const taken = (await answer.json()) as Taken;
    if (taken.lease) await attempt(taken.lease, taken);
  } catch (error) {
    console.error(error);
    await sleep(1000);
  }
}
