//! What goes wrong before the store can be used, in the words of whoever opens it.

use std::error::Error;
use std::path::PathBuf;

/// The store does not open, or can't be migrated.
#[derive(Debug, thiserror::Error)]
pub enum ScyllaError {
    /// A key of the configuration has a value that can't be.
    #[error("{0}")]
    Config(&'static str),
    /// A file that the configuration names can't be used.
    #[error("{} can't be used", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No server could be reached, or none let us in.
    #[error("no CQL server could be used")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// No server answered within `connect_ms_max`.
    #[error("no CQL server answered in {0} ms")]
    Silent(u64),
    /// The keyspace isn't there, or was never migrated. `migrate` makes it.
    #[error("the keyspace {0} has not been made: run `fanfold migrate`")]
    NotMigrated(String),
    /// The keyspace is older than this build. `migrate` mends it.
    #[error("the keyspace has schema version {found}, this build needs {needed}")]
    Schema {
        /// Its version.
        found: i32,
        /// The version this build reads and writes.
        needed: i32,
    },
    /// A step of a migration did not succeed. Steps may be repeated.
    #[error("schema step {version} failed at: {statement}")]
    Step {
        /// Which step.
        version: i32,
        /// The statement.
        statement: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A server refused what every migrated keyspace must allow.
    #[error("the servers refuse the store's statements")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}
