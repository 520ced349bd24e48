//! CPU of a node for one event, with many sessions in memory beside few: it must not grow with what only waits.
//!
//! Two nodes of one kind take turns; one hosts ten times as many sessions as the other. Events go to sessions in turn, at the same rate. The
//! nodes' own CPU time counts, the servers' doesn't. A third turn without events is what waiting costs.
//!
//! `FANFOLD_BENCH_SESSIONS` of the smaller one (default 1000), `FANFOLD_BENCH_ROUNDS` (5), `FANFOLD_BENCH_SECONDS` of a turn (4),
//! `FANFOLD_BENCH_RATE` events a second (500).

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a program for people at a terminal")]

mod deployment;

use std::time::{Duration, Instant};

use deployment::{Deployment, Kind, Node, fact, open, percentile, setting};
use fanfold_client::Client;
use futures::StreamExt as _;

const TIMES: usize = 10;
const RECORD_BYTES: usize = 100;

/// Events under way at a time.
const AT_ONCE: usize = 32;

/// Sessions stay; what is written aside is written between the turns.
const SETTINGS: [(&str, &str); 3] =
    [("SESSION__IDLE_MS", "3600000"), ("ARCHIVE__QUIET_MS", "3600000"), ("ARCHIVE__WAIT_MS_MAX", "3600000")];

struct Host {
    _deployment: Deployment,
    node: Node,
    client: Client,
    sessions: usize,
    events: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let few = setting("FANFOLD_BENCH_SESSIONS", 1000);
    let (rounds, rate) = (setting("FANFOLD_BENCH_ROUNDS", 5), setting("FANFOLD_BENCH_RATE", 500));
    let length = Duration::from_secs(setting("FANFOLD_BENCH_SECONDS", 4) as u64);
    println!("{rate} events a second, {rounds} rounds of {length:?}; medians");
    for kind in [Kind::Embedded, Kind::One] {
        let Some(mut few) = Host::start(kind, few).await else { continue };
        let Some(mut many) = Host::start(kind, few.sessions * TIMES).await else { continue };
        let (mut ratios, mut of_few, mut of_many, mut waiting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (small, large) = (few.event_us(rate, length).await, many.event_us(rate, length).await);
            ratios.push(large / small);
            of_few.push(small);
            of_many.push(large);
            waiting.push(many.waiting(length).await);
        }
        println!("{}", kind.name());
        println!("  {:>7} sessions   {:>8.1} us/event", few.sessions, percentile(&mut of_few, 50));
        println!(
            "  {:>7} sessions   {:>8.1} us/event   {:.2} of the other; waiting takes {:.1} % of a core",
            many.sessions,
            percentile(&mut of_many, 50),
            percentile(&mut ratios, 50),
            percentile(&mut waiting, 50) * 100.0
        );
    }
}

impl Host {
    async fn start(kind: Kind, sessions: usize) -> Option<Self> {
        let deployment = Deployment::make(kind).await?;
        let node = deployment.node(&SETTINGS);
        let client = node.client();
        let opening = futures::stream::iter(0..sessions).map(|number| {
            let client = &client;
            async move { open(client, &format!("hosted-{number}")).await }
        });
        opening.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        let hosted = node.figure("fanfold_session_hosted").await;
        assert!(hosted.is_some_and(|hosted| hosted >= 0.9 * sessions as f64), "they are in memory: {hosted:?}");
        let mut host = Self { _deployment: deployment, node, client, sessions, events: 0 };
        // Once for each, and not counted: what a session's first record brings with it.
        host.event_us(10 * AT_ONCE, Duration::from_secs(1)).await;
        Some(host)
    }

    /// CPU microseconds of one event.
    async fn event_us(&mut self, rate: usize, length: Duration) -> f64 {
        let events = (rate as f64 * length.as_secs_f64()) as usize;
        let (before, started) = (self.node.cpu_us(), Instant::now());
        let (client, sessions, first) = (&self.client, self.sessions, self.events);
        let each = futures::stream::iter(0..events).map(|number| async move {
            let due = started + Duration::from_secs_f64(number as f64 / rate as f64);
            tokio::time::sleep_until(due.into()).await;
            // Far apart, so that both nodes are asked for sessions that nobody has touched for a while.
            let number = first + number;
            fact(client, &format!("e{number}"), &format!("hosted-{}", number.wrapping_mul(7919) % sessions), RECORD_BYTES).await
        });
        each.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        self.events += events;
        (self.node.cpu_us() - before) / events as f64
    }

    /// Part of a core that it takes without an event.
    async fn waiting(&self, length: Duration) -> f64 {
        let before = self.node.cpu_us();
        tokio::time::sleep(length).await;
        (self.node.cpu_us() - before) / 1e6 / length.as_secs_f64()
    }
}
