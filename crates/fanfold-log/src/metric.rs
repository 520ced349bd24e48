//! Every figure the log reports, with its unit and meaning.

/// Appends answered, by `outcome`: `stored`, `repeated`, `conflict`, `overloaded`, `closed`, `unknown`, `too_large`.
pub(crate) const APPENDS: &str = "fanfold_log_appends_total";
/// Records made durable by one commit: how well the group commit groups.
pub(crate) const COMMIT_RECORDS: &str = "fanfold_log_commit_records";
/// Seconds of one commit, from the first record taken to the mark synced.
pub(crate) const COMMIT_SECONDS: &str = "fanfold_log_commit_seconds";
/// Appends that wait for their commit.
pub(crate) const QUEUE_RECORDS: &str = "fanfold_log_queue_records";
/// Bytes of the appends that wait for their commit.
pub(crate) const QUEUE_BYTES: &str = "fanfold_log_queue_bytes";
/// 1 after a disk error, until the process restarts: the log takes no more appends.
pub(crate) const POISONED: &str = "fanfold_log_poisoned";
/// Seconds of one read of the store, without the wait for a permit.
pub(crate) const READ_SECONDS: &str = "fanfold_log_read_seconds";
/// Reads that met a record which fails its checksum, or a chain with a record missing.
pub(crate) const READS_DAMAGED: &str = "fanfold_log_reads_damaged_total";
/// Times a replica that was behind its leader was asked again.
#[cfg(feature = "jetstream")]
pub(crate) const READS_STALE: &str = "fanfold_log_reads_stale_total";
/// Messages on live subjects that are not records of their session.
#[cfg(feature = "jetstream")]
pub(crate) const TAIL_FOREIGN: &str = "fanfold_log_tail_foreign_total";
/// Tails registered.
pub(crate) const TAILS: &str = "fanfold_log_tails";
/// Times a tail overflowed and its reader was sent back to the log.
pub(crate) const TAILS_LOST: &str = "fanfold_log_tails_lost_total";
/// Seconds of checking for lost records at start-up.
pub(crate) const VERIFY_SECONDS: &str = "fanfold_log_verify_seconds";

/// Tells the process's recorder unit and meaning. Once, before the first log is opened; again is harmless.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(APPENDS, Unit::Count, "Appends answered, by outcome");
    describe_histogram!(COMMIT_RECORDS, Unit::Count, "Records made durable by one commit");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "One commit, from the first record taken to the mark synced");
    describe_gauge!(QUEUE_RECORDS, Unit::Count, "Appends that wait for their commit");
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes of the appends that wait for their commit");
    describe_gauge!(POISONED, Unit::Count, "1 after a disk error, until the process restarts");
    describe_histogram!(READ_SECONDS, Unit::Seconds, "One read of the store, without the wait for a permit");
    describe_counter!(READS_DAMAGED, Unit::Count, "Reads that met a damaged or missing record");
    #[cfg(feature = "jetstream")]
    describe_counter!(READS_STALE, Unit::Count, "Times a replica that was behind its leader was asked again");
    #[cfg(feature = "jetstream")]
    describe_counter!(TAIL_FOREIGN, Unit::Count, "Messages on live subjects that are not records of their session");
    describe_gauge!(TAILS, Unit::Count, "Tails registered");
    describe_counter!(TAILS_LOST, Unit::Count, "Times a tail overflowed and its reader was sent back to the log");
    describe_histogram!(VERIFY_SECONDS, Unit::Seconds, "Checking for lost records at start-up");
}

/// How an append's outcome is called.
#[cfg(feature = "jetstream")]
pub(crate) fn outcome(result: &Result<fanfold_fold::Offset, crate::AppendError>) -> &'static str {
    use crate::AppendError;
    match result {
        Ok(_) => "stored",
        Err(AppendError::Conflict { .. }) => "conflict",
        Err(AppendError::TooLarge { .. }) => "too_large",
        Err(AppendError::Overloaded) => "overloaded",
        Err(AppendError::Closed) => "closed",
        Err(AppendError::Unknown(_)) => "unknown",
    }
}
