//! A node that lags behind the others takes a hint: on an embedded log whose tail brings nothing.

use std::path::Path;

use bytes::Bytes;
use fanfold_fold::{Epoch, Event, MessageAdded, Part, Record, Role, RunRequested, SessionId, SessionOpened};
use fanfold_log::{AppendError, EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, Page, ReadError, Tail, Wake};
use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig};
use fanfold_session::{Alone, Ports, SessionConfig};
use fanfold_store::EmbeddedStore;
use tokio::time::Instant;

use super::*;
use crate::config::RunLimits;
use crate::run::Patience;
use crate::run::budget::Budget;
use crate::run::graves::Graves;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Nobody takes anything for lost here.
const PATIENCE: Patience = Patience { silence_max: Duration::from_secs(3600), queued_max: Duration::from_secs(3600) };

/// Tails hear of nothing, as where delivery is at most once and this time it wasn't.
struct Deaf(Arc<EmbeddedLog>);

#[async_trait::async_trait]
impl EventLog for Deaf {
    fn epoch(&self, session: &SessionKey) -> Epoch {
        self.0.epoch(session)
    }

    async fn append(&self, session: &SessionKey, record: Bytes, expect: Expect, id: Option<&str>) -> Result<Offset, AppendError> {
        self.0.append(session, record, expect, id).await
    }

    async fn last(&self, session: &SessionKey) -> Result<Offset, ReadError> {
        self.0.last(session).await
    }

    async fn must_have(&self, session: &SessionKey, offset: Offset) -> Result<(), ReadError> {
        self.0.must_have(session, offset).await
    }

    async fn read(&self, session: &SessionKey, after: Offset, records_max: usize, bytes_max: usize) -> Result<Page, ReadError> {
        self.0.read(session, after, records_max, bytes_max).await
    }

    async fn tail(&self, _session: &SessionKey, wake: Wake) -> Result<Tail, ReadError> {
        Ok(Tail::new(wake, |sender| Box::new(sender)))
    }

    async fn trim(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        self.0.trim(session, upto).await
    }

    async fn erase(&self, session: &SessionKey, at: Offset) -> Result<(), ReadError> {
        self.0.erase(session, at).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// A node's desk, and the log that others write to.
struct Bench {
    log: Arc<EmbeddedLog>,
    queue: Arc<EmbeddedRunQueue>,
    desk: Arc<Desk>,
}

impl Bench {
    async fn new(dir: &Path) -> Self {
        let config = EmbeddedLogConfig { dir: dir.join("log"), ..EmbeddedLogConfig::default() };
        let log = Arc::new(EmbeddedLog::open(config, Arc::new(|| 1)).unwrap());
        let store = Arc::new(EmbeddedStore::open(dir.join("store")).unwrap());
        let queue = Arc::new(EmbeddedRunQueue::new(EmbeddedRunQueueConfig::default(), Arc::new(|| 1)));
        let graves = Arc::new(Graves::new(queue.clone(), None));
        let budget = Arc::new(Budget::open("n".into(), RunLimits::default(), store.clone()).await.unwrap());
        let keeper = Keeper::new(queue.clone(), graves, budget, None, PATIENCE);
        let ports = Ports {
            log: Arc::new(Deaf(Arc::clone(&log))),
            snapshots: store.clone(),
            archive: store.clone(),
            contents: store.clone(),
            index: store.clone(),
            parking: store,
            codecs: Vec::new(),
            neighbours: Arc::new(Alone),
            observer: keeper.clone(),
            clock: Arc::new(|| 1),
        };
        let sessions = Sessions::start(ports, SessionConfig::default()).await.unwrap();
        let desk = Desk::new("n".into(), sessions, queue.clone(), keeper);
        Self { log, queue, desk }
    }

    /// As another node does.
    async fn append(&self, session: &SessionKey, events: Vec<Event>) {
        let record = Record { command: None, at_ms: 1, by: None, events };
        self.log.append(session, Bytes::from(record.encode()), Expect::Any, None).await.unwrap();
    }

    async fn hints(&self) -> usize {
        let depth = self.queue.depth().await.unwrap();
        depth.waiting + depth.delayed + depth.leased
    }
}

fn asked(run: &RunId) -> Vec<Event> {
    let message = MessageAdded {
        message: "m".parse().unwrap(),
        parent: None,
        role: Role::User,
        author: None,
        parts: vec![Part::text("hi")],
    };
    let requested = RunRequested {
        run: run.clone(),
        prompt: "m".parse().unwrap(),
        reply: "a".parse().unwrap(),
        model: None,
        attempts_max: 3,
        interrupt: false,
    };
    vec![message.into(), requested.into()]
}

#[tokio::test]
async fn a_hint_of_a_run_that_this_node_has_not_heard_of_yet_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path()).await;
    let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
    let run: RunId = "r".parse().unwrap();
    bench.append(&session, vec![SessionOpened::default().into()]).await;
    // It is in this node's memory, and then another node asks for a run.
    let looked = bench.desk.sessions.look(&session, Offset::NONE, usize::MAX).await.unwrap();
    bench.append(&session, asked(&run)).await;
    let stale = bench.desk.sessions.look(&session, Offset::NONE, usize::MAX).await.unwrap();
    assert_eq!(stale.offset, looked.offset, "it has not heard of that");
    bench.queue.offer(&Hint::new(session.clone(), run.clone())).await.unwrap();
    tokio::spawn(Arc::clone(&bench.desk).serve());
    let taken = bench.desk.take(Taker::Inner, DEADLINE).await.unwrap().expect("the run that was asked for");
    assert_eq!((&taken.run.id, taken.run.status), (&run, RunStatus::Queued));
}

#[tokio::test]
async fn a_hint_of_a_run_that_the_log_does_not_have_goes() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path()).await;
    let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
    bench.append(&session, vec![SessionOpened::default().into()]).await;
    bench.queue.offer(&Hint::new(session, "never".parse().unwrap())).await.unwrap();
    tokio::spawn(Arc::clone(&bench.desk).serve());
    let desk = Arc::clone(&bench.desk);
    let taking = tokio::spawn(async move { desk.take(Taker::Inner, DEADLINE).await });
    let deadline = Instant::now() + DEADLINE;
    while bench.hints().await > 0 {
        assert!(Instant::now() < deadline && !taking.is_finished(), "nobody gets it, and it goes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
