//! How values look once they are stored, wherever that is: the same bytes on either side, so that they can be carried over.

#[cfg(test)]
pub(crate) mod golden;
pub(crate) mod key;
pub(crate) mod month;
pub(crate) mod page;
pub(crate) mod row;
pub(crate) mod seal;
pub(crate) mod segment;
pub(crate) mod tries;
pub(crate) mod wanted;

use fanfold_fold::Offset;

use crate::metric;
use crate::port::StoreError;

/// The archive has records after this offset, but the next ones are not among them, or damaged. Asking again doesn't help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("archived records after offset {after} are missing or damaged")]
pub struct ArchiveGap {
    /// The last one before the gap.
    pub after: Offset,
}

pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(crate) fn damaged(what: &'static str) {
    metrics::counter!(metric::DAMAGED, "what" => what).increment(1);
}

pub(crate) fn too_large(what: &'static str) {
    metrics::counter!(metric::TOO_LARGE, "what" => what).increment(1);
}
