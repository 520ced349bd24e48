//! Damages the files of a log in every way a disk or a person can, and looks whether anybody is told.
//!
//! The rule: after any damage, `open` refuses, or every acknowledged record is read with its exact bytes, or reading it is an
//! error. A shorter history without an error is the one thing that must never be. After a refusal, `accept_loss` leads on,
//! above everything ever acknowledged, and what it doesn't name as lost is still there or still an error.
//!
//! `FANFOLD_DAMAGE_CASES` sets the number of random cases, `FANFOLD_SEED` replays them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics is a test that fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfold_fjall::damage::{self, Case, cut, files};
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Expect, Loss, LostRange, OpenError, ReadError};

const SESSIONS: usize = 5;
const CASES: usize = 400;

const CHILD_DIR: &str = "FANFOLD_DAMAGE_CHILD_DIR";
const CHILD_RECORDS: &str = "FANFOLD_DAMAGE_CHILD_RECORDS";

/// A closed log with records in tables and in a journal, and what it acknowledged.
struct Template {
    dir: tempfile::TempDir,
    acknowledged: Acknowledged,
}

/// Offset → session, and the record's bytes.
struct Acknowledged(BTreeMap<u64, (usize, Bytes)>);

/// What became of a damaged log.
#[derive(Debug, Default)]
struct Tally {
    refused_as_lost: usize,
    refused_otherwise: usize,
    damaged_on_read: usize,
    unharmed: usize,
    /// The process died: the driver was told to take more memory than there is, or panicked twice. Loud, too.
    aborted: usize,
}

fn session(number: usize) -> SessionKey {
    SessionKey::new(TenantId::default(), SessionId::new(&format!("s{number}")).unwrap())
}

fn config(dir: &Path) -> EmbeddedLogConfig {
    EmbeddedLogConfig {
        dir: dir.into(),
        memtable_bytes_max: 32 << 10,
        duplicate_window_records: 20,
        ..EmbeddedLogConfig::default()
    }
}

fn open(dir: &Path) -> Result<EmbeddedLog, OpenError> {
    EmbeddedLog::open(config(dir), Arc::new(|| 1))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn tables(dir: &Path) -> usize {
    files(dir).iter().filter(|path| path.to_str().unwrap().contains("/1/tables/")).count()
}

impl Template {
    fn new(tables_min: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        let runtime = runtime();
        let append = |log: &EmbeddedLog, count: usize| {
            let (number, record) = nth(count);
            let offset = runtime.block_on(log.append(&session(number), record, Expect::Any, None)).unwrap();
            assert_eq!(offset.0, count as u64 + 1);
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut count = 0;
        while tables(dir.path()) < tables_min || count < 100 {
            append(&log, count);
            count += 1;
            assert!(Instant::now() < deadline, "records are written into tables");
        }
        drop(log);
        // Opened again, the journal is cut to what it holds, and no longer tens of megabytes of nothing.
        let log = open(dir.path()).unwrap();
        (count..count + 20).for_each(|count| append(&log, count));
        Self { dir, acknowledged: Acknowledged::of(count + 20) }
    }

    /// A copy of it, damaged by `damage`.
    fn damaged(&self, damage: impl FnOnce(&Path)) -> tempfile::TempDir {
        let copy = damage::copy(self.dir.path());
        damage(copy.path());
        copy
    }

    /// Applies the rule to each case, in a process of its own.
    fn check(&self, cases: &[Case]) -> Tally {
        let mut tally = Tally::default();
        for case in cases {
            let dir = case.copy_of(self.dir.path());
            let records = self.acknowledged.0.len().to_string();
            let child = [(CHILD_DIR, dir.path().to_str().unwrap()), (CHILD_RECORDS, &records)];
            match damage::outcome(&case.to_string(), &child).as_deref() {
                Some("unharmed") => tally.unharmed += 1,
                Some("damaged") => tally.damaged_on_read += 1,
                Some("lost") => tally.refused_as_lost += 1,
                Some("refused") => tally.refused_otherwise += 1,
                Some(other) => panic!("{case}: {other}"),
                None => tally.aborted += 1,
            }
        }
        println!("{tally:?}");
        tally
    }
}

/// One case. Not a test: run by the tests below.
#[test]
#[ignore = "the child of no_file_is_lost_or_cut_in_silence and no_flipped_byte_loses_anything_in_silence"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let acknowledged = Acknowledged::of(std::env::var(CHILD_RECORDS).unwrap().parse().unwrap());
    let outcome = acknowledged.outcome(Path::new(&dir));
    println!("\noutcome {outcome}");
}

fn nth(count: usize) -> (usize, Bytes) {
    (count % SESSIONS, Bytes::from(vec![count as u8; 50 + (count * 31) % 800]))
}

impl Acknowledged {
    fn of(records: usize) -> Self {
        Self((0..records).map(|count| (count as u64 + 1, nth(count))).collect())
    }

    fn last(&self) -> u64 {
        self.0.len() as u64
    }

    /// What becomes of the log in `dir`.
    fn outcome(&self, dir: &Path) -> &'static str {
        let outcome = match open(dir) {
            Ok(log) if self.compare(&log, &Loss::default()) == 0 => return "unharmed",
            Ok(_) => return "damaged",
            Err(OpenError::Lost(loss) | OpenError::IdentityLost(loss)) => {
                assert!(!loss.is_empty() && loss.ranges.iter().all(|range| range.upto.0 <= self.last()), "{loss}");
                "lost"
            }
            Err(_other) => "refused",
        };
        assert!(open(dir).is_err(), "refused once, refused until somebody decides");
        self.go_on(dir);
        outcome
    }

    /// Accepts the loss, and looks that the new epoch is above it and the rest is as it was.
    fn go_on(&self, dir: &Path) {
        let accepted = EmbeddedLog::accept_loss(&config(dir), Offset::NONE).unwrap();
        assert!(accepted.first.0 > self.last(), "{accepted:?}");
        let log = open(dir).unwrap();
        assert_eq!(log.epoch(&session(0)), accepted.epoch);
        self.compare(&log, &accepted.loss);
        let (runtime, session) = (runtime(), session(0));
        let offset = match runtime.block_on(log.append(&session, Bytes::from_static(b"new"), Expect::Any, None)) {
            Ok(offset) => offset,
            // The end of this session is in a damaged block: an append to it is refused rather than guessed at.
            Err(error) => return assert!(matches!(error, fanfold_log::AppendError::Unknown(_)), "{error:?}"),
        };
        assert!(offset >= accepted.first, "{offset} in {accepted:?}");
        drop(log);
        let page = runtime.block_on(open(dir).unwrap().read(&session, Offset(offset.0 - 1), 10, 1000)).unwrap();
        assert_eq!((page.records.len(), page.records[0].offset), (1, offset));
    }

    /// Reads every session. Returns how many end in an error; panics when a record is missing or different without one.
    fn compare(&self, log: &EmbeddedLog, known: &Loss) -> usize {
        let runtime = runtime();
        let mut errors = 0;
        for number in 0..SESSIONS {
            let (mut upto, mut read, mut failed) = (Offset::NONE, BTreeMap::new(), false);
            while !failed {
                match runtime.block_on(log.read(&session(number), upto, 7, 4000)) {
                    Ok(page) => {
                        upto = page.records.last().map_or(upto, |record| record.offset);
                        read.extend(page.records.into_iter().map(|record| (record.offset.0, record.record)));
                        if page.end {
                            break;
                        }
                    }
                    Err(ReadError::Damaged { .. } | ReadError::Unavailable(_)) => failed = true,
                    // There is no archive that could have what was given up.
                    Err(ReadError::Trimmed { first, certain }) => {
                        assert!(!certain && known.ranges.iter().any(|range| range.upto.0 + 1 == first.0), "{known}: {first}");
                        upto = Offset(first.0 - 1);
                    }
                }
            }
            errors += usize::from(failed);
            for (offset, (_, record)) in self.0.iter().filter(|(_, (of, _))| *of == number) {
                let lost = known.ranges.iter().any(|range| (range.from.0..=range.upto.0).contains(offset));
                match read.get(offset) {
                    Some(read) => assert_eq!(read, record, "offset {offset} has other bytes"),
                    None => assert!(lost || (failed && *offset > upto.0), "offset {offset} is silently lost"),
                }
            }
        }
        errors
    }
}

/// Each file deleted, emptied, halved, cut by one byte, and with its first, middle and last byte changed.
#[test]
fn no_file_is_lost_or_cut_in_silence() {
    let template = Template::new(2);
    let tally = template.check(&damage::of_every_file(template.dir.path()));
    assert!(tally.refused_as_lost > 0 && tally.refused_otherwise > 0 && tally.damaged_on_read > 0, "{tally:?}");
}

/// Bytes anywhere: headers, lengths, checksums, payloads; in journal, tables, manifests and mark.
#[test]
fn no_flipped_byte_loses_anything_in_silence() {
    let template = Template::new(1);
    let tally = template.check(&damage::anywhere(template.dir.path(), CASES));
    assert!(tally.refused_otherwise > 0 && tally.damaged_on_read > 0, "{tally:?}");
}

/// A cut journal, and what the refusal says: exactly the offsets that are gone.
#[test]
fn a_cut_journal_is_named_by_its_offsets() {
    let template = Template::new(1);
    let dir = template.damaged(|dir| {
        let journal =
            files(&dir.join("store")).into_iter().rfind(|path| path.extension().is_some_and(|ext| ext == "jnl")).unwrap();
        let length = journal.metadata().unwrap().len();
        cut(&journal, length - 1500);
    });
    let Err(OpenError::Lost(loss)) = open(dir.path()) else { panic!("a cut journal is noticed") };
    let [LostRange { from, upto }] = loss.ranges[..] else { panic!("one range: {loss}") };
    assert_eq!(upto.0, template.acknowledged.last());
    assert!((1..20).contains(&loss.records()), "{loss}");
    let accepted = EmbeddedLog::accept_loss(&config(dir.path()), Offset::NONE).unwrap();
    assert_eq!((accepted.first, &accepted.loss, accepted.set_aside), (Offset(upto.0 + 1), &loss, None));
    let errors =
        template.acknowledged.compare(&open(dir.path()).unwrap(), &Loss { ranges: vec![LostRange { from, upto }], ..loss });
    assert_eq!(errors, 0, "what is left is sound");
}

/// A hole in the middle, as a damaged older journal leaves it: what comes later is there, and names its sessions.
#[test]
fn a_hole_in_the_middle_is_named_with_its_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let log = open(dir.path()).unwrap();
    let append =
        |log: &EmbeddedLog, number| runtime.block_on(log.append(&session(number), Bytes::from_static(b"r"), Expect::Any, None));
    for number in [0, 1, 2, 0, 1, 0] {
        append(&log, number).unwrap();
    }
    drop(log);
    remove_commits(dir.path(), &[(3, 2), (4, 0)]);
    let Err(OpenError::Lost(loss)) = open(dir.path()) else { panic!("a hole is noticed") };
    assert_eq!(loss.to_string(), "2 records at offsets 3 to 4; sessions default/s0 and perhaps others");
    let accepted = EmbeddedLog::accept_loss(&config(dir.path()), Offset::NONE).unwrap();
    assert_eq!((accepted.first, accepted.loss), (Offset(7), loss));
    let log = open(dir.path()).unwrap();
    // The chain goes on over what was given up, in this run and the next.
    append(&log, 0).unwrap();
    drop(log);
    let log = open(dir.path()).unwrap();
    let read = |number, after| runtime.block_on(log.read(&session(number), Offset(after), 10, 1000));
    let chain = |after| {
        let page = read(0, after).unwrap();
        (page.records.iter().map(|record| (record.previous.0, record.offset.0)).collect::<Vec<_>>(), page.end)
    };
    assert_eq!(chain(0), (vec![(0, 1)], false));
    // Only an archive can tell what of it was this session's.
    let unknown = |page| matches!(page, Err(ReadError::Trimmed { first: Offset(5), certain: false }));
    assert!(unknown(read(0, 1)) && unknown(read(2, 0)) && unknown(read(1, 2)));
    assert_eq!(chain(4), (vec![(4, 6), (6, 7)], true));
    assert_eq!(read(1, 4).map(|page| page.records.len()).unwrap(), 1);
    assert_eq!(append(&log, 2).unwrap(), Offset(8), "a session that lost all it had begins again");
}

/// Takes commits of one record each out of the store, with all their traces.
fn remove_commits(dir: &Path, commits: &[(u64, usize)]) {
    let db = fjall::Database::builder(dir.join("store")).open().unwrap();
    let log = db.keyspace("log", fjall::KeyspaceCreateOptions::default).unwrap();
    for (offset, number) in commits {
        for key in [format!("rdefault/s{number}\0").into_bytes(), b"g".to_vec()] {
            let key = [key, offset.to_be_bytes().to_vec()].concat();
            assert!(log.contains_key(&key).unwrap(), "the layout is as this test knows it");
            log.remove(key).unwrap();
        }
    }
    db.persist(fjall::PersistMode::SyncAll).unwrap();
}

/// One record gone without its commit, as no known fault does it: the chain shows it to whoever reads.
#[test]
fn a_single_missing_record_breaks_the_chain() {
    let template = Template::new(1);
    let (&offset, &(number, _)) = template.acknowledged.0.iter().nth(50).unwrap();
    let dir = template.damaged(|dir| {
        let db = fjall::Database::builder(dir.join("store")).open().unwrap();
        let log = db.keyspace("log", fjall::KeyspaceCreateOptions::default).unwrap();
        log.remove([&format!("rdefault/s{number}\0").into_bytes()[..], &offset.to_be_bytes()].concat()).unwrap();
        db.persist(fjall::PersistMode::SyncAll).unwrap();
    });
    let log = open(dir.path()).unwrap();
    assert_eq!(template.acknowledged.compare(&log, &Loss::default()), 1);
    let before = Offset(offset - 1);
    let read = runtime().block_on(log.read(&session(number), before, 10, 10_000));
    assert!(matches!(read, Err(ReadError::Damaged { offset: at }) if at.0 == offset), "{read:?}");
}

/// A damaged table may lie unread for long, until the driver compacts it in the background, and from then on takes no more writes.
#[test]
fn a_table_that_no_compaction_gets_over_is_set_aside_when_the_loss_is_accepted() {
    let template = Template::new(6);
    let dir = template.damaged(|dir| {
        let table = files(dir).into_iter().find(|path| path.to_str().unwrap().contains("/1/tables/")).unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[300] ^= 0xff;
        std::fs::write(table, bytes).unwrap();
    });
    let accepted = EmbeddedLog::accept_loss(&config(dir.path()), Offset::NONE).unwrap();
    assert!(accepted.set_aside.is_some(), "{accepted:?}");
    assert_eq!(accepted.loss.ranges, [LostRange { from: Offset(1), upto: Offset(template.acknowledged.last()) }]);
    let offset = runtime().block_on(open(dir.path()).unwrap().append(&session(0), Bytes::from_static(b"new"), Expect::Any, None));
    assert_eq!(offset.unwrap(), accepted.first);
}

/// Whole parts gone, or of another log.
#[test]
fn a_missing_or_foreign_part_is_named() {
    let (template, other) = (Template::new(1), Template::new(1));
    let open = |damage: &dyn Fn(&Path)| open(template.damaged(damage).path());
    let no_mark = open(&|dir| std::fs::remove_file(dir.join("mark")).unwrap());
    assert!(matches!(no_mark, Err(OpenError::MarkMissing)), "{no_mark:?}");
    let no_store = open(&|dir| std::fs::remove_dir_all(dir.join("store")).unwrap());
    let all = |loss: &Loss| loss.ranges == [LostRange { from: Offset(1), upto: Offset(template.acknowledged.last()) }];
    assert!(matches!(&no_store, Err(OpenError::IdentityLost(loss)) if all(loss)), "{no_store:?}");
    let no_keyspace = open(&|dir| std::fs::remove_dir_all(dir.join("store/keyspaces/1")).unwrap());
    assert!(matches!(&no_keyspace, Err(OpenError::IdentityLost(loss)) if all(loss)), "{no_keyspace:?}");
    let foreign = open(&|dir| assert!(std::fs::copy(other.dir.path().join("mark"), dir.join("mark")).is_ok()));
    assert!(matches!(foreign, Err(OpenError::EpochMismatch { .. })), "{foreign:?}");
}

/// It looks sound to itself: the store of snapshots tells how far it had come.
#[test]
fn an_older_copy_goes_on_above_what_others_know() {
    let template = Template::new(1);
    let (last, known) = (template.acknowledged.last(), Offset(template.acknowledged.last() + 30));
    let dir = template.damaged(|_| {});
    let accepted = EmbeddedLog::accept_loss(&config(dir.path()), known).unwrap();
    assert_eq!(accepted.loss.ranges, [LostRange { from: Offset(last + 1), upto: known }]);
    assert_eq!(accepted.first, Offset(known.0 + 1));
    let log = open(dir.path()).unwrap();
    assert_eq!(template.acknowledged.compare(&log, &accepted.loss), 0);
    let runtime = runtime();
    runtime.block_on(log.must_have(&session(0), known)).unwrap();
    let read = runtime.block_on(log.read(&session(0), Offset(last), 10, 1000));
    assert!(matches!(read, Err(ReadError::Trimmed { first, certain: false }) if first == accepted.first), "{read:?}");
    drop(log);
    // Who knows of nothing newer changes nothing.
    let again = EmbeddedLog::accept_loss(&config(dir.path()), known).unwrap();
    assert!(again.loss.is_empty() && again.first == accepted.first, "{again:?}");
}
