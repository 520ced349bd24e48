//! Damages the files of an embedded store in every way a disk can, and looks whether anybody is told.
//!
//! The rule: after any damage, `open` refuses, or what is read is what was put, or reading it is an error. A snapshot may be an older
//! one, and the archive may end earlier, for the log has what followed or begins above it. Where a journal was damaged, rows may be as
//! they were earlier, too. Yet the archive is whole up to where it ends, and no value is ever another than one that was put.
//!
//! `FANFOLD_DAMAGE_CASES` sets the number of random cases, `FANFOLD_SEED` replays them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics is a test that fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfold_fjall::damage::{self, Case, files};
use fanfold_fold::{Epoch, FoldVersion, Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{
    Archive, EmbeddedStore, EmbeddedStoreConfig, OpenError, Segment, SessionIndex, SessionPage, SessionQuery, SessionRow,
    Snapshot, SnapshotStore, StoreError,
};

const SESSIONS: usize = 4;
const CASES: usize = 100;
const EPOCH: Epoch = Epoch(uuid::Uuid::from_u128(9));
const FOLD: FoldVersion = FoldVersion(1);
const LAST: Offset = Offset(u64::MAX);

const CHILD_DIR: &str = "FANFOLD_DAMAGE_CHILD_DIR";
const CHILD_UPTO: &str = "FANFOLD_DAMAGE_CHILD_UPTO";
const CHILD_JOURNAL: &str = "FANFOLD_DAMAGE_CHILD_JOURNAL";

/// A closed store with values in tables and in a journal: every session up to this offset.
struct Template {
    dir: tempfile::TempDir,
    upto: u64,
}

/// What became of a damaged store.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    errors: usize,
    unharmed: usize,
    /// As it was earlier, and the log has the rest.
    older: usize,
    /// The process died: loud, too.
    aborted: usize,
}

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

fn open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_with(&EmbeddedStoreConfig { dir: dir.into(), memtable_bytes_max: 16 << 10, ..Default::default() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Some are large, and stand in files of their own.
fn snapshot(number: usize, offset: u64) -> Snapshot {
    let state = format!("{number}/{offset} ").repeat(if offset.is_multiple_of(7) { 3000 } else { 30 });
    Snapshot { epoch: EPOCH, fold: FOLD, offset: Offset(offset), state: state.into() }
}

fn record(number: usize, offset: u64) -> (Offset, u64, Bytes) {
    (Offset(offset), offset, Bytes::from(format!("record {offset} of {number} ").repeat(5)))
}

fn row(number: usize, offset: u64) -> SessionRow {
    SessionRow {
        key: session(number),
        user: Some("ann".into()),
        title: Some(format!("at {offset}")),
        status: "open".into(),
        opened_at_ms: 1,
        active_at_ms: offset,
        open_runs: 0,
        offset: Offset(offset),
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

impl Template {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, runtime) = (open(dir.path()).unwrap(), runtime());
        let grow = |store: &EmbeddedStore, offset| runtime.block_on(grow(store, offset));
        let tables = || files(dir.path()).iter().filter(|path| path.parent().is_some_and(|dir| dir.ends_with("tables"))).count();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut upto = 0;
        while tables() < 6 || upto < 40 {
            upto += 1;
            grow(&store, upto);
            assert!(Instant::now() < deadline, "values are written into tables");
        }
        drop(store);
        // Opened again, the journal is cut to what it holds.
        let store = open(dir.path()).unwrap();
        (upto + 1..=upto + 5).for_each(|offset| grow(&store, offset));
        Self { dir, upto: upto + 5 }
    }

    /// Applies the rule to each case, in a process of its own.
    fn check(&self, cases: &[Case]) -> Tally {
        let mut tally = Tally::default();
        for case in cases {
            let dir = case.copy_of(self.dir.path());
            let (upto, journal) = (self.upto.to_string(), is_journal(&case.file).to_string());
            let child = [(CHILD_DIR, dir.path().to_str().unwrap()), (CHILD_UPTO, &upto), (CHILD_JOURNAL, &journal)];
            match damage::outcome(&case.to_string(), &child).as_deref() {
                Some("refused") => tally.refused += 1,
                Some("errors") => tally.errors += 1,
                Some("unharmed") => tally.unharmed += 1,
                Some("older") => tally.older += 1,
                Some(other) => panic!("{case}: {other}"),
                None => tally.aborted += 1,
            }
        }
        println!("{tally:?}");
        tally
    }
}

async fn grow(store: &EmbeddedStore, offset: u64) {
    for number in 0..SESSIONS {
        let segment = Segment::new(EPOCH, Offset(offset - 1), vec![record(number, offset)]).unwrap();
        let key = session(number);
        let (segment, kept, row) = (segment, snapshot(number, offset), row(number, offset));
        let results = tokio::join!(store.put_segment(&key, &segment), store.put(&key, &kept), store.put_row(&row));
        results.0.and(results.1).and(results.2).unwrap();
    }
}

/// One case. Not a test: run by the tests below.
#[test]
#[ignore = "the child of the tests in this file"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let upto = std::env::var(CHILD_UPTO).unwrap().parse().unwrap();
    let may_be_older = std::env::var(CHILD_JOURNAL).unwrap() == "true";
    let outcome = match open(Path::new(&dir)) {
        Err(_refused) => "refused",
        Ok(store) => {
            let mut seen = Seen { upto, may_be_older, errors: 0, older: 0 };
            runtime().block_on(async {
                for number in 0..SESSIONS {
                    seen.read(&store, number).await;
                }
                seen.list(&store).await;
            });
            match seen {
                Seen { errors: 1.., .. } => "errors",
                Seen { older: 1.., .. } => "older",
                Seen { .. } => "unharmed",
            }
        }
    };
    println!("\noutcome {outcome}");
}

/// What was read. Panics at what must not be.
struct Seen {
    upto: u64,
    may_be_older: bool,
    errors: usize,
    older: usize,
}

impl Seen {
    async fn read(&mut self, store: &EmbeddedStore, number: usize) {
        let key = session(number);
        if let Some(found) = self.ok(store.row(&key).await) {
            let at = found.as_ref().map_or(0, |row| row.offset.0);
            assert!(found.is_none_or(|found| found == row(number, at)), "{key}: a row that was never put");
            self.is_at(at, &format!("the row of {key}"));
        }
        if let Some(found) = self.ok(store.newest(&key, EPOCH, FOLD, LAST).await) {
            let at = found.as_ref().map_or(0, |found| found.offset.0);
            assert!(found.is_none_or(|found| found == snapshot(number, at)), "{key}: a snapshot that was never put");
            self.older += usize::from(at < self.upto);
        }
        let mut upto = 0;
        loop {
            let Some(records) = self.ok(store.records(&key, Offset(upto), LAST, 9).await) else { return };
            let Some((last, ..)) = records.last() else { break };
            let last = last.0;
            assert_eq!(records, (upto + 1..=last).map(|offset| record(number, offset)).collect::<Vec<_>>(), "I2 contiguous");
            upto = last;
        }
        // Where it ends early, the log says so: it begins above, and only what was archived was ever trimmed.
        self.older += usize::from(upto < self.upto);
    }

    /// Each session once, each as one of its rows was.
    async fn list(&mut self, store: &EmbeddedStore) {
        let query = SessionQuery { user: Some("ann".into()), ..SessionQuery::new(TenantId::default(), 100) };
        let Some(SessionPage { rows, .. }) = self.ok(store.list(&query).await) else { return };
        let ids = rows.iter().map(|row| row.key.session.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), rows.len(), "a session twice");
        for found in &rows {
            let number = (0..SESSIONS).find(|number| session(*number) == found.key).unwrap();
            assert_eq!(*found, row(number, found.offset.0));
            self.is_at(found.offset.0, "a row in a list");
        }
        // Left out are those whose row is damaged, which asking for them says.
        assert!(rows.len() == SESSIONS || self.errors > 0 || self.may_be_older, "sessions left out of the list in silence");
    }

    fn is_at(&mut self, offset: u64, what: &str) {
        assert!(offset <= self.upto && (offset == self.upto || self.may_be_older), "{what} is silently at {offset}");
        self.older += usize::from(offset < self.upto);
    }

    fn ok<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(StoreError::Unavailable(_)) => {
                self.errors += 1;
                None
            }
            Err(error @ (StoreError::TooLarge { .. } | StoreError::Overloaded)) => panic!("{error:?}"),
        }
    }
}

/// Each file deleted, emptied, halved, cut by one byte, and with its first, middle and last byte changed.
#[test]
fn no_file_is_lost_or_cut_in_silence() {
    let template = Template::new();
    let tally = template.check(&damage::of_every_file(template.dir.path()));
    assert!(tally.refused > 0 && tally.errors > 0 && tally.older > 0, "{tally:?}");
}

/// Bytes anywhere: headers, lengths, checksums, values; in journal, tables, blobs and manifests.
#[test]
fn no_flipped_byte_changes_anything_in_silence() {
    let template = Template::new();
    let tally = template.check(&damage::anywhere(template.dir.path(), CASES));
    assert!(tally.errors > 0, "{tally:?}");
}
