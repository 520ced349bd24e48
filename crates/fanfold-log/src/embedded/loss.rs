//! The way on after loss: a person says so, and offsets start anew above everything ever acknowledged.

use std::path::PathBuf;

use fanfold_fold::{Epoch, Offset};

use super::config::EmbeddedLogConfig;
use super::disk::{Paths, broken, first_mark, guarded, whole};
use super::error::{Loss, OpenError};
use super::identity::{Identity, LostRange};
use super::log::EmbeddedLog;
use super::mark::{Mark, MarkError, MarkFile};
use super::store::Store;
use super::verify::verify;

/// Offsets left out when nobody knows how far the acknowledged ones went: more than could be issued between two
/// writes of a journal into tables.
const UNKNOWN_OFFSETS: u64 = 1 << 32;

/// What was given up, and what begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// The new incarnation. Cursors and snapshots of the old one are not of it.
    pub epoch: Epoch,
    /// Its first offset, above everything ever acknowledged.
    pub first: Offset,
    /// What is gone. Where the mark was gone too, this includes offsets that may never have been issued.
    pub loss: Loss,
    /// Where the store was moved to, if it could not be read. Nothing is ever deleted.
    pub set_aside: Option<PathBuf>,
}

impl EmbeddedLog {
    /// Gives up what [`EmbeddedLog::open`] refuses to go on without, and begins a new epoch. Never called on the way to
    /// serving: a person has read what is lost.
    ///
    /// Records that are still there stay readable at their offsets, if the store can be read; one that can't is set aside as
    /// it is, and the log begins empty. Where the store aborts the process that opens it, move `store` out of the directory
    /// first. Append ids of the old epoch are forgotten.
    ///
    /// `known` is the highest offset that somebody else knows of, as the store of snapshots: a directory that was replaced by an older
    /// copy looks sound to itself, and what it issued since is lost, too.
    pub fn accept_loss(config: &EmbeddedLogConfig, known: Offset) -> Result<AcceptedLoss, OpenError> {
        let paths = Paths::new(&config.dir);
        std::fs::create_dir_all(&paths.dir).map_err(OpenError::Directory)?;
        let mark = match MarkFile::open(&paths.mark) {
            Ok(mark) => mark.map(|file| file.newest()),
            Err(MarkError::Damaged) => None,
            Err(MarkError::Io(error)) => return Err(OpenError::Directory(error)),
        };
        let Found { store, identity, last, lost: found, set_aside } = find(&paths, config, mark.as_ref())?;
        let before = identity.as_ref().map_or(Offset::NONE, |old| Offset(old.first.0 - 1));
        let own = last.max(before).max(mark.map_or(Offset::NONE, |mark| mark.last)).0;
        let mut loss = match (mark, &identity) {
            (Some(_), Some(_)) => found,
            (Some(_), None) => lost(1, own),
            (None, Some(_)) => lost(own + 1, own + UNKNOWN_OFFSETS),
            (None, None) => lost(1, own + UNKNOWN_OFFSETS),
        };
        let issued = loss.ranges.last().map_or(0, |range| range.upto.0).max(own);
        loss.ranges.extend(lost(issued + 1, known.0).ranges);
        let first = Offset(issued.max(known.0) + 1);
        let given_up = identity.map(|old| old.given_up).unwrap_or_default().into_iter().chain(loss.ranges.iter().copied());
        let identity = Identity::mint(first, given_up.collect());
        // The store first: an interruption in between is an `EpochMismatch`, and this function is its way out too.
        store.set_identity(&identity).map_err(broken)?;
        MarkFile::create(&paths.mark, first_mark(identity.epoch, first)).map_err(OpenError::Directory)?;
        tracing::warn!(epoch = %identity.epoch, first = first.0, lost = loss.records(), "a new epoch begins");
        Ok(AcceptedLoss { epoch: identity.epoch, first, loss, set_aside })
    }
}

/// A store to go on with, and what the old one tells.
struct Found {
    store: Store,
    /// `None` if nothing could be learned from the old store.
    identity: Option<Identity>,
    last: Offset,
    lost: Loss,
    set_aside: Option<PathBuf>,
}

/// The store as it is, if all that a start-up reads can be read. Otherwise it is kept under another name for whoever may get
/// something out of it, and an empty one takes its place.
fn find(paths: &Paths, config: &EmbeddedLogConfig, mark: Option<&Mark>) -> Result<Found, OpenError> {
    match guarded(|| examine(paths, config, mark)) {
        Ok(Some(found)) => return Ok(found),
        Err(OpenError::Busy) => return Err(OpenError::Busy),
        Ok(None) | Err(_) => {}
    }
    let mut set_aside = None;
    if paths.store.try_exists().map_err(OpenError::Directory)? {
        let aside = paths.dir.join(format!("store.damaged-{}", uuid::Uuid::new_v4()));
        std::fs::rename(&paths.store, &aside).map_err(OpenError::Directory)?;
        set_aside = Some(aside);
    }
    let store = Store::open(&paths.store, config)?;
    Ok(Found { store, identity: None, last: Offset::NONE, lost: Loss::default(), set_aside })
}

fn examine(paths: &Paths, config: &EmbeddedLogConfig, mark: Option<&Mark>) -> Result<Option<Found>, OpenError> {
    if !paths.store.try_exists().map_err(OpenError::Directory)? {
        return Ok(None);
    }
    whole(paths)?;
    let store = Store::open(&paths.store, config)?;
    // A damaged table that nothing has read yet would stop the log again, as soon as the driver compacts it.
    store.compact().map_err(broken)?;
    let Some(identity) = store.identity().map_err(broken)? else { return Ok(None) };
    let last = store.last_group().map_err(broken)?.unwrap_or(Offset::NONE);
    let lost = match mark {
        Some(mark) => verify(mark, 0, store.groups(mark.settled)).map_err(broken)?.loss,
        None => Loss::default(),
    };
    Ok(Some(Found { store, identity: Some(identity), last, lost, set_aside: None }))
}

fn lost(from: u64, upto: u64) -> Loss {
    let range = LostRange { from: Offset(from), upto: Offset(upto) };
    Loss { ranges: Vec::from_iter((from <= upto).then_some(range)), sessions: Vec::new() }
}
