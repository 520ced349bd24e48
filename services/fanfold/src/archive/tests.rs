//! One session on its way into the archive, after tries that came to no end: on an embedded log and store.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{
    Event, MessageAdded, MessageId, Offset, Part, Record, Role, Run, RunId, RunRequested, SessionErased, SessionId, SessionKey,
    SessionOpened, TenantId,
};
use fanfold_log::{Consumer as _, EmbeddedConsumer, EmbeddedLog, EmbeddedLogConfig, EventLog as _, Expect, Notice};
use fanfold_runs::{EmbeddedRunQueue, EmbeddedRunQueueConfig};
use fanfold_session::{Alone, Observer, Ports, SessionConfig, Sessions};
use fanfold_store::{
    Archive as _, ArchiveGap, EmbeddedStore, Eraser as _, Parked, Parking as _, SessionIndex as _, SessionRow, StoreError,
};
use rand::RngCore as _;
use tokio::time::Instant;

use super::config::ArchiveConfig;
use super::gather::{Gather, Pile};
use super::write::{Carrier, Failure, Folded, Writer};
use crate::erase::{EraseConfig, Erasures};
use crate::listings::Listings;
use crate::run::graves::Graves;

/// When everything was stored, by the log's clock.
const STORED_MS: u64 = 1_000_000;

#[derive(Default)]
struct Offered(Mutex<Vec<RunId>>);

impl Observer for Offered {
    fn run_changed(&self, _session: &SessionKey, run: &Run) {
        self.0.lock().unwrap().push(run.id.clone());
    }

    fn worked(&self, _session: &SessionKey, _run: &RunId) {}
}

struct Bench {
    _dir: tempfile::TempDir,
    session: SessionKey,
    log: Arc<EmbeddedLog>,
    consumer: EmbeddedConsumer,
    store: Arc<EmbeddedStore>,
    offered: Arc<Offered>,
    writer: Writer,
    /// As tools have one.
    carrier: Carrier,
}

fn log(dir: &Path) -> Arc<EmbeddedLog> {
    let config = EmbeddedLogConfig { dir: dir.join("log"), ..EmbeddedLogConfig::default() };
    Arc::new(EmbeddedLog::open(config, Arc::new(|| STORED_MS)).unwrap())
}

fn session() -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new("s").unwrap())
}

impl Bench {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(dir: tempfile::TempDir) -> Self {
        let log = log(dir.path());
        let store = Arc::new(EmbeddedStore::open(dir.path().join("store")).unwrap());
        let offered = Arc::new(Offered::default());
        let ports = Ports {
            log: log.clone(),
            snapshots: store.clone(),
            archive: store.clone(),
            contents: store.clone(),
            index: store.clone(),
            parking: store.clone(),
            codecs: Vec::new(),
            neighbours: Arc::new(Alone),
            observer: offered.clone(),
            clock: Arc::new(|| STORED_MS),
        };
        let sessions = Sessions::start(ports, SessionConfig::default()).await.unwrap();
        let queue = Arc::new(EmbeddedRunQueue::new(EmbeddedRunQueueConfig::default(), Arc::new(|| STORED_MS)));
        let graves = Arc::new(Graves::new(queue, None));
        let listings = Listings::new(store.clone(), false);
        let erasures = Erasures::new(log.clone(), store.clone(), listings, graves, None, EraseConfig::default());
        let archive = ArchiveConfig::default();
        Self {
            session: session(),
            consumer: log.consumer(100).unwrap(),
            writer: Writer::new(log.clone(), store.clone(), sessions.clone(), Arc::new(erasures), &archive),
            carrier: Carrier::new(log.clone(), store.clone(), sessions, &archive),
            _dir: dir,
            log,
            store,
            offered,
        }
    }

    async fn append(&self, event: impl Into<Event>) -> Offset {
        let record = Record { command: None, at_ms: STORED_MS, by: None, events: vec![event.into()] };
        self.log.append(&self.session, Bytes::from(record.encode()), Expect::Any, None).await.unwrap()
    }

    /// What is new, as another one may have noticed it before.
    async fn pile(&self, again: bool) -> Pile {
        let mut gather = Gather::new(&ArchiveConfig::default());
        for notice in self.consumer.take(100, Duration::ZERO).await.unwrap() {
            gather.add(Notice { again, ..notice }, Instant::now());
        }
        let later = Instant::now() + Duration::from_secs(3600);
        gather.due(later, STORED_MS, 1).remove(0)
    }

    async fn row(&self) -> Option<SessionRow> {
        self.store.row(&self.session).await.unwrap()
    }

    async fn archived(&self) -> Vec<Offset> {
        let records = self.store.records(&self.session, Offset::NONE, Offset(u64::MAX), 100).await.unwrap();
        records.into_iter().map(|(offset, ..)| offset).collect()
    }

    async fn park(&self) {
        let session = self.session.clone();
        let parked = Parked { session, attempts: 5, reason: "it kills its node".into(), parked_at_ms: 1 };
        self.store.park(&parked).await.unwrap();
    }
}

fn opened() -> SessionOpened {
    SessionOpened { title: Some("secret".into()), user: None }
}

fn message() -> MessageAdded {
    let (message, parts) = (MessageId::new("m").unwrap(), vec![Part::text("hi")]);
    MessageAdded { message, parent: None, role: Role::User, author: None, parts }
}

/// Without a row it would be taken for new once it has left the log.
#[tokio::test]
async fn a_session_that_nobody_can_load_has_a_row() {
    let bench = Bench::new().await;
    bench.park().await;
    let last = bench.append(opened()).await;
    bench.writer.write(&bench.pile(false).await).await.unwrap();
    assert_eq!(bench.row().await.map(|row| (row.offset, row.opened_at_ms)), Some((last, STORED_MS)));
}

/// Its segments were written, and then the store was away, or the node died.
#[tokio::test]
async fn a_session_whose_segments_are_there_gets_its_row() {
    for parked in [false, true] {
        let bench = Bench::new().await;
        let last = bench.append(opened()).await;
        bench.carrier.segments(&bench.session, Offset::NONE, Folded::Beside, 0).await.unwrap();
        assert_eq!((bench.archived().await, bench.row().await), (vec![last], None));
        if parked {
            bench.park().await;
        }
        bench.writer.write(&bench.pile(false).await).await.unwrap();
        assert_eq!(bench.row().await.map(|row| row.offset), Some(last), "parked: {parked}");
    }
    // The same where a tool's try came to no end.
    let bench = Bench::new().await;
    let last = bench.append(opened()).await;
    bench.carrier.segments(&bench.session, Offset::NONE, Folded::Beside, 0).await.unwrap();
    bench.carrier.carry(&bench.session).await.unwrap();
    assert_eq!(bench.row().await.map(|row| (row.offset, row.active_at_ms)), Some((last, STORED_MS)));
}

/// I8: the row is from before the run was asked for, and whoever archived that offered nothing.
#[tokio::test]
async fn a_run_that_only_the_log_knows_of_is_offered_by_the_next_try() {
    let bench = Bench::new().await;
    bench.append(opened()).await;
    bench.carrier.carry(&bench.session).await.unwrap();
    let (run, reply) = (RunId::new("r").unwrap(), MessageId::new("a").unwrap());
    let asked = RunRequested { run, reply, prompt: MessageId::new("m").unwrap(), model: None, interrupt: false, attempts_max: 0 };
    bench.append(message()).await;
    bench.append(asked).await;
    bench.carrier.carry(&bench.session).await.unwrap();
    let pile = bench.pile(true).await;
    bench.writer.write(&pile).await.unwrap();
    assert_eq!(*bench.offered.0.lock().unwrap(), [RunId::new("r").unwrap()]);
}

/// A tool carries what the log has into the archive, and then the log lets go of it.
#[tokio::test]
async fn a_session_that_was_erased_is_carried_nowhere() {
    for archived in [false, true] {
        let bench = Bench::new().await;
        bench.append(opened()).await;
        if archived {
            bench.carrier.carry(&bench.session).await.unwrap();
        }
        let at = bench.append(SessionErased {}).await;
        bench.carrier.carry(&bench.session).await.unwrap();
        let row = bench.row().await.unwrap();
        assert_eq!((row.status.as_str(), row.offset, row.title), ("erased", at, None));
        assert_eq!(bench.archived().await, []);
        assert!(bench.store.is_erasing(&bench.session).await.unwrap(), "nodes finish it");
    }
}

/// Changes a byte of what is stored, if it is in tables already.
fn damage(dir: &Path, stored: &[u8]) -> usize {
    let mut changed = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            changed += damage(&path, stored);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(stored.len()).position(|window| window == stored) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            changed += 1;
        }
    }
    changed
}

/// Otherwise the log would let go of nothing any more, until it takes nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_given_up_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let mut middle = Vec::new();
    for n in 1..=20 {
        // So large that not all are stored together, and not made smaller.
        let mut noise = vec![0; 40_000];
        rand::rng().fill_bytes(&mut noise);
        if n == 10 {
            middle = noise[20_000..20_040].to_vec();
        }
        log.append(&session(), Bytes::from(noise), Expect::Any, None).await.unwrap();
    }
    log.compact().await.unwrap();
    log.close().await;
    drop(log);
    assert_eq!(damage(dir.path(), &middle), 1);
    let bench = Bench::at(dir).await;
    let mut pile = bench.pile(true).await;
    assert_eq!(pile.tickets.len(), 20);
    // It may have been read wrongly.
    assert!(matches!(bench.writer.write(&pile).await, Err(Failure::Session(_))));
    pile.failed = 3;
    bench.writer.write(&pile).await.unwrap();
    let mut readable = Vec::new();
    for n in 1..=20 {
        let page = bench.log.read(&bench.session, Offset(n - 1), 1, 1 << 20).await;
        readable
            .extend(page.ok().and_then(|page| page.records.first().map(|record| record.offset.0)).filter(|found| *found == n));
    }
    let given_up = (1..=20).filter(|n| !readable.contains(n)).collect::<Vec<_>>();
    let (first, last) = (*given_up.first().unwrap(), *given_up.last().unwrap());
    assert!((2..=10).contains(&first) && (10..20).contains(&last), "{given_up:?}");
    let archived = async |after| bench.store.records(&bench.session, Offset(after), Offset(u64::MAX), 100).await;
    let offsets = |records: Vec<(Offset, u64, Bytes)>| records.into_iter().map(|(offset, ..)| offset.0).collect::<Vec<_>>();
    assert_eq!(offsets(archived(0).await.unwrap()), (1..first).collect::<Vec<_>>());
    let gap = archived(first - 1).await.unwrap_err();
    assert!(matches!(&gap, StoreError::Unavailable(cause) if cause.is::<ArchiveGap>()), "I2 contiguous: {gap:?}");
    assert_eq!(offsets(archived(last).await.unwrap()), (last + 1..=20).collect::<Vec<_>>(), "nothing besides is given up");
    assert!(bench.row().await.is_some());
    bench.consumer.done(pile.tickets).await.unwrap();
    bench.consumer.trim(u64::MAX >> 20).await.unwrap();
    assert_eq!((bench.consumer.lag().await.unwrap().records, bench.consumer.lag().await.unwrap().fullness), (0, 0.0));
}
