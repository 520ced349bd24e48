//! What readers are told of rows that are missing, damaged or late on a CQL server; and how the recovery ladder is walked down.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{
    Archive, Eraser, Erasure, LogEpoch, ScyllaConfig, ScyllaError, ScyllaServer, ScyllaStore, Segment, SessionIndex,
    SessionQuery, SessionRow, Snapshot, SnapshotStore, StoreError,
};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

const FOLD: FoldVersion = FoldVersion(3);
const LAST: Offset = Offset(u64::MAX);

/// A way past the store.
async fn raw(config: &ScyllaConfig) -> Session {
    let builder = SessionBuilder::new().known_nodes(&config.nodes).use_keyspace(&config.keyspace, false);
    builder.default_execution_profile_handle(support::patient()).build().await.unwrap()
}

/// A session of its own on the one server, and a way past the store.
struct Bench {
    store: Arc<ScyllaStore>,
    raw: Session,
    session: SessionKey,
    epoch: Epoch,
}

impl Bench {
    async fn new() -> Option<Self> {
        let config = support::shared("damage to a store on CQL").await?;
        let raw = raw(&config).await;
        let tenant = TenantId::new(&uuid::Uuid::new_v4().simple().to_string()).unwrap();
        let session = SessionKey::new(tenant, SessionId::new("s").unwrap());
        let store = Arc::new(ScyllaStore::open(&config).await.unwrap());
        Some(Self { store, raw, session, epoch: Epoch(uuid::Uuid::new_v4()) })
    }

    /// Runs a statement about this session's tenant: `$T` stands for it.
    async fn run(&self, text: &str) {
        let text = text.replace("$T", &format!("tenant = '{}' AND session = 's'", self.session.tenant));
        self.raw.query_unpaged(text, ()).await.unwrap();
    }

    /// The one cell of a table's partition, through `damage`, put back.
    async fn alter(&self, table: &str, key: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let filter = format!("tenant = '{}' AND session = 's' AND {key}", self.session.tenant);
        let rows = self.raw.query_unpaged(format!("SELECT content FROM {table} WHERE {filter}"), ()).await.unwrap();
        let (mut content,) = rows.into_rows_result().unwrap().first_row::<(Vec<u8>,)>().unwrap();
        damage(&mut content);
        self.raw.query_unpaged(format!("UPDATE {table} SET content = ? WHERE {filter}"), (content,)).await.unwrap();
    }

    fn snapshot(&self, offset: u64) -> Snapshot {
        let state = Bytes::from(format!("the state at {offset} ").repeat(40_000));
        Snapshot { epoch: self.epoch, fold: FOLD, offset: Offset(offset), state }
    }

    async fn newest(&self) -> Option<u64> {
        let found = self.store.newest(&self.session, self.epoch, FOLD, LAST).await.unwrap();
        found.map(|found| {
            assert!(found == self.snapshot(found.offset.0), "what is returned is whole");
            found.offset.0
        })
    }

    async fn put_records(&self, from: u64, upto: u64) {
        let segment = Segment::new(self.epoch, Offset(from - 1), (from..=upto).map(record).collect()).unwrap();
        self.store.put_segment(&self.session, &segment).await.unwrap();
    }

    async fn records(&self, after: u64) -> Result<Vec<u64>, StoreError> {
        let records = self.store.records(&self.session, Offset(after), LAST, 1000).await?;
        assert!(records.iter().all(|found| *found == record(found.0.0)));
        Ok(records.into_iter().map(|(offset, ..)| offset.0).collect())
    }
}

fn record(offset: u64) -> (Offset, u64, Bytes) {
    (Offset(offset), 1_773_000_000_000 + offset, Bytes::from(format!("record {offset}")))
}

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::Unavailable(_)) => true,
        Err(StoreError::TooLarge { .. } | StoreError::Overloaded) | Ok(_) => false,
    }
}

#[tokio::test]
async fn the_recovery_ladder_is_walked_down() {
    let Some(bench) = Bench::new().await else { return };
    bench.put_records(1, 20).await;
    bench.put_records(21, 60).await;
    for offset in [10, 20, 30, 40, 50] {
        bench.store.put(&bench.session, &bench.snapshot(offset)).await.unwrap();
    }
    assert_eq!(bench.newest().await, Some(50));
    let chunk =
        |offset: u64, chunk: u32| format!("epoch = {} AND at_offset = {offset} AND fold = 3 AND chunk = {chunk}", bench.epoch.0);
    let row =
        |offset: u64, stage: u8| format!("at_offset = {offset} AND epoch = {} AND fold = 3 AND stage = {stage}", bench.epoch.0);
    // A chunk is missing.
    bench.run(&format!("DELETE FROM snapshot_chunks WHERE $T AND {}", chunk(50, 1))).await;
    assert_eq!(bench.newest().await, Some(40));
    // The last chunk is missing.
    bench.run(&format!("DELETE FROM snapshot_chunks WHERE $T AND {}", chunk(40, 2))).await;
    assert_eq!(bench.newest().await, Some(30));
    // A bit is flipped in a chunk.
    bench.alter("snapshot_chunks", &chunk(30, 1), |content| content[100_000] ^= 0x10).await;
    assert_eq!(bench.newest().await, Some(20));
    // A bit is flipped in the row that says which chunks there are.
    bench.alter("snapshots", &row(20, 2), |content| content[9] ^= 1).await;
    assert_eq!(bench.newest().await, Some(10));
    // The writer died before the last row.
    bench.run(&format!("DELETE FROM snapshots WHERE $T AND {}", row(10, 2))).await;
    assert_eq!(bench.newest().await, None);
    // What is left is the archive, from the beginning.
    assert_eq!(bench.records(0).await.unwrap(), (1..=60).collect::<Vec<_>>());
    // Put again, it is whole again.
    bench.store.put(&bench.session, &bench.snapshot(50)).await.unwrap();
    assert_eq!(bench.newest().await, Some(50));
}

/// Two builds of one fold version that don't agree would each be right by their own chunks.
#[tokio::test]
async fn chunks_of_two_writers_are_no_state() {
    let Some(bench) = Bench::new().await else { return };
    let (mut other, ours) = (bench.snapshot(20), bench.snapshot(20));
    bench.store.put(&bench.session, &bench.snapshot(10)).await.unwrap();
    other.state = Bytes::from(vec![7; ours.state.len()]);
    bench.store.put(&bench.session, &other).await.unwrap();
    let filter = format!("epoch = {} AND at_offset = 20 AND fold = 3 AND chunk = 1", bench.epoch.0);
    let mut theirs = Vec::new();
    bench.alter("snapshot_chunks", &filter, |content| theirs.clone_from(content)).await;
    bench.store.put(&bench.session, &ours).await.unwrap();
    assert_eq!(bench.newest().await, Some(20));
    bench.alter("snapshot_chunks", &filter, |content| *content = theirs).await;
    assert_eq!(bench.newest().await, Some(10), "its chunk's own checksum holds, that of the whole doesn't");
}

/// It writes rows of its own, below or beside those that are newer.
#[tokio::test]
async fn a_stale_writer_is_fenced_by_its_key() {
    let Some(bench) = Bench::new().await else { return };
    for offset in [70, 80, 90] {
        bench.store.put(&bench.session, &bench.snapshot(offset)).await.unwrap();
    }
    bench.store.prune(&bench.session, 2).await.unwrap();
    let stale = [(bench.epoch, FOLD, 60), (bench.epoch, FoldVersion(2), 95), (Epoch(uuid::Uuid::new_v4()), FOLD, 99)];
    for (epoch, fold, offset) in stale {
        let snapshot = Snapshot { epoch, fold, offset: Offset(offset), state: Bytes::from("stale") };
        bench.store.put(&bench.session, &snapshot).await.unwrap();
    }
    assert_eq!(bench.newest().await, Some(90));
    let chunks = format!("SELECT chunk FROM snapshot_chunks WHERE tenant = '{}' AND session = 's'", bench.session.tenant);
    let below = format!("{chunks} AND epoch = {} AND at_offset = 60 AND fold = 3", bench.epoch.0);
    let left = bench.raw.query_unpaged(below, ()).await.unwrap().into_rows_result().unwrap().rows_num();
    assert_eq!(left, 0, "below what is kept nothing is left over");
    bench.put_records(1, 9).await;
    bench.put_records(4, 6).await;
    bench.put_records(2, 9).await;
    assert_eq!(bench.records(0).await.unwrap(), (1..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_that_is_missing_or_damaged_is_a_gap_unless_another_cut_has_its_records() {
    let Some(bench) = Bench::new().await else { return };
    for (from, upto) in [(1, 4), (5, 8), (9, 12)] {
        bench.put_records(from, upto).await;
    }
    let partition = format!("epoch = {} AND month = 202603", bench.epoch.0);
    bench.run(&format!("DELETE FROM segments WHERE $T AND {partition} AND first_offset = 5")).await;
    assert_eq!(bench.records(0).await.unwrap(), [1, 2, 3, 4]);
    assert!(is_unavailable(bench.records(4).await), "I2 contiguous: never passed over");
    assert_eq!(bench.records(8).await.unwrap(), [9, 10, 11, 12]);
    bench.put_records(3, 9).await;
    assert_eq!(bench.records(0).await.unwrap(), (1..=12).collect::<Vec<_>>(), "another cut has its records");
    let rows = format!("SELECT last_offset, digest FROM segments WHERE tenant = '{}' AND session = 's'", bench.session.tenant);
    let rows = bench.raw.query_unpaged(format!("{rows} AND {partition} AND first_offset = 9"), ()).await.unwrap();
    let (_, digest) = rows.into_rows_result().unwrap().first_row::<(scylla::value::CqlVarint, uuid::Uuid)>().unwrap();
    let last = format!("{partition} AND first_offset = 9 AND last_offset = 12 AND digest = {digest}");
    bench.alter("segments", &last, |content| content[20] ^= 1).await;
    assert_eq!(bench.records(0).await.unwrap(), (1..=9).collect::<Vec<_>>());
    assert!(is_unavailable(bench.records(9).await), "the last one is known by the index");
}

/// Its writer died between the row of the index and the records; or is at this very moment between them.
#[tokio::test]
async fn a_segment_whose_writer_did_not_come_to_its_end_is_in_nobodys_way() {
    let Some(bench) = Bench::new().await else { return };
    let partition = format!("epoch = {} AND month = 202603", bench.epoch.0);
    let half = async |from, upto| {
        bench.put_records(from, upto).await;
        bench.run(&format!("DELETE FROM segments WHERE $T AND {partition} AND first_offset = {from}")).await;
    };
    half(1, 6).await;
    assert_eq!(bench.store.last(&bench.session).await.unwrap(), Offset::NONE, "it is to be written again");
    bench.put_records(1, 4).await;
    half(5, 9).await;
    assert_eq!(bench.store.last(&bench.session).await.unwrap(), Offset(4));
    let page = bench.store.records(&bench.session, Offset(2), Offset(4), 1000).await.unwrap();
    assert_eq!(page.len(), 2);
    let nothing = bench.store.records(&bench.session, Offset::NONE, Offset::NONE, 1000).await.unwrap();
    assert_eq!(nothing, []);
    half(20, 29).await;
    // Other sessions' records lie between.
    let page = bench.store.records(&bench.session, Offset(4), Offset(4), 1000).await.unwrap();
    assert_eq!(page, []);
    bench.put_records(5, 12).await;
    let page = bench.store.records(&bench.session, Offset(12), Offset(15), 1000).await.unwrap();
    assert_eq!(page, [], "what begins behind what was asked for proves nothing");
    assert!(is_unavailable(bench.records(12).await), "I2 contiguous: what begins within is missed");
}

#[tokio::test]
async fn a_damaged_row_is_never_absent_and_spoils_no_list() {
    let Some(bench) = Bench::new().await else { return };
    let row = |id: &str, offset, active_at_ms| SessionRow {
        key: SessionKey::new(bench.session.tenant.clone(), SessionId::new(id).unwrap()),
        user: Some("ann".into()),
        title: None,
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms,
        open_runs: 0,
        offset: Offset(offset),
    };
    bench.store.put_row(&row("s", 5, 50)).await.unwrap();
    bench.store.put_row(&row("t", 5, 60)).await.unwrap();
    bench.alter("sessions", "at_offset = 5 AND active_at_ms = 50", |content| content[20] ^= 1).await;
    assert!(is_unavailable(bench.store.row(&bench.session).await));
    let query = SessionQuery::new(bench.session.tenant.clone(), 9);
    assert_eq!(bench.store.list(&query).await.unwrap().rows, [row("t", 5, 60)]);
    bench.store.put_row(&row("s", 6, 70)).await.unwrap();
    assert_eq!(bench.store.list(&query).await.unwrap().rows, [row("s", 6, 70), row("t", 5, 60)]);
}

#[tokio::test]
async fn a_keyspace_that_does_not_fit_is_not_opened() {
    let Some(address) = support::told("FANFOLD_TEST_CQL", "migrations") else { return };
    let config = support::config(&address, "v");
    assert!(matches!(ScyllaStore::open(&config).await, Err(ScyllaError::NotMigrated(_))));
    let migrated = ScyllaStore::migrate(&config).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (0, 2));
    ScyllaStore::open(&config).await.unwrap();
    let raw = raw(&config).await;
    // As the first release left it.
    raw.query_unpaged("DELETE FROM schema_steps WHERE part = 'store' AND version = 2", ()).await.unwrap();
    raw.query_unpaged("DROP TABLE session_words", ()).await.unwrap();
    assert!(matches!(ScyllaStore::open(&config).await, Err(ScyllaError::Schema { found: 1, needed: 2 })));
    let migrated = ScyllaStore::migrate(&config).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (1, 2), "what it lacks is added");
    ScyllaStore::open(&config).await.unwrap();
    raw.query_unpaged("INSERT INTO schema_steps (part, version) VALUES ('store', 7)", ()).await.unwrap();
    ScyllaStore::open(&config).await.map(drop).expect("a later build's steps leave what this one uses");
    assert_eq!(ScyllaStore::migrate(&config).await.unwrap().to, 7, "nothing is taken back");
    raw.query_unpaged("DELETE FROM schema_steps WHERE part = 'store'", ()).await.unwrap();
    raw.query_unpaged("INSERT INTO schema_steps (part, version) VALUES ('store', 0)", ()).await.unwrap();
    assert!(matches!(ScyllaStore::open(&config).await, Err(ScyllaError::Schema { found: 0, needed: 2 })));
    raw.query_unpaged(format!("DROP KEYSPACE {}", config.keyspace), ()).await.unwrap();
}

/// A server with such a clock wrote text that no removal reaches yet.
#[tokio::test]
async fn an_erasure_is_not_done_while_a_clock_that_is_ahead_keeps_rows() {
    let Some(bench) = Bench::new().await else { return };
    bench.store.put(&bench.session, &bench.snapshot(5)).await.unwrap();
    bench.put_records(1, 5).await;
    let ahead_us = (now_ms() + 30_000) * 1_000;
    let partition = format!("epoch = {} AND at_offset = 5 AND fold = 3 AND chunk = 1", bench.epoch.0);
    bench.run(&format!("UPDATE snapshot_chunks USING TIMESTAMP {ahead_us} SET content = 0x01 WHERE $T AND {partition}")).await;
    let erasure = Erasure { session: bench.session.clone(), offset: Offset(6), erased_at_ms: 6 };
    bench.store.erase(&erasure).await.unwrap();
    assert!(is_unavailable(bench.store.erase_done(&bench.session).await), "a row is left");
    let undone = async || bench.store.erasures(None, usize::MAX).await.unwrap().contains(&erasure);
    assert!(undone().await, "somebody goes on with it");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while bench.store.erase_done(&bench.session).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "it is done when the clocks have come that far");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!undone().await);
}

/// Not even those of titles that it had before, that a late writer brings, or that were written by a server whose clock is ahead.
#[tokio::test]
async fn words_of_an_erased_session_are_nowhere() {
    let Some(bench) = Bench::new().await else { return };
    let titled = |title: &str, offset| SessionRow {
        key: bench.session.clone(),
        user: Some("ann".into()),
        title: Some(title.into()),
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms: offset,
        open_runs: 0,
        offset: Offset(offset),
    };
    let words = async || {
        let text = format!("SELECT word FROM session_words WHERE tenant = '{}' ALLOW FILTERING", bench.session.tenant);
        let rows = bench.raw.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        rows.rows::<(String,)>().unwrap().map(|row| row.unwrap().0).collect::<std::collections::BTreeSet<_>>()
    };
    let tenant = bench.session.tenant.as_str();
    let parts = async || {
        let text = format!("SELECT list, part, word FROM session_words WHERE tenant = '{tenant}' ALLOW FILTERING");
        let rows = bench.raw.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        rows.rows::<(uuid::Uuid, i32, String)>().unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let put_ahead = async |list: uuid::Uuid, part: i32, word: &str| {
        let ahead_us = (now_ms() + 3_600_000) * 1_000;
        let text = "INSERT INTO session_words (tenant, list, head, part, word, session) VALUES (?, ?, ?, ?, ?, 's')";
        let text = format!("{text} USING TIMESTAMP {ahead_us}");
        bench.raw.query_unpaged(text, (tenant, list, &word[..1], part, word)).await.unwrap();
    };
    for (title, offset) in [("first secret", 1), ("second secret", 2), ("second secret", 3)] {
        bench.store.put_row(&titled(title, offset)).await.unwrap();
    }
    assert_eq!(words().await, ["first", "s", "second", "secret"].map(String::from).into());
    let places = parts().await;
    for (list, part, word) in &places {
        put_ahead(*list, *part, word).await;
    }
    bench.store.erase(&Erasure { session: bench.session.clone(), offset: Offset(6), erased_at_ms: 6 }).await.unwrap();
    assert_eq!(words().await, [].into());
    for (list, part, _) in &places {
        put_ahead(*list, *part, "late").await;
    }
    assert_eq!(words().await, ["late".to_owned()].into());
    for offset in [4, 7] {
        bench.store.put_row(&titled("late secret", offset)).await.unwrap();
        assert_eq!(words().await, [].into());
    }
    bench.store.erase_done(&bench.session).await.unwrap();
    assert_eq!(words().await, [].into());
}

#[tokio::test]
async fn epochs_of_the_log_are_remembered() {
    let Some(bench) = Bench::new().await else { return };
    // Random, as the server is shared.
    let shard = bench.epoch.0.as_fields().0;
    assert_eq!(bench.store.epochs(shard).await.unwrap(), []);
    let epoch =
        |first| LogEpoch { shard, epoch: Epoch(uuid::Uuid::from_u128(first)), first: Offset(first as u64), begun_at_ms: 7 };
    for first in [5, 1 << 40, 900, 5] {
        bench.store.put_epoch(&epoch(first)).await.unwrap();
    }
    assert_eq!(bench.store.epochs(shard).await.unwrap(), [epoch(1 << 40), epoch(900), epoch(5)]);
}

/// What the clock says is the doctor's caller's business.
#[allow(clippy::disallowed_methods, reason = "a node's own clock, for the comparison")]
fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn the_doctor_says_what_is_missing_or_dangerous() {
    let Some(config) = support::shared("the doctor of CQL servers").await else { return };
    let says = async |config: &ScyllaConfig, ahead_ms: u64| {
        let report = ScyllaStore::doctor(config, || now_ms() + ahead_ms).await.unwrap();
        let text = report.findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>().join("; ");
        (report, text)
    };
    let (report, text) = says(&config, 0).await;
    assert_eq!((report.schema_found, report.schema_needed), (Some(2), 2));
    assert!(report.schema_agreed && report.consistency_reached, "{report:?}");
    // One that answers late is not one whose clock is wrong.
    let is_sound =
        |server: &ScyllaServer| server.version.is_some() && server.clock_ahead_ms.unwrap().abs() < 500 + server.clock_unsure_ms;
    assert!(report.servers.iter().all(is_sound), "{report:?}");
    assert!(text.starts_with("one copy in"), "all that is wrong with a server for tests: {text}");
    assert_eq!(report.findings.len(), 1, "{text}");
    let (_, text) = says(&config, 60_000).await;
    assert!(text.contains("ms ahead of this node's"), "{text}");
    let (report, text) = says(&ScyllaConfig { keyspace: "never_made".into(), ..config.clone() }, 0).await;
    assert!(report.schema_found.is_none() && text.contains("never_made has not been migrated"), "{text}");
    let elsewhere = ScyllaConfig { datacenter: "elsewhere".into(), ..config };
    let text = ScyllaStore::doctor(&elsewhere, now_ms).await.map(|report| format!("{report:?}"));
    assert!(text.as_ref().is_ok_and(|text| text.contains("no server is in the data centre elsewhere")), "{text:?}");
}
