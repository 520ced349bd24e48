//! Store and mark together: opened with a check for loss, written in the order that makes the check possible.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use fanfold_fold::{Epoch, Offset, SessionKey};

use super::committer::Disk;
use super::config::EmbeddedLogConfig;
use super::error::{Loss, OpenError, StoreError};
use super::identity::{Identity, LostRange};
use super::ledger::Ledger;
use super::mark::{Mark, MarkError, MarkFile};
use super::queue::Chore;
use super::store::{Commit, Settling, Store};
use super::verify::verify;
use crate::metric;

/// Where things are within the log's directory.
pub(crate) struct Paths {
    pub(crate) dir: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) mark: PathBuf,
}

impl Paths {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), store: dir.join("store"), mark: dir.join("mark") }
    }
}

/// A store whose every acknowledged record is accounted for.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    pub(crate) disk: EmbeddedDisk,
    pub(crate) ledger: Ledger,
    pub(crate) identity: Identity,
    /// Bytes ever stored: of what has been let go of, and all.
    pub(crate) bytes: (u64, u64),
}

pub(crate) struct EmbeddedDisk {
    store: Arc<Store>,
    mark: MarkFile,
    settling: Settling,
    /// Commits whose records have left the log. What they say of themselves goes when they are settled.
    trimmed: VecDeque<Offset>,
}

/// Opens what is there, or makes it. Refuses when anything acknowledged is gone.
pub(crate) fn open(config: &EmbeddedLogConfig) -> Result<Opened, OpenError> {
    let paths = Paths::new(&config.dir);
    std::fs::create_dir_all(&paths.dir).map_err(OpenError::Directory)?;
    // The mark is made after the store and before the first append.
    if !paths.mark.try_exists().map_err(OpenError::Directory)? {
        fanfold_fjall::remove_unfinished(&paths.store).map_err(OpenError::Directory)?;
    }
    let store_was_there = paths.store.try_exists().map_err(OpenError::Directory)?;
    if let (false, Some(mark)) = (store_was_there, open_mark(&paths)?) {
        return Err(OpenError::IdentityLost(everything(&mark.newest())));
    }
    whole(&paths)?;
    let store = Store::open(&paths.store, config)?;
    let (identity, mark) = match (identity(&store)?, open_mark(&paths)?) {
        (Some(identity), Some(mark)) => (identity, mark),
        (None, Some(mark)) => return Err(OpenError::IdentityLost(everything(&mark.newest()))),
        (identity, None) => create(&store, &paths, identity)?,
    };
    if mark.newest().epoch != identity.epoch {
        return Err(OpenError::EpochMismatch { mark: mark.newest().epoch, store: identity.epoch });
    }
    account(store, mark, identity, config)
}

/// Runs what touches files that may be damaged.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    fanfold_fjall::guarded(work).unwrap_or_else(|panicked| Err(OpenError::Store(Box::new(panicked))))
}

/// Looks whether the store has lost a part. Ours was finished before the mark was made.
pub(crate) fn whole(paths: &Paths) -> Result<(), OpenError> {
    if !paths.mark.try_exists().map_err(OpenError::Directory)? {
        return Ok(());
    }
    match fanfold_fjall::missing_part(&paths.store).map_err(OpenError::Directory)? {
        Some(part) => Err(OpenError::Store(format!("{} is missing", part.display()).into())),
        None => Ok(()),
    }
}

/// Checks for loss, and hands over what the committer goes on from.
fn account(store: Store, mut mark: MarkFile, identity: Identity, config: &EmbeddedLogConfig) -> Result<Opened, OpenError> {
    let started = Instant::now();
    let newest = mark.newest();
    let window = config.duplicate_window_records as u64;
    let found = verify(&newest, window, store.groups(newest.settled)).map_err(broken)?;
    metrics::histogram!(metric::VERIFY_SECONDS).record(started.elapsed().as_secs_f64());
    if !found.loss.is_empty() {
        return Err(OpenError::Lost(found.loss));
    }
    if found.last > newest.last {
        // Durable but never acknowledged: their callers heard `Unknown`, or nothing. They count from now on.
        mark.write(Mark { last: found.last, ..newest }).map_err(OpenError::Directory)?;
    }
    let mut ledger = Ledger::new(Offset(found.last.0 + 1), config.heads_max, config.duplicate_window_records);
    found.recent.iter().for_each(|group| ledger.remember(group));
    let settling = Settling::new(&store, newest.settled, window, found.kept.into_iter());
    tracing::info!(epoch = %identity.epoch, last = found.last.0, "log opened");
    metrics::gauge!(metric::POISONED).set(0.0);
    let store = Arc::new(store);
    let bytes = store.bytes().map_err(broken)?;
    let disk = EmbeddedDisk { store: store.clone(), mark, settling, trimmed: VecDeque::new() };
    Ok(Opened { disk, store, ledger, identity, bytes })
}

/// A new log; or one whose making was interrupted, which then has an identity and nothing else.
fn create(store: &Store, paths: &Paths, identity: Option<Identity>) -> Result<(Identity, MarkFile), OpenError> {
    let identity = match identity {
        Some(identity) if identity.first == Offset(1) && store.last_group().map_err(broken)?.is_none() => identity,
        None if store.is_empty().map_err(broken)? => {
            let identity = Identity::mint(Offset(1), Vec::new());
            store.set_identity(&identity).map_err(broken)?;
            identity
        }
        Some(_) | None => return Err(OpenError::MarkMissing),
    };
    let mark = MarkFile::create(&paths.mark, first_mark(identity.epoch, identity.first)).map_err(OpenError::Directory)?;
    Ok((identity, mark))
}

/// What the mark of a new epoch says.
pub(crate) fn first_mark(epoch: Epoch, first: Offset) -> Mark {
    let before = Offset(first.0 - 1);
    Mark { epoch, first, last: before, settled: before }
}

fn open_mark(paths: &Paths) -> Result<Option<MarkFile>, OpenError> {
    MarkFile::open(&paths.mark).map_err(|error| match error {
        MarkError::Io(error) => OpenError::Directory(error),
        MarkError::Damaged => OpenError::MarkDamaged,
    })
}

fn identity(store: &Store) -> Result<Option<Identity>, OpenError> {
    store.identity().map_err(broken)
}

/// All that this epoch acknowledged.
fn everything(mark: &Mark) -> Loss {
    let range = LostRange { from: mark.first, upto: mark.last };
    Loss { ranges: Vec::from_iter((mark.last >= mark.first).then_some(range)), sessions: Vec::new() }
}

pub(crate) fn broken(error: StoreError) -> OpenError {
    OpenError::Store(Box::new(error))
}

impl Disk for EmbeddedDisk {
    fn last(&self, session: &SessionKey) -> Result<Offset, StoreError> {
        self.store.last(session, Offset(u64::MAX))
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        for chore in commit.chores {
            if let Chore::Forget(groups) = chore {
                self.trimmed.extend(groups);
            }
        }
        let settled = self.mark.settled();
        let forget = self.trimmed.iter().take_while(|last| **last <= settled).count();
        self.store.commit(commit, self.trimmed.drain(..forget))?;
        if commit.group.entries.is_empty() {
            return Ok(());
        }
        let last = commit.group.last();
        let settled = self.settling.committed(&self.store, last);
        let mark = Mark { last, settled, ..self.mark.newest() };
        self.mark.write(mark).map_err(StoreError::Mark)
    }
}
