//! Every figure the store reports, with its unit and meaning.

/// Writes made durable by one sync: how well they are grouped.
pub(crate) const COMMIT_WRITES: &str = "fanfold_store_commit_writes";
/// Seconds of one group of writes, with its sync.
pub(crate) const COMMIT_SECONDS: &str = "fanfold_store_commit_seconds";
/// Writes that wait for their group.
pub(crate) const QUEUE_WRITES: &str = "fanfold_store_queue_writes";
/// Seconds of one read or packing, without the wait for a permit.
pub(crate) const CALL_SECONDS: &str = "fanfold_store_call_seconds";
/// Bytes of the snapshots put.
pub(crate) const SNAPSHOT_BYTES: &str = "fanfold_store_snapshot_bytes";
/// Bytes of the segments put, compressed.
pub(crate) const SEGMENT_BYTES: &str = "fanfold_store_segment_bytes";
/// Values that failed their checksum or could not be read, by `what`: `snapshot`, `segment`, `row`, `parked`. Each time one is met.
pub(crate) const DAMAGED: &str = "fanfold_store_damaged_total";
/// Reads of the archive that met a missing or damaged record.
pub(crate) const GAPS: &str = "fanfold_store_archive_gaps_total";
/// Snapshots and segments refused for their size, by `what`.
pub(crate) const TOO_LARGE: &str = "fanfold_store_too_large_total";
/// Seconds of one request to the servers that was answered, without the pauses before it.
pub(crate) const CQL_SECONDS: &str = "fanfold_store_cql_seconds";
/// Requests to the servers that were repeated.
pub(crate) const CQL_REPEATED: &str = "fanfold_store_cql_repeated_total";
/// Requests to the servers that were given up.
pub(crate) const CQL_FAILED: &str = "fanfold_store_cql_failed_total";

/// Tells the process's recorder unit and meaning. Once, before the first store is opened; again is harmless.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(COMMIT_WRITES, Unit::Count, "Writes made durable by one sync");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "One group of writes, with its sync");
    describe_gauge!(QUEUE_WRITES, Unit::Count, "Writes that wait for their group");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "One read or packing, without the wait for a permit");
    describe_histogram!(SNAPSHOT_BYTES, Unit::Bytes, "Snapshots put");
    describe_histogram!(SEGMENT_BYTES, Unit::Bytes, "Segments put, compressed");
    describe_counter!(DAMAGED, Unit::Count, "Values that failed their checksum or could not be read, each time one is met");
    describe_counter!(GAPS, Unit::Count, "Reads of the archive that met a missing or damaged record");
    describe_histogram!(CQL_SECONDS, Unit::Seconds, "One request to the servers that was answered");
    describe_counter!(CQL_REPEATED, Unit::Count, "Requests to the servers that were repeated");
    describe_counter!(CQL_FAILED, Unit::Count, "Requests to the servers that were given up");
    describe_counter!(TOO_LARGE, Unit::Count, "Snapshots and segments refused for their size");
}
