//! Why an embedded log doesn't open, and what is known of records that are gone.

use std::fmt;

use fanfold_fold::{Epoch, SessionKey};

use super::identity::LostRange;

/// Sessions that a [`Loss`] names. It may concern more.
pub const LOSS_SESSIONS_MAX: usize = 100;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an embedded log doesn't open. Except for [`OpenError::Busy`] and passing trouble with the directory, each of these needs a
/// person: restore the directory from a backup, or give up what is lost by `accept_loss`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made or read.
    #[error("the directory of the log can't be used")]
    Directory(#[source] std::io::Error),
    /// Another process, or another handle of this one, has the log open.
    #[error("the log is open elsewhere")]
    Busy,
    /// A thread could not be started.
    #[error("the log's thread could not be started")]
    Thread(#[source] std::io::Error),
    /// What lies beneath refuses to open: damaged files, or trouble with the disk.
    #[error("the store beneath the log can't be opened")]
    Store(#[source] Source),
    /// There are records and nothing that says up to where they were acknowledged.
    #[error("the high-water mark is missing, so nobody knows whether records are lost")]
    MarkMissing,
    /// The file is there and neither of its slots holds.
    #[error("the high-water mark is damaged, so nobody knows whether records are lost")]
    MarkDamaged,
    /// The store has no identity, or a damaged one: it is not the one the mark belongs to, or its beginning is lost.
    #[error("the store beneath the log has lost its identity, and all of its acknowledged records: {0}")]
    IdentityLost(Loss),
    /// Store and mark are of different incarnations: a half restored backup, or an interrupted `accept_loss`.
    #[error("the high-water mark is of epoch {mark}, the store of epoch {store}")]
    EpochMismatch {
        /// What the mark says.
        mark: Epoch,
        /// What the store says.
        store: Epoch,
    },
    /// Acknowledged records are not there any more.
    #[error("acknowledged records are lost: {0}")]
    Lost(Loss),
}

/// Which acknowledged records are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// The offsets, in order.
    pub ranges: Vec<LostRange>,
    /// Sessions known to be concerned, as later records of theirs are still there. At most [`LOSS_SESSIONS_MAX`], and others
    /// may be concerned too.
    pub sessions: Vec<SessionKey>,
}

impl Loss {
    /// How many records are gone.
    pub fn records(&self) -> u64 {
        self.ranges.iter().map(LostRange::records).sum()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |texts: Vec<String>| texts.join(", ");
        let ranges = join(self.ranges.iter().map(LostRange::to_string).collect());
        write!(f, "{} records at offsets {ranges}", self.records())?;
        match self.sessions.is_empty() {
            true => write!(f, "; sessions unknown"),
            false => {
                write!(f, "; sessions {} and perhaps others", join(self.sessions.iter().map(SessionKey::to_string).collect()))
            }
        }
    }
}

/// Why a commit may not have become durable. After one of these the log takes no more appends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store beneath the log failed")]
    Fjall(#[from] fjall::Error),
    #[error("the high-water mark could not be written")]
    Mark(#[source] std::io::Error),
    #[error("stored bytes are damaged")]
    Damaged(#[from] super::layout::DamagedBytes),
    #[error("the log has failed before")]
    Poisoned,
}
