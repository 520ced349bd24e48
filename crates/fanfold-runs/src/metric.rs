//! Every figure the queue reports, with its unit and meaning.

/// Hints offered, by `outcome`: `queued`, `known`, `full`.
pub(crate) const OFFERS: &str = "fanfold_runs_queue_offers_total";
/// Hints handed to workers.
pub(crate) const DELIVERIES: &str = "fanfold_runs_queue_deliveries_total";
/// Leases that ended by time: workers that went silent.
pub(crate) const EXPIRED: &str = "fanfold_runs_queue_leases_expired_total";
/// Runs buried.
pub(crate) const BURIED: &str = "fanfold_runs_queue_buried_total";
/// Hints in the queue, by `place`: `open` (waiting, delayed or leased), `dead`.
pub(crate) const HINTS: &str = "fanfold_runs_queue_hints";

/// Tells the process's recorder unit and meaning. Once, before the first queue is made; again is harmless.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(OFFERS, Unit::Count, "Hints offered, by outcome");
    describe_counter!(DELIVERIES, Unit::Count, "Hints handed to workers");
    describe_counter!(EXPIRED, Unit::Count, "Leases that ended by time");
    describe_counter!(BURIED, Unit::Count, "Runs buried");
    describe_gauge!(HINTS, Unit::Count, "Hints in the queue, by place");
}
