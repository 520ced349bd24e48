//! A new epoch of a log that has lost nothing: where offsets that were issued elsewhere come in below it.

use fanfold_fold::{Epoch, Offset, SessionKey};

use super::config::EmbeddedLogConfig;
use super::disk::{self, Opened, Paths, broken, first_mark, guarded};
use super::error::OpenError;
use super::identity::Identity;
use super::log::EmbeddedLog;
use super::mark::MarkFile;
use super::queue::Chore;
use crate::{Inventory, ReadError};

/// What begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BegunEpoch {
    /// The new incarnation. Cursors of the old one are not of it.
    pub epoch: Epoch,
    /// Its first offset.
    pub first: Offset,
}

impl EmbeddedLog {
    /// Begins a new epoch above `above` and above everything ever issued, or makes a log that begins there. Records stay at their offsets;
    /// append ids are forgotten. A log that has lost anything is refused, as by [`EmbeddedLog::open`].
    pub fn new_epoch(config: &EmbeddedLogConfig, above: Offset) -> Result<BegunEpoch, OpenError> {
        let Opened { store, ledger, identity: old, disk, .. } = guarded(|| disk::open(config))?;
        drop(disk);
        let first = Offset(ledger.last().max(above).0 + 1);
        let identity = Identity::mint(first, old.given_up);
        // The store first: an interruption in between is an `EpochMismatch`, and `accept_loss` is the way out.
        store.set_identity(&identity).map_err(broken)?;
        let mark = first_mark(identity.epoch, first);
        MarkFile::create(&Paths::new(&config.dir).mark, mark).map_err(OpenError::Directory)?;
        tracing::warn!(epoch = %identity.epoch, first = first.0, "a new epoch begins");
        Ok(BegunEpoch { epoch: identity.epoch, first })
    }
}

#[async_trait::async_trait]
impl Inventory for EmbeddedLog {
    async fn sessions(&self) -> Result<Vec<SessionKey>, ReadError> {
        self.blocking(|store| store.sessions().map_err(|error| super::store::read_error(error, Offset::NONE))).await
    }

    async fn room(&self, _session: &SessionKey) -> Result<Offset, ReadError> {
        Ok(self.visible())
    }

    async fn adopt(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError> {
        assert!(upto <= self.visible(), "offsets grow: {upto} is above what was issued");
        self.committer.chore(Chore::Trim { session: session.clone(), offsets: vec![upto] }).await
    }
}
