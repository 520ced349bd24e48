//! The suite of every queue, on JetStream: on one server, and on three that replicate.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics is a test that fails")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};

use fanfold_nats::NatsOptions;
use fanfold_nats::testing::{Cluster, Server};
use fanfold_runs::jetstream::{QueueFinding, QueueReport, inspect};
use fanfold_runs::{Clock, Hint, JetStreamRunQueue, JetStreamRunQueueConfig, LeaseError, Offered, RunQueue, conformance};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[allow(clippy::disallowed_methods, reason = "a test's clock")]
fn clock() -> Arc<dyn Clock> {
    Arc::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// Streams that nobody else uses.
fn config(nats: NatsOptions, replicas: usize) -> JetStreamRunQueueConfig {
    JetStreamRunQueueConfig {
        nats,
        prefix: format!("t{}", uuid::Uuid::new_v4().simple()),
        replicas,
        hints_max: conformance::HINTS_MAX,
        letters_max: conformance::LETTERS_MAX,
        ack_wait_ms: 20_000,
        ..JetStreamRunQueueConfig::default()
    }
}

async fn queue(config: &JetStreamRunQueueConfig) -> Arc<dyn RunQueue> {
    fanfold_runs::jetstream::migrate(config).await.unwrap();
    Arc::new(JetStreamRunQueue::open(config, clock()).await.unwrap())
}

/// The server that is there for all, or one that ends with what is returned beside it.
fn server(what: &str) -> Option<(NatsOptions, Option<Server>)> {
    if let Ok(url) = std::env::var("FANFOLD_TEST_NATS") {
        return Some((NatsOptions { urls: vec![url], ..NatsOptions::default() }, None));
    }
    let server = Server::start(what, "")?;
    Some((server.options(), Some(server)))
}

async fn one_server() -> Option<(Arc<dyn RunQueue>, Option<Server>)> {
    let (options, server) = server("the queue's suite on a NATS server")?;
    Some((queue(&config(options, 1)).await, server))
}

fanfold_runs::conformance!(one_server);

/// All checks in one test, as a cluster takes its time to start; and side by side, as most of a check is waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_pass_every_check() {
    let Some(cluster) = Cluster::start("the queue's suite on three NATS servers").await else { return };
    let side_by_side = Arc::new(Semaphore::new(8));
    let on_all = || {
        let config = JetStreamRunQueueConfig { buckets: 4, ..config(cluster.options(), 3) };
        let side_by_side = Arc::clone(&side_by_side);
        async move {
            let permit = side_by_side.acquire_owned().await.unwrap();
            (ready_queue(&config).await, permit)
        }
    };
    let mut checks = JoinSet::new();
    fanfold_runs::conformance!(together checks, on_all());
    while let Some(check) = checks.join_next().await {
        println!("{} holds on three servers", check.unwrap());
    }
}

/// Once the servers have told each other of the new streams: a queue that takes a hint, gives it, and has looked into each bucket.
async fn ready_queue(config: &JetStreamRunQueueConfig) -> Arc<dyn RunQueue> {
    let queue = queue(config).await;
    let first = hint("first", "r");
    until(|| async { queue.offer(&first).await.ok() }).await;
    let lease = until(|| async { queue.take("w", LEASE, WAIT).await.ok().flatten() }).await;
    until(|| async { matches!(queue.done(lease.id).await, Ok(()) | Err(LeaseError::Lost)).then_some(()) }).await;
    until(|| async { queue.take("w", LEASE, Duration::ZERO).await.ok().filter(Option::is_none) }).await;
    queue
}

fn hint(session: &str, run: &str) -> Hint {
    let session = SessionKey::new(TenantId::default(), SessionId::new(session).unwrap());
    Hint::new(session, RunId::new(run).unwrap())
}

const LEASE: Duration = Duration::from_secs(3600);
const WAIT: Duration = Duration::from_secs(60);

/// Two handles are two nodes: what one holds the other doesn't get, and what one leaves behind in dying it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_the_queue() {
    let Some((options, _server)) = server("two nodes with one queue") else { return };
    // A server that soon takes a node for dead.
    let config = JetStreamRunQueueConfig { ack_wait_ms: 5_000, ..config(options, 1) };
    let (one, two) = (queue(&config).await, queue(&config).await);
    for run in ["r1", "r2", "r3"] {
        assert_eq!(one.offer(&hint("s", run)).await.unwrap(), Offered::Queued);
        assert_eq!(two.offer(&hint("s", run)).await.unwrap(), Offered::Known);
    }
    let first = one.take("w1", LEASE, WAIT).await.unwrap().unwrap();
    assert_eq!(first.hint, hint("s", "r1"));
    // Longer than the server waits for a node that is silent.
    assert_eq!(two.take("w2", LEASE, Duration::from_secs(10)).await.unwrap(), None, "one at a time, on whichever node");
    let cancelled = hint("s", "r3");
    two.withdraw(&cancelled.session, &cancelled.run, Some("cancelled")).await.unwrap();
    assert_eq!(one.dead_letters(None, 9).await.unwrap()[0].hint, cancelled, "held back by the other node, which can take it out");
    assert!(matches!(two.done(first.id).await, Err(LeaseError::Lost)), "a lease is its node's");
    let waiting = tokio::spawn(async move { (two.take("w2", LEASE, WAIT).await.unwrap().unwrap(), two) });
    one.done(first.id).await.unwrap();
    let (second, two) = waiting.await.unwrap();
    assert_eq!(second.hint, hint("s", "r2"));
    // A node that dies says nothing.
    drop(two);
    let again = one.take("w1", LEASE, WAIT).await.unwrap().unwrap();
    assert_eq!((again.hint, again.deliveries > 1), (hint("s", "r2"), true));
    one.bury(again.id, "why").await.unwrap();
    assert_eq!(one.dead_letters(None, 9).await.unwrap().len(), 2);
}

/// Hints outlive the server that leads them, and each is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_too_late_is_not_taken_for_the_next_ones() {
    let Some(server) = Server::start("a queue whose server hangs", "") else { return };
    let queue = queue(&JetStreamRunQueueConfig { buckets: 1, ..config(server.options(), 1) }).await;
    assert_eq!(queue.take("w", LEASE, Duration::ZERO).await.unwrap(), None);
    server.signal("-STOP");
    // The question is given up, and answered all the same when the server goes on.
    assert!(queue.take("w", LEASE, Duration::ZERO).await.is_err());
    server.signal("-CONT");
    until(|| async { queue.depth().await.ok() }).await;
    for run in ["r1", "r2", "r3"] {
        until(|| async { queue.offer(&hint("s", run)).await.ok() }).await;
        let lease = queue.take("w", LEASE, Duration::ZERO).await.unwrap().expect("found by the first look");
        assert_eq!(lease.hint, hint("s", run));
        queue.done(lease.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_takes_no_hint_with_it() {
    let Some(mut cluster) = Cluster::start("a queue on three NATS servers").await else { return };
    let config = JetStreamRunQueueConfig { buckets: 3, ..config(cluster.options(), 3) };
    let queue = queue(&config).await;
    for number in 0..20 {
        let hint = hint(&format!("s{}", number % 7), &format!("r{number}"));
        // The servers still tell each other of the new stream.
        until(|| async { queue.offer(&hint).await.ok() }).await;
    }
    let mut done = Vec::new();
    for number in 0..20 {
        if number == 5 {
            cluster.servers[0].kill();
        }
        if number == 12 {
            cluster.servers[0].start_again();
        }
        let lease = until(|| async { queue.take("w", LEASE, WAIT).await.ok().flatten() }).await;
        // Asked again where nobody knows; by then it may be gone.
        until(|| async { matches!(queue.done(lease.id).await, Ok(()) | Err(LeaseError::Lost)).then_some(()) }).await;
        done.push((lease.hint.session, lease.hint.run));
    }
    done.sort();
    done.dedup();
    assert_eq!(done.len(), 20, "each once");
    // The server that came back may not answer yet where it leads.
    assert_eq!(until(|| async { queue.take("w", LEASE, Duration::ZERO).await.ok() }).await, None);
    assert_eq!(until(|| async { queue.depth().await.ok() }).await, fanfold_runs::Depth::default());
}

async fn until<T, F: Future<Output = Option<T>>>(mut attempt: impl FnMut() -> F) -> T {
    let tried = async {
        loop {
            if let Some(outcome) = attempt().await {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WAIT, tried).await.expect("it works again")
}

/// What is shipped for users of the account, for a prefix of a test's own.
#[tokio::test]
async fn the_shipped_permissions_are_enough_for_the_queue_and_what_is_missing_is_named() {
    let shipped = include_str!("../../../deploy/nats/permissions.conf").replace("fanfold", "ff");
    let accounts = format!(
        "{shipped}\naccounts {{ FANFOLD {{ jetstream: enabled, users: [\n\
         {{ user: node, password: x, permissions: $NODE }}\n{{ user: migrate, password: x, permissions: $MIGRATE }}\n\
         {{ user: log, password: x, permissions: {{ publish: {{ deny: [\"ff.runs.>\", \"ff.dead.>\", \"ff.runs-notice.>\"] }}, \
         subscribe: {{ deny: [\"ff.runs-notice.>\"] }} }} }}\n] }} }}\n"
    );
    let Some(server) = Server::start("the queue with the shipped permissions", &accounts) else { return };
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "x").unwrap();
    let config = |user: &str| JetStreamRunQueueConfig {
        prefix: "ff".into(),
        buckets: 2,
        ..config(NatsOptions { user: Some(user.into()), password_file: Some(password.clone()), ..server.options() }, 1)
    };
    let report = inspect(&config("node")).await.unwrap();
    let missing = |finding: &QueueFinding| matches!(finding, QueueFinding::Missing { .. });
    assert!(report.findings.len() == 2 && report.findings.iter().all(missing), "{report:?}");
    fanfold_runs::jetstream::migrate(&config("migrate")).await.unwrap();
    let queue = JetStreamRunQueue::open(&config("node"), clock()).await.unwrap();
    assert_eq!(queue.offer(&hint("s", "r1")).await.unwrap(), Offered::Queued);
    let leased = queue.take("worker", LEASE, WAIT).await.unwrap().unwrap();
    queue.bury(leased.id, "why").await.unwrap();
    let report = inspect(&config("node")).await.unwrap();
    assert_eq!(report, QueueReport { hints: 0, letters: 1, findings: Vec::new() }, "what was tried is stored nowhere");
    let report = inspect(&config("log")).await.unwrap();
    for subject in ["ff.runs.0.", "ff.dead.", "ff.runs-notice."] {
        let named = |f: &QueueFinding| matches!(f, QueueFinding::MayNotPublish { subject: named } if named.starts_with(subject));
        assert!(report.findings.iter().any(named), "{subject}: {report:?}");
    }
    assert!(report.findings.iter().any(|f| matches!(f, QueueFinding::MayNotSubscribe { .. })), "{report:?}");
}
