//! The database beneath: one keyspace for each kind of value, and a file that says that all of them were there.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use fanfold_fjall::{guarded, missing_part, remove_unfinished};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::config::EmbeddedStoreConfig;
use super::error::OpenError;

/// What the file says. Another layout says something else.
const FORMAT: &[u8] = b"fanfold store 1\n";

/// Threads of the driver. One of several never compacts: while others do, which a compaction of everything keeps waiting, it has what was
/// written put into tables. With a single one that would gather in memory, without a bound (I5).
const WORKERS: usize = 2;

/// fjall asserts that a limit of the journals is not below this.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;

const KEYSPACES: [&str; 5] = ["snapshots", "segments", "rows", "listing", "parking"];

pub(crate) struct Disk {
    pub(crate) db: Database,
    pub(crate) snapshots: Keyspace,
    pub(crate) segments: Keyspace,
    pub(crate) rows: Keyspace,
    /// Sessions by activity, by user and activity, and those with open runs. The rows decide; these only say where to look.
    pub(crate) listing: Keyspace,
    pub(crate) parking: Keyspace,
}

impl Disk {
    /// Opens or makes it. A driver that panics on damaged files is told like one that refuses them.
    pub(crate) fn open(config: &EmbeddedStoreConfig) -> Result<Self, OpenError> {
        let (db, format) = (config.dir.join("db"), config.dir.join("format"));
        std::fs::create_dir_all(&config.dir).map_err(OpenError::Directory)?;
        let known = is_known(&format)?;
        if known {
            complete(&db)?;
        } else {
            remove_unfinished(&db).map_err(OpenError::Directory)?;
        }
        let disk = guarded(|| Self::open_database(&db, config, known))
            .unwrap_or_else(|panicked| Err(OpenError::Store(Box::new(panicked))))?;
        if known {
            disk.mend().map_err(OpenError::Store)?;
        } else {
            disk.db.persist(PersistMode::SyncAll).map_err(|error| OpenError::Store(Box::new(error)))?;
            mark(&config.dir, &format).map_err(OpenError::Directory)?;
        }
        Ok(disk)
    }

    /// Makes rows and lists agree. What can't be read now can't be read later either, and is told to whoever asks for it; but a list
    /// that can't be mended would leave sessions out in silence.
    fn mend(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let error: Box<dyn std::error::Error> = match guarded(|| self.compare_rows_and_lists()) {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(batch))) => {
                guarded(|| batch.commit().and_then(|()| self.db.persist(PersistMode::SyncAll)))??;
                return Ok(());
            }
            Ok(Err(error)) => error.into(),
            Err(panicked) => panicked.into(),
        };
        tracing::error!(error, "rows and lists could not be compared");
        Ok(())
    }

    fn open_database(dir: &Path, config: &EmbeddedStoreConfig, known: bool) -> Result<Self, OpenError> {
        let broken = |error| match error {
            fjall::Error::Locked => OpenError::Busy,
            other => OpenError::Store(Box::new(other)),
        };
        let db = Database::builder(dir)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes_max.max(JOURNAL_BYTES_MIN))
            .worker_threads(WORKERS)
            .open()
            .map_err(broken)?;
        if let Some(missing) = KEYSPACES.iter().find(|name| known && !db.keyspace_exists(name)) {
            return Err(OpenError::Missing(dir.join(missing)));
        }
        let keyspaces = || -> fjall::Result<Self> {
            let rows = || KeyspaceCreateOptions::default().max_memtable_size(config.memtable_bytes_max);
            // Large values stand beside the tables: keys are looked through without them, and they aren't copied by compactions.
            let blobs = || rows().with_kv_separation(Some(KvSeparationOptions::default()));
            // Rewritten by the first compaction that meets something removed in them: that is only ever an erased session.
            let rewritten = KvSeparationOptions::default().staleness_threshold(0.0).age_cutoff(1.0);
            let history = || rows().with_kv_separation(Some(rewritten.clone()));
            Ok(Self {
                snapshots: db.keyspace(KEYSPACES[0], blobs)?,
                segments: db.keyspace(KEYSPACES[1], history)?,
                rows: db.keyspace(KEYSPACES[2], rows)?,
                listing: db.keyspace(KEYSPACES[3], rows)?,
                parking: db.keyspace(KEYSPACES[4], rows)?,
                db: db.clone(),
            })
        };
        keyspaces().map_err(broken)
    }
}

/// Whether a store of this format was made here.
fn is_known(format: &Path) -> Result<bool, OpenError> {
    match std::fs::read(format) {
        Ok(text) if text == FORMAT => Ok(true),
        Ok(_) => Err(OpenError::Format),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::Directory(error)),
    }
}

fn complete(db: &Path) -> Result<(), OpenError> {
    match missing_part(db).map_err(OpenError::Directory)? {
        Some(part) => Err(OpenError::Missing(part)),
        None => Ok(()),
    }
}

/// Written under another name first: half of it would be a format that nobody knows.
fn mark(dir: &Path, format: &Path) -> std::io::Result<()> {
    let new = dir.join("format.new");
    let mut file = File::create(&new)?;
    file.write_all(FORMAT)?;
    file.sync_all()?;
    std::fs::rename(&new, format)?;
    File::open(dir)?.sync_all()
}
