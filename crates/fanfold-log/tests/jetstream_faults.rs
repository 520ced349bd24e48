//! Servers that are killed and leaders that step down, while sessions are written to and followed on real processes.
//!
//! What must hold: every acknowledged record is in the log once, whole and in its writer's order; and who follows has seen what the log
//! has, without a gap.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{AppendError, EventLog, Expect, JetStreamLogConfig, ReadError};
use fanfold_nats::Nats;
use fanfold_nats::testing::{Cluster, LIMITS, Server};
use serde_json::{Value, json};
use support::follow::{DEADLINE, Follower, Writer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SESSIONS: usize = 6;

/// Writers, and a follower beside each that has a connection of its own, as on another node.
struct Traffic {
    log: Arc<dyn EventLog>,
    sessions: Vec<SessionKey>,
    writers: Vec<Writer>,
    followers: Vec<(oneshot::Sender<Offset>, JoinHandle<Follower>)>,
}

impl Traffic {
    async fn start(config: &JetStreamLogConfig) -> Self {
        let log = support::log(config).await;
        let elsewhere = support::log(config).await;
        let sessions: Vec<_> =
            (0..SESSIONS).map(|n| SessionKey::new(TenantId::default(), SessionId::new(&format!("s{n}")).unwrap())).collect();
        let mut followers = Vec::new();
        for session in &sessions {
            let follower = Follower::start(Arc::clone(&elsewhere), session.clone()).await;
            let (end, ended) = oneshot::channel();
            followers.push((end, tokio::spawn(follower.until(ended))));
        }
        let writers = sessions.iter().map(|session| Writer::start(Arc::clone(&log), session.clone())).collect();
        Self { log, sessions, writers, followers }
    }

    async fn goes_on(&self) {
        for writer in &self.writers {
            writer.goes_on(20).await;
        }
    }

    /// Stops the writers and compares what they were told, what the log has, and what followers have seen.
    async fn check(self) {
        let (mut acknowledged, mut live, mut gaps, mut guarded) = (0, 0, 0, 0);
        let ends = self.writers.into_iter().zip(self.followers).zip(&self.sessions);
        for ((writer, (end, follower)), session) in ends {
            let written = writer.end().await;
            let stored = read_all(&*self.log, session).await;
            assert_eq!(stored, written, "I9 durable before acked, and stored once: {session}");
            end.send(written.last().unwrap().0).unwrap();
            let follower = follower.await.unwrap();
            let seen: Vec<_> = follower.seen.iter().map(|record| (record.offset, record.record.clone())).collect();
            assert_eq!(seen, written, "I2 contiguous: {session}");
            acknowledged += written.len();
            live += follower.live;
            gaps += follower.gaps;
            guarded += follower.found_by_guard;
        }
        println!("{acknowledged} acknowledged, {live} came live; {gaps} gaps seen by the chain, {guarded} by asking");
        assert!(live > 0, "tails are for what is live");
    }
}

/// Servers that have just come back are asked again.
async fn read_all(log: &dyn EventLog, session: &SessionKey) -> Vec<(Offset, Bytes)> {
    let (mut upto, mut records) = (Offset::NONE, Vec::new());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let page = match log.read(session, upto, 1000, 1 << 20).await {
            Ok(page) => page,
            Err(error @ ReadError::Unavailable(_)) => {
                assert!(Instant::now() < deadline, "{session} can be read again: {error:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error @ (ReadError::Trimmed { .. } | ReadError::Damaged { .. })) => panic!("{session}: {error}"),
        };
        records.extend(page.records.into_iter().map(|record| (record.offset, record.record)));
        upto = records.last().map_or(upto, |(offset, _)| *offset);
        if page.end {
            return records;
        }
    }
}

async fn info(nats: &Nats, stream: &str) -> Option<Info> {
    nats.api(&format!("STREAM.INFO.{stream}"), &()).await.ok()
}

/// Waits until the stream has a leader and two replicas that have all of it.
async fn whole(nats: &Nats, stream: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(cluster) = info(nats, stream).await.and_then(|info| info.cluster)
            && let Some(leader) = cluster.leader
            && cluster.replicas.len() == 2
            && cluster.replicas.iter().all(|replica| replica.current && !replica.offline)
        {
            return leader;
        }
        assert!(Instant::now() < deadline, "{stream} is whole again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has another server lead the stream. Asked again where the leader went before it was told.
async fn step_down(nats: &Nats, stream: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        whole(nats, stream).await;
        match nats.api::<Value>(&format!("STREAM.LEADER.STEPDOWN.{stream}"), &json!({})).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "the leader of {stream} steps down: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_missed_when_leaders_step_down_or_die() {
    let Some(mut cluster) = Cluster::start("leaders that step down or die").await else { return };
    let config = support::config(cluster.options(), 3);
    let traffic = Traffic::start(&config).await;
    let nats = Nats::connect(&cluster.options(), LIMITS).await.unwrap();
    let streams = [0, 1].map(|shard| format!("{}-log-{shard}", config.prefix));
    for round in 0..6 {
        traffic.goes_on().await;
        let stream = &streams[round % 2];
        step_down(&nats, stream).await;
    }
    for stream in &streams {
        traffic.goes_on().await;
        let leader = whole(&nats, stream).await;
        println!("killing {leader}, which leads {stream}");
        let server = cluster.servers.iter_mut().find(|server| server.name == leader).unwrap();
        server.kill();
        traffic.goes_on().await;
        server.start_again();
    }
    traffic.goes_on().await;
    traffic.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_only_server_is_killed() {
    let Some(mut server) = Server::start("a server that is killed", "") else { return };
    let traffic = Traffic::start(&support::config(server.options(), 1)).await;
    for _ in 0..3 {
        traffic.goes_on().await;
        server.kill();
        server.start_again();
    }
    traffic.goes_on().await;
    traffic.check().await;
}

/// A try whose answer is late may be stored: what the server says of the next one is no word on both.
#[tokio::test]
async fn an_append_that_may_be_stored_is_not_said_to_be_refused() {
    let Some(server) = Server::start("an append whose answer is late", "") else { return };
    let config = JetStreamLogConfig { append_try_ms_max: 300, ..support::config(server.options(), 1) };
    let log = support::log(&config).await;
    let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
    server.signal("-STOP");
    let append = log.append(&session, Bytes::from_static(b"record"), Expect::Empty, Some("id"));
    // By then the first try has been given up. The server reads it all the same, and finds that the next one expects too little.
    let go_on = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.signal("-CONT");
    };
    let (answer, ()) = tokio::join!(append, go_on);
    assert!(matches!(answer, Err(AppendError::Unknown(_))), "{answer:?}");
    assert_eq!(read_all(&*log, &session).await.len(), 1, "it is stored");
}
