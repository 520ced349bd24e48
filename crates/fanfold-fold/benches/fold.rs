//! What folding costs: `cargo bench -p fanfold-fold`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use fanfold_fold::{
    Action, CONTENT_BYTES_MAX, Command, Delta, Merger, Output, Parent, Part, Record, Role, RunRequested, RunStarted, Said, Send,
    SessionOpened, State, TextDelta,
};

const ROUNDS: usize = 5;
const RECORDS: usize = 1_000_000;
/// What a model says at a time.
const TOKEN: &str = " token";

fn main() {
    snapshots(); // First: memory that was used before isn't counted.
    let records: Vec<Record> = outputs(RECORDS, 1);
    let stored: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
    let bytes = stored.iter().map(Vec::len).sum::<usize>() / stored.len();
    report("fold, one token a record", RECORDS, || fold(&records));
    report("decode and fold", RECORDS, || {
        let mut state = running(0);
        stored.iter().for_each(|bytes| drop(state.apply(&Record::decode(bytes).unwrap())));
        state
    });
    report("encode records", RECORDS, || records.iter().map(|record| record.encode().len()).sum::<usize>());
    println!("  {bytes} bytes a record");
    drop((records, stored));

    let records = outputs(RECORDS / 16, 16);
    let stored: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
    report("fold, 16 tokens a record", RECORDS, || fold(&records));
    report("decode and fold, 16 tokens a record", RECORDS, || {
        let mut state = running(0);
        stored.iter().for_each(|bytes| drop(state.apply(&Record::decode(bytes).unwrap())));
        state
    });
    drop((records, stored));

    for count in [100_000, 200_000] {
        let mut state = running(0);
        let deltas: Vec<Delta> = outputs(count, 1).iter().map(|record| state.apply(record).1).collect();
        report(&format!("merge of {count} deltas"), count, || {
            let mut merger = Merger::default();
            deltas.iter().for_each(|delta| merger.push(delta.clone()));
            merger.finish()
        });
    }
}

/// A session of a thousand messages: time and memory of its state.
fn snapshots() {
    let before = resident_bytes();
    let state = talk(1_000, 2_000);
    let memory = resident_bytes().saturating_sub(before);
    let encoded = state.encode();
    let content = state.content_bytes() as f64;
    let megabytes = encoded.len() as f64 / 1e6;
    // The kernel's count moves in steps of milliseconds.
    let millis = |time: Duration| time.as_secs_f64() * 1e3 / megabytes / 100.0;
    let encode = millis(median(|| (0..100).for_each(|_| drop(black_box(state.encode())))));
    let decode = millis(median(|| (0..100).for_each(|_| drop(black_box(State::decode(&encoded).unwrap())))));
    println!("state of 1,000 messages, {:.1} MB: encode {encode:.2} ms/MB, decode {decode:.2} ms/MB", megabytes);
    println!("  per content byte: {:.2} encoded, {:.2} in memory", encoded.len() as f64 / content, memory as f64 / content);
}

fn fold(records: &[Record]) -> State {
    let mut state = running(0);
    records.iter().for_each(|record| drop(state.apply(record)));
    state
}

/// A session with a run that waits for its worker's words.
fn running(messages: usize) -> State {
    let mut state = talk(messages, 100);
    let prompt = "p".parse().unwrap();
    decide(&mut state, "p-c", send("p", Part::text("?")));
    let (run, reply) = ("r".parse().unwrap(), "a".parse().unwrap());
    let requested = RunRequested { run, reply, prompt, model: None, interrupt: false, attempts_max: 0 };
    decide(&mut state, "r-c", Action::RequestRun(requested));
    let started =
        RunStarted { run: "r".parse().unwrap(), attempt: "t0".parse().unwrap(), worker: "w".into(), model: None, resume: false };
    decide(&mut state, "s-c", Action::StartRun(started));
    state
}

/// Messages of so many bytes.
fn talk(messages: usize, bytes: usize) -> State {
    let mut state = State::default();
    decide(&mut state, "open", Action::Open(SessionOpened::default()));
    for at in 0..messages {
        decide(&mut state, &format!("c{at}"), send(&format!("m{at}"), Part::text("x".repeat(bytes))));
    }
    state
}

fn send(message: &str, part: Part) -> Action {
    let message = message.parse().unwrap();
    Action::Send(Send { message, parent: Parent::Newest, role: Role::User, parts: vec![part], answer: None })
}

fn decide(state: &mut State, id: &str, action: Action) {
    let command = Command { id: id.parse().unwrap(), at_ms: 0, by: None, action };
    let record = state.decide(&command).unwrap();
    state.apply(&record);
}

fn outputs(records: usize, tokens: usize) -> Vec<Record> {
    let attempt: fanfold_fold::AttemptId = "t0".parse().unwrap();
    assert!((records * tokens * TOKEN.len()) as u64 <= CONTENT_BYTES_MAX, "one session holds them");
    let said = vec![Said::from(TextDelta { text: TOKEN.into() }); tokens];
    let record = |at: usize| {
        let output = Output { attempt: attempt.clone(), seq: (at * tokens + 1) as u64, said: said.clone() };
        Record { command: None, at_ms: 1_700_000_000_000 + at as u64, by: None, events: vec![output.into()] }
    };
    (0..records).map(record).collect()
}

fn report<T>(what: &str, events: usize, work: impl FnMut() -> T) {
    let time = median(work);
    let nanos = time.as_nanos() as f64 / events as f64;
    println!("{what}: {nanos:.0} ns/event, {:.2} M events/s", 1e3 / nanos);
}

fn median<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let begun_on_cpu = on_cpu();
            black_box(work());
            // Time on the processor, so that neighbours don't count; by the clock where the kernel doesn't tell.
            on_cpu().zip(begun_on_cpu).map_or_else(|| begun.elapsed(), |(now, begun)| now - begun)
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// How long this thread has run, as Linux counts it.
fn on_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// What the kernel counts for this process; 0 where it doesn't say.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}
