//! Takes off the disk what was removed.
//!
//! fjall lets go of a journal when it has grown to its size and everything in it is in tables, and of a removed value when the tables that
//! have it are merged. In a log where little happens neither comes by itself for weeks, so both are made to happen.

use fanfold_fjall::filler;
use fjall::{Database, Keyspace};

use super::error::StoreError;
use super::layout::FILLER_KEY;
use super::store::Store;

impl Store {
    /// What was removed before this is in no file after it.
    pub(crate) fn expunge(&self) -> Result<(), StoreError> {
        let (db, log): (&Database, &Keyspace) = self.parts();
        let journals = db.journal_count();
        filler().try_for_each(|chunk| log.insert(FILLER_KEY, chunk))?;
        // The first closes the journal, the second has what was written meanwhile in tables, too.
        log.rotate_memtable_and_wait()?;
        log.remove(FILLER_KEY)?;
        log.rotate_memtable_and_wait()?;
        self.compact()?;
        // Tables go with the next look at who still reads them.
        log.remove(FILLER_KEY)?;
        log.rotate_memtable_and_wait()?;
        tracing::info!(journals_before = journals, journals = db.journal_count(), "log compacted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};

    use fjall::AbstractTree as _;

    use super::super::store::Store;
    use crate::{EmbeddedLog, EmbeddedLogConfig, EventLog as _, Expect};

    /// I5: what is written while everything is compacted goes into tables, too, and doesn't gather in memory.
    #[test]
    fn what_is_written_during_a_compaction_leaves_memory() {
        const MEMTABLE: u64 = 1 << 20;
        // A driver that does one thing at a time may put away what was written as it begins.
        const TIMES: usize = 6;
        let dir = tempfile::tempdir().unwrap();
        let config = EmbeddedLogConfig { dir: dir.path().into(), memtable_bytes_max: MEMTABLE, ..EmbeddedLogConfig::default() };
        let store = Store::open(dir.path(), &config).unwrap();
        let (_, log) = store.parts();
        let noise: Vec<u8> = (0..1 << 20).map(|n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
        let write = |n: u64| log.insert(n.to_be_bytes(), &noise[..100_000]).unwrap();
        (0..500).for_each(write);
        let deadline = Instant::now() + Duration::from_secs(120);
        for round in 1.. {
            let (ended, mut put_away) = (AtomicBool::new(false), 0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    store.compact().unwrap();
                    ended.store(true, Ordering::Relaxed);
                });
                for n in 0.. {
                    write(1_000_000 * round + n);
                    let full = log.tree.active_memtable().size();
                    while full > MEMTABLE && log.tree.active_memtable().size() >= full && !ended.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    put_away += usize::from(full > MEMTABLE);
                }
            });
            if put_away >= TIMES {
                return;
            }
            assert!(Instant::now() < deadline, "{put_away} times in the last of {round} compactions");
        }
    }

    const MARKER: &str = "violet-heron-0417";

    /// Files below `dir` that have the marker.
    fn found(dir: &Path) -> String {
        String::from_utf8(Command::new("grep").args(["-rlaF", MARKER]).arg(dir).output().unwrap().stdout).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_erased_is_in_no_file_after_a_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let config = EmbeddedLogConfig { dir: dir.path().into(), ..EmbeddedLogConfig::default() };
        let key = |id: &str| SessionKey::new(TenantId::default(), SessionId::new(id).unwrap());
        let mut stays = Vec::new();
        {
            let log = EmbeddedLog::open(config.clone(), Arc::new(|| 1)).unwrap();
            let mut at = Offset::NONE;
            for n in 0..100 {
                let text = format!("{MARKER} {n}");
                at = log.append(&key("s"), Bytes::from(text), Expect::Any, None).await.unwrap();
                stays.push(log.append(&key("t"), Bytes::from(format!("stays {n}")), Expect::Any, None).await.unwrap());
            }
            at = log.append(&key("s"), Bytes::from_static(b"erased"), Expect::Last(at), None).await.unwrap();
            assert_ne!(found(dir.path()), "");
            log.erase(&key("s"), at).await.unwrap();
            log.compact().await.unwrap();
            assert_eq!(found(dir.path()), "");
            log.append(&key("t"), Bytes::from_static(b"more"), Expect::Any, None).await.unwrap();
            log.compact().await.unwrap();
        }
        let log = EmbeddedLog::open(config, Arc::new(|| 1)).unwrap();
        assert_eq!(log.read(&key("s"), Offset::NONE, 10, 1000).await.unwrap().records.len(), 1);
        let page = log.read(&key("t"), Offset::NONE, 1000, 1 << 20).await.unwrap();
        assert_eq!(page.records.iter().take(100).map(|stored| stored.offset).collect::<Vec<_>>(), stays);
        assert_eq!((page.records.len(), page.end), (101, true));
    }
}
