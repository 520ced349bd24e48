//! What goes wrong with the local store, in the words of whoever opens or reads it.

use std::path::PathBuf;
use std::sync::Arc;

/// The store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open, or this one has.
    #[error("another process has the store open")]
    Busy,
    /// The directory, or the file in it that says what it is, can't be read or made.
    #[error("the store's directory can't be used")]
    Directory(#[source] std::io::Error),
    /// Written by a release that this one doesn't know, or something else's directory.
    #[error("the store in the directory has a format that this release doesn't know")]
    Format,
    /// A part that was there is gone. Opened without it, the store would seem to be emptier than it is.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// Not readable.
    #[error("the store can't be opened")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A group of writes was not made durable. All of its callers are told the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the writes could not be synced")]
pub(crate) struct NotSynced(#[source] pub(crate) Arc<fjall::Error>);

/// The thread that writes is gone, or failed on this write.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the write was given up")]
pub(crate) struct GivenUp;
