//! Appends to JetStream, beside NATS alone and beside the embedded log.
//!
//! Sessions append one record at a time each, and a second connection follows all of them live, as another node does. *NATS alone* is
//! the same with the driver only: the same acknowledged publishes, with the same id and to a stream of the same configuration, and the
//! same core subscriptions to what it republishes. Each round measures every case once; printed are medians over rounds.
//!
//! `FANFOLD_BENCH_ROUNDS` (default 7), `FANFOLD_BENCH_MS` for each measurement (default 1000).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::Info};
use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, JetStreamLog, JetStreamLogConfig};
use fanfold_nats::testing::{Cluster, LIMITS, Server};
use fanfold_nats::{Nats, NatsOptions};
use futures::StreamExt as _;
use futures::future::join_all;
use tokio::sync::Notify;

const RECORD_BYTES: usize = 200;
const SESSIONS: [usize; 3] = [1, 16, 100];
const SHARDS: u32 = 4;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let rounds = setting("FANFOLD_BENCH_ROUNDS", 7);
    let length = Duration::from_millis(setting("FANFOLD_BENCH_MS", 1000) as u64);
    let Some(server) = Server::start_unsynced("appends to one NATS server", "") else { return };
    let Some(cluster) = Cluster::start("appends to three NATS servers").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { dir: dir.path().into(), ..EmbeddedLogConfig::default() };
    let embedded: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(config, Arc::new(|| 0)).unwrap());
    let one = Jet::open(server.options(), 1).await;
    let three = Jet::open(cluster.options(), 3).await;
    println!(
        "{RECORD_BYTES} B records, one on its way for each session, all followed live; medians of {rounds} rounds of {length:?}"
    );
    for sessions in SESSIONS {
        let mut rates = [(); 5].map(|()| Vec::new());
        for _ in 0..rounds {
            rates[0].push(ours(&embedded, &embedded, sessions, length).await);
            rates[1].push(ours(&one.log, &one.elsewhere, sessions, length).await);
            rates[2].push(one.alone(sessions, length).await);
            rates[3].push(ours(&three.log, &three.elsewhere, sessions, length).await);
            rates[4].push(three.alone(sessions, length).await);
        }
        let [embedded, one, one_alone, three, three_alone] = rates.map(median);
        println!("{sessions} sessions");
        println!("  embedded, every commit synced         {embedded:>8.0} appends/s");
        println!(
            "  JetStream R1, synced every 2 min      {one:>8.0} appends/s   {:.2} of NATS alone ({one_alone:.0})",
            one / one_alone
        );
        println!(
            "  JetStream R3, sync_interval: always   {three:>8.0} appends/s   {:.2} of NATS alone ({three_alone:.0})",
            three / three_alone
        );
    }
    embedded.close().await;
}

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("bench-{number}")).unwrap())
}

/// Appends per second.
async fn ours(log: &Arc<dyn EventLog>, elsewhere: &Arc<dyn EventLog>, sessions: usize, length: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicUsize::new(0));
    let mut readers = Vec::new();
    for number in 0..sessions {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let tail = elsewhere.tail(&session(number), Arc::new(move || wake.notify_one())).await.unwrap();
        let heard = Arc::clone(&heard);
        readers.push(tokio::spawn(async move {
            loop {
                woken.notified().await;
                heard.fetch_add(tail.take().len(), Ordering::Relaxed);
            }
        }));
    }
    let run = uuid::Uuid::new_v4();
    let writers = (0..sessions).map(|number| {
        let (log, stop) = (Arc::clone(log), Arc::clone(&stop));
        tokio::spawn(async move {
            let (session, record) = (session(number), Bytes::from(vec![b'x'; RECORD_BYTES]));
            let mut appended = 0;
            while !stop.load(Ordering::Relaxed) {
                log.append(&session, record.clone(), Expect::Any, Some(&format!("{run}.{appended}"))).await.unwrap();
                appended += 1;
            }
            appended
        })
    });
    let rate = measure(writers.collect(), &stop, length).await;
    end(readers).await;
    assert!(heard.load(Ordering::Relaxed) > 0, "readers hear what is appended");
    rate
}

async fn measure(writers: Vec<tokio::task::JoinHandle<usize>>, stop: &AtomicBool, length: Duration) -> f64 {
    let started = Instant::now();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let appended: usize = join_all(writers).await.into_iter().map(Result::unwrap).sum();
    appended as f64 / started.elapsed().as_secs_f64()
}

async fn end(readers: Vec<tokio::task::JoinHandle<()>>) {
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(readers).await;
}

/// A log, the same log as another node has it, and the driver alone with streams of its own beside it.
struct Jet {
    log: Arc<dyn EventLog>,
    elsewhere: Arc<dyn EventLog>,
    publisher: jetstream::Context,
    subscriber: Nats,
    prefix: String,
}

impl Jet {
    async fn open(nats: NatsOptions, replicas: usize) -> Self {
        let config =
            JetStreamLogConfig { nats, prefix: "ours".into(), shards: SHARDS, replicas, ..JetStreamLogConfig::default() };
        fanfold_log::jetstream::migrate(&config, Offset::NONE).await.unwrap();
        let log = || async { Arc::new(JetStreamLog::open(&config).await.unwrap()) as Arc<dyn EventLog> };
        let (log, elsewhere) = (log().await, log().await);
        let subscriber = Nats::connect(&config.nats, LIMITS).await.unwrap();
        for shard in 0..SHARDS {
            let mut stream = subscriber.api::<Info>(&format!("STREAM.INFO.ours-log-{shard}"), &()).await.unwrap().config;
            let theirs = |name: &str| name.replace("ours", "theirs");
            stream.name = theirs(&stream.name);
            stream.subjects = stream.subjects.iter().map(|subject| theirs(subject)).collect();
            if let Some(republish) = &mut stream.republish {
                republish.source = theirs(&republish.source);
                republish.destination = theirs(&republish.destination);
            }
            subscriber.api::<Info>(&format!("STREAM.CREATE.{}", stream.name), &stream).await.unwrap();
        }
        let publisher = Nats::connect(&config.nats, LIMITS).await.unwrap();
        let publisher = jetstream::new(publisher.client().clone());
        Self { log, elsewhere, publisher, subscriber, prefix: "theirs".into() }
    }

    async fn alone(&self, sessions: usize, length: Duration) -> f64 {
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(AtomicUsize::new(0));
        let subject =
            |kind: &str, number: usize| format!("{}.{kind}.{}.default.bench-{number}", self.prefix, number as u32 % SHARDS);
        let mut readers = Vec::new();
        for number in 0..sessions {
            let mut live = self.subscriber.client().subscribe(subject("live", number)).await.unwrap();
            let heard = Arc::clone(&heard);
            readers.push(tokio::spawn(async move {
                while live.next().await.is_some() {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let run = uuid::Uuid::new_v4();
        let writers = (0..sessions).map(|number| {
            let (publisher, stop, subject) = (self.publisher.clone(), Arc::clone(&stop), subject("log", number));
            tokio::spawn(async move {
                let record = Bytes::from(vec![b'x'; RECORD_BYTES]);
                let mut appended = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut headers = HeaderMap::new();
                    headers.insert("Nats-Msg-Id", format!("{run}.{number}.{appended}"));
                    let ack = publisher.publish_with_headers(subject.clone(), headers, record.clone()).await.unwrap();
                    ack.await.unwrap();
                    appended += 1;
                }
                appended
            })
        });
        let rate = measure(writers.collect(), &stop, length).await;
        end(readers).await;
        assert!(heard.load(Ordering::Relaxed) > 0, "readers hear what is published");
        rate
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
