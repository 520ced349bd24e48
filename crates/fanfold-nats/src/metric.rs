//! Every figure of the connection, with its unit and meaning.

/// 1 while a server answers, 0 while the connection is being restored.
pub(crate) const CONNECTED: &str = "fanfold_nats_connected";
/// Times the connection was lost.
pub(crate) const DISCONNECTS: &str = "fanfold_nats_disconnects_total";
/// Messages that a subscription lost because it was not read in time.
pub(crate) const SLOW: &str = "fanfold_nats_slow_subscriptions_total";
/// Errors that the server told the connection of, such as a missing permission.
pub(crate) const SERVER_ERRORS: &str = "fanfold_nats_server_errors_total";

/// Tells the process's recorder unit and meaning. Once, before the first connection; again is harmless.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(CONNECTED, Unit::Count, "1 while a server answers");
    describe_counter!(DISCONNECTS, Unit::Count, "Times the connection was lost");
    describe_counter!(SLOW, Unit::Count, "Messages that a subscription lost because it was not read in time");
    describe_counter!(SERVER_ERRORS, Unit::Count, "Errors that the server told the connection of");
}
