//! From an append to the frame that a reader gets, on another node where there are several; beside NATS alone. And from a cancel to its
//! receipt and to the worker that is told; beside a record.
//!
//! Sessions append one record at a time each, at a fixed rate all together. A reader follows all of them over one WebSocket: on the same
//! node for the embedded log, on a second node for JetStream. *NATS alone* is the same record, published with an acknowledgement by one
//! connection, to a stream of the same configuration, and heard by a core subscription of another. Rounds take turns.
//!
//! Cancels come by the reader's node, over gRPC, while a worker writes one word after the other at the first node, each as soon as it can.
//! Beside them, in turn: a record of the same session at the same node, which only waits for its receipt.
//!
//! `FANFOLD_BENCH_ROUNDS` (default 5), `FANFOLD_BENCH_SECONDS` of a turn (3), `FANFOLD_BENCH_RATE` of records a second (200).

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a program for people at a terminal")]

mod deployment;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deployment::{Deployment, Kind, Node, Reader, ask_for_answer, fact, open, percentile, setting, submit};
use fanfold_client::{Append, AppendEnd};
use fanfold_nats::testing::LIMITS;
use fanfold_nats::{Nats, NatsOptions};
use fanfold_wire::v1;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::command::Action;
use fanfold_wire::v1::server_frame::Frame as Out;
use futures::StreamExt as _;
use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

const SESSIONS: [usize; 2] = [1, 50];
const RECORD_BYTES: usize = 100;
const SHARDS: usize = 4;

/// Milliseconds from asking to the acknowledgement and to the frame.
#[derive(Default)]
struct Figures {
    acknowledged: Vec<f64>,
    shown: Vec<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (rounds, rate) = (setting("FANFOLD_BENCH_ROUNDS", 5), setting("FANFOLD_BENCH_RATE", 200));
    let length = Duration::from_secs(setting("FANFOLD_BENCH_SECONDS", 3) as u64);
    println!("{RECORD_BYTES} B records, {rate} a second, {rounds} rounds of {length:?}; milliseconds, median and p99");
    for kind in [Kind::Embedded, Kind::One, Kind::Three] {
        let Some(deployment) = Deployment::make(kind).await else { continue };
        let writer = deployment.node(&[]);
        let reader = deployment.nats().map(|_| deployment.node(&[]));
        let reader = reader.as_ref().unwrap_or(&writer);
        for sessions in SESSIONS {
            let (mut ours, mut alone) = (Figures::default(), Figures::default());
            for round in 0..rounds {
                nodes(&writer, reader, sessions, rate, length, round, &mut ours).await;
                if let Some(nats) = deployment.nats() {
                    let replicas = if kind == Kind::Three { 3 } else { 1 };
                    nats_alone(nats, replicas, sessions, rate, length, &mut alone).await;
                }
            }
            println!("{}, {sessions} session(s)", kind.name());
            print("fanfold", &mut ours);
            if !alone.shown.is_empty() {
                print("NATS alone", &mut alone);
            }
        }
        let mut cancels = Cancels::default();
        for round in 0..rounds {
            cancel(&writer, reader, length, round, &mut cancels).await;
        }
        cancels.print(kind);
    }
}

/// Milliseconds from asking to the receipt, of a record and of a cancel, and from the cancel to the worker.
#[derive(Default)]
struct Cancels {
    record: Vec<f64>,
    acknowledged: Vec<f64>,
    told: Vec<f64>,
}

impl Cancels {
    fn print(&mut self, kind: Kind) {
        println!("{}, {} cancels while a worker writes", kind.name(), self.told.len());
        let rows = [("a record", &mut self.record), ("cancelled", &mut self.acknowledged), ("worker told", &mut self.told)];
        for (what, figures) in rows {
            println!("  {what:<11} {:>7.2} {:>8.2}", percentile(figures, 50), percentile(figures, 99));
        }
    }
}

fn print(who: &str, figures: &mut Figures) {
    let Figures { acknowledged, shown } = figures;
    let both = |figures: &mut Vec<f64>| [percentile(figures, 50), percentile(figures, 99)];
    let ([acknowledged, slow], [shown, late]) = (both(acknowledged), both(shown));
    println!("  {who:<11} acknowledged {acknowledged:>7.2} {slow:>8.2}   shown to a reader {shown:>7.2} {late:>8.2}");
}

/// One run after another, each cancelled as soon as its worker has said something.
async fn cancel(writer: &Node, asks: &Node, length: Duration, round: usize, figures: &mut Cancels) {
    let (works, asks, session) = (writer.client(), asks.client(), format!("cancel-{round}"));
    open(&works, &session).await;
    let end = Instant::now() + length;
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let run = ask_for_answer(&asks, &format!("ask{number}"), &session).await;
        let start = v1::AppendStart { session: session.clone(), run: run.clone(), ..v1::AppendStart::default() };
        let mut append = works.append(start).await.unwrap();
        append.say_all(vec![word()]).await.unwrap();
        let writing = tokio::spawn(write_until_over(append));
        let asked = Instant::now();
        fact(&asks, &format!("record{number}"), &session, RECORD_BYTES).await;
        figures.record.push(asked.elapsed().as_secs_f64() * 1e3);
        let action = Action::Cancel(v1::Cancel { run: Some(run), reason: "enough".into() });
        let asked = Instant::now();
        submit(&asks, &format!("cancel{number}"), &session, action).await;
        figures.acknowledged.push(asked.elapsed().as_secs_f64() * 1e3);
        let told = tokio::time::timeout(deployment::PATIENCE, writing).await.expect("the worker is told").unwrap();
        figures.told.push((told - asked).as_secs_f64() * 1e3);
    }
}

fn word() -> v1::Said {
    v1::Said { said: Some(v1::said::Said::Text(v1::Text { text: "word ".into() })) }
}

/// Says word after word, each once the one before is durable. Returns when it was told that nobody wants more.
async fn write_until_over(mut append: Append) -> Instant {
    while append.say_all(vec![word()]).await.unwrap() == AppendEnd::Done {}
    Instant::now()
}

/// One record after another of each session, so many a second of all.
async fn pace<F: Future<Output = ()>>(sessions: usize, rate: usize, length: Duration, append: impl Fn(usize, usize) -> F) {
    let every = Duration::from_secs_f64(sessions as f64 / rate as f64);
    let append = &append;
    let writers = (0..sessions).map(|session| async move {
        let mut ticks = tokio::time::interval_at((Instant::now() + every * session as u32 / sessions as u32).into(), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + length;
        let mut number = 0;
        while Instant::now() < end {
            ticks.tick().await;
            append(session, number).await;
            number += 1;
        }
    });
    join_all(writers).await;
}

async fn nodes(
    writer: &Node,
    reader: &Node,
    sessions: usize,
    rate: usize,
    length: Duration,
    round: usize,
    figures: &mut Figures,
) {
    let client = writer.client();
    let name = |session: usize| format!("latency-{sessions}-{round}-{session}");
    let mut frames = Reader::connect(reader).await;
    for session in 0..sessions {
        open(&client, &name(session)).await;
        frames.first_frame(v1::Subscribe { session: name(session), ..v1::Subscribe::default() }).await;
    }
    // (session, offset, when) of what was shown; of what was appended also when it was asked for.
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    let reading = tokio::spawn(async move {
        loop {
            if let (Out::Delta(delta), at) = frames.next().await {
                seen.lock().await.push((delta.session, delta.offset, at));
            }
        }
    });
    let appended = Mutex::new(Vec::new());
    pace(sessions, rate, length, |session, number| {
        let (client, appended, name) = (&client, &appended, name(session));
        async move {
            let asked = Instant::now();
            let receipt = fact(client, &format!("f{number}"), &name, RECORD_BYTES).await;
            appended.lock().await.push((name, receipt.offset, asked, Instant::now()));
        }
    })
    .await;
    let appended = appended.into_inner();
    let deadline = Instant::now() + deployment::PATIENCE;
    let all = |shown: &[(String, u64, Instant)]| {
        appended.iter().all(|(name, offset, ..)| shown.iter().any(|(session, upto, _)| session == name && upto >= offset))
    };
    while !all(&shown.lock().await) {
        assert!(Instant::now() < deadline, "everything is shown");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reading.abort();
    for (name, offset, asked, acknowledged) in &appended {
        let shown = shown.lock().await;
        // A frame may hold several records; the first that holds this one counts.
        let at = shown.iter().find(|(session, upto, _)| session == name && upto >= offset).unwrap().2;
        figures.acknowledged.push((*acknowledged - *asked).as_secs_f64() * 1e3);
        figures.shown.push((at - *asked).as_secs_f64() * 1e3);
    }
    for session in 0..sessions {
        // So that the next round finds an idle node.
        Reader::connect(reader).await.say(In::Unsubscribe(v1::Unsubscribe { session: name(session) })).await;
    }
}

async fn nats_alone(nats: &NatsOptions, replicas: usize, sessions: usize, rate: usize, length: Duration, figures: &mut Figures) {
    let publisher = Nats::connect(nats, LIMITS).await.unwrap();
    let subscriber = Nats::connect(nats, LIMITS).await.unwrap();
    for shard in 0..SHARDS {
        let stream = serde_json::json!({
            "name": format!("alone-{shard}"), "subjects": [format!("alone.log.{shard}.>")], "storage": "file", "retention": "limits",
            "discard": "new", "max_bytes": 1 << 28, "num_replicas": replicas, "duplicate_window": 30_000_000_000_u64, "allow_direct": true,
            "republish": { "src": format!("alone.log.{shard}.>"), "dest": format!("alone.live.{shard}.>") },
        });
        // The same each round.
        publisher.api::<serde_json::Value>(&format!("STREAM.CREATE.alone-{shard}"), &stream).await.unwrap();
    }
    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut readers = Vec::new();
    for session in 0..sessions {
        let subject = format!("alone.live.{}.default.s{session}", session % SHARDS);
        let mut live = subscriber.client().subscribe(subject).await.unwrap();
        let shown = Arc::clone(&shown);
        readers.push(tokio::spawn(async move {
            while live.next().await.is_some() {
                shown.lock().await.push((session, Instant::now()));
            }
        }));
    }
    subscriber.client().flush().await.unwrap();
    let appended = Mutex::new(Vec::new());
    pace(sessions, rate, length, |session, _| {
        let (publisher, appended) = (&publisher, &appended);
        async move {
            let asked = Instant::now();
            let subject = format!("alone.log.{}.default.s{session}", session % SHARDS);
            publisher.ask::<serde_json::Value>(subject, vec![b'x'; RECORD_BYTES].into(), None, None).await.unwrap();
            appended.lock().await.push((session, asked, Instant::now()));
        }
    })
    .await;
    let appended = appended.into_inner();
    let deadline = Instant::now() + deployment::PATIENCE;
    while shown.lock().await.len() < appended.len() {
        assert!(Instant::now() < deadline, "everything is heard");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    let shown = shown.lock().await;
    for session in 0..sessions {
        // Of one session they are heard in the order in which they were published.
        let asked = appended.iter().filter(|(of, ..)| *of == session);
        let heard = shown.iter().filter(|(of, _)| *of == session);
        for ((_, asked, acknowledged), (_, at)) in asked.zip(heard) {
            figures.acknowledged.push((*acknowledged - *asked).as_secs_f64() * 1e3);
            figures.shown.push((*at - *asked).as_secs_f64() * 1e3);
        }
    }
}
