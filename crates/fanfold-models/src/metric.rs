//! Every figure about models and tools, with its unit and meaning.

/// Calls of endpoints that have ended, by `endpoint` and `outcome`: `finished`, `dropped` or the failure's kind.
pub(crate) const CALLS: &str = "fanfold_models_calls_total";
/// Calls under way, by `endpoint`.
pub(crate) const CALLS_OPEN: &str = "fanfold_models_calls_open";
/// Time to the first token, by `endpoint`.
pub(crate) const FIRST_TOKEN: &str = "fanfold_models_first_token_seconds";
/// Tokens, by `endpoint` and `kind`: `input`, `cached_input`, `output`.
pub(crate) const TOKENS: &str = "fanfold_models_tokens_total";
/// Cost, by `endpoint`, in billionths of the currency.
pub(crate) const COST: &str = "fanfold_models_cost_nanos_total";
/// Circuits that opened, by `endpoint`.
pub(crate) const CIRCUIT_OPENED: &str = "fanfold_models_circuit_opened_total";
/// Tool calls, by `tool` and `outcome`.
pub(crate) const TOOL_CALLS: &str = "fanfold_models_tool_calls_total";

/// Tells the process's recorder unit and meaning. Once, before the first router is made; again is harmless.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(CALLS, Unit::Count, "Calls of endpoints that have ended, by outcome");
    describe_gauge!(CALLS_OPEN, Unit::Count, "Calls of endpoints under way");
    describe_histogram!(FIRST_TOKEN, Unit::Seconds, "From a request to its first token");
    describe_counter!(TOKENS, Unit::Count, "Tokens that providers have counted");
    describe_counter!(COST, Unit::Count, "What they cost, in billionths of the prices' currency");
    describe_counter!(CIRCUIT_OPENED, Unit::Count, "Circuit breakers that opened");
    describe_counter!(TOOL_CALLS, Unit::Count, "Calls of tools, by outcome");
}
