//! Which way a request went and why: plain data, for the run's events.

use serde::Serialize;

use super::endpoint::Endpoint;
use crate::DialectName;

/// The way to an answer, or to none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Route {
    /// The model that was asked for.
    pub model: String,
    /// Who answers; nothing where nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// Who doesn't, in the order in which they were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Passed>,
    /// Milliseconds from the request to the first token, or to the decision that nobody answers.
    pub took_ms: u64,
}

impl Route {
    /// Notes that an endpoint was passed over. That it is still full or still failing is said once.
    pub(super) fn pass(&mut self, endpoint: &str, why: Why) {
        let again = |passed: &Passed| {
            let same = match (&passed.why, &why) {
                (Why::CircuitOpen { .. }, Why::CircuitOpen { .. }) | (Why::AtCapacity { .. }, Why::AtCapacity { .. }) => true,
                (Why::CircuitOpen { .. } | Why::AtCapacity { .. } | Why::Failed { .. }, _) => false,
            };
            same && passed.endpoint == endpoint
        };
        if !self.passed.iter().any(again) {
            self.passed.push(Passed { endpoint: endpoint.to_owned(), why });
        }
    }

    /// Notes who answers.
    pub(super) fn choose(&mut self, endpoint: &Endpoint, probe: bool) {
        let others = self.passed.iter().any(|passed| passed.endpoint != endpoint.name);
        let because = match (probe, others) {
            (true, _) => Because::Probe,
            (false, true) => Because::Fallback,
            (false, false) => Because::First,
        };
        let dialect = endpoint.target.dialect;
        let (endpoint, model) = (endpoint.name.clone(), endpoint.provider_model.clone());
        self.chosen = Some(Chosen { endpoint, model, dialect, because });
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The endpoint's name.
    pub endpoint: String,
    /// What it calls the model.
    pub model: String,
    /// How it is spoken to.
    pub dialect: DialectName,
    /// Why this one.
    pub because: Because,
}

/// Why an endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It is the first in order.
    First,
    /// It is the first in order behind those that were passed over.
    Fallback,
    /// It had been failing, and was asked to find out whether it still does.
    Probe,
}

/// Who was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// The endpoint's name.
    pub endpoint: String,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// Why an endpoint was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Why {
    /// It has been failing, or asked for a pause.
    CircuitOpen {
        /// For so long yet.
        retry_ms: u64,
    },
    /// It answers as many as it may.
    AtCapacity {
        /// How many that is.
        concurrent_max: usize,
    },
    /// It was asked, and failed before its first token.
    Failed {
        /// The failure's code.
        code: String,
        /// Its sentence.
        message: String,
        /// Whether it may go better another time.
        retryable: bool,
    },
}
