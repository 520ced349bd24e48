//! An answer on its way: its events, the way it took, and what it costs.

use std::collections::BTreeSet;

use super::endpoint::Leave;
use super::{Cost, Route};
use crate::bridge::{Call, CallError};
use crate::{Conversation, ModelEvent, Usage, metric};

/// A model's answer. Dropping it closes the connection, so that a cancelled answer costs no more tokens.
pub struct Answer {
    call: Call,
    leave: Leave,
    route: Route,
    names: Names,
    cost: Option<Cost>,
}

impl Answer {
    pub(super) fn new(leave: Leave, call: Call, route: Route, conversation: &Conversation) -> Self {
        let names = Names { used: conversation.call_ids().map(str::to_owned).collect(), renamed: Vec::new() };
        Self { call, leave, route, names, cost: None }
    }

    /// The next event; nothing after the terminal one. May be dropped and asked for again without losing anything.
    ///
    /// Ids of tool calls are none that the reply has already.
    pub async fn next(&mut self) -> Option<ModelEvent> {
        let mut event = self.call.next().await?;
        self.names.rename(&mut event);
        match &mut event {
            ModelEvent::Sealed { by, .. } => *by = self.leave.endpoint().seals(),
            ModelEvent::Usage(usage) => self.count(usage),
            ModelEvent::Finished(_) => self.leave.succeeded(),
            ModelEvent::Failed(failure) => {
                let error = self.call.error().cloned().unwrap_or_else(|| CallError::Provider(failure.clone()));
                tracing::warn!(endpoint = self.leave.endpoint().name, code = error.code(), "an answer failed");
                self.leave.failed(&error);
            }
            _ => {}
        }
        Some(event)
    }

    /// Who answers, and who doesn't and why.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// What the answer costs. Known once [`ModelEvent::Usage`] has come, where the endpoint has a price.
    pub fn cost(&self) -> Option<Cost> {
        self.cost
    }

    fn count(&mut self, usage: &Usage) {
        let endpoint = self.leave.endpoint();
        let tokens = [("input", usage.input), ("cached_input", usage.cached_input), ("output", usage.output)];
        for (kind, tokens) in tokens {
            metrics::counter!(metric::TOKENS, "endpoint" => endpoint.name.clone(), "kind" => kind).increment(tokens);
        }
        self.cost = endpoint.price.map(|price| price.of(usage));
        if let Some(cost) = self.cost {
            metrics::counter!(metric::COST, "endpoint" => endpoint.name.clone()).increment(cost.nanos);
        }
    }
}

/// Ids of tool calls. Many servers count them from one in each answer, and a run has an answer for each of its steps.
struct Names {
    used: BTreeSet<String>,
    /// Ids of the stream that had been used, and what they are called instead.
    renamed: Vec<(String, String)>,
}

impl Names {
    fn rename(&mut self, event: &mut ModelEvent) {
        match event {
            ModelEvent::ToolCallStarted { call, .. } => {
                let theirs = call.clone();
                let mut numbers = 2_u64..;
                while self.used.contains(call) {
                    *call = format!("{theirs}.{}", numbers.next().unwrap_or_default());
                }
                self.used.insert(call.clone());
                if *call != theirs {
                    self.renamed.push((theirs, call.clone()));
                }
            }
            ModelEvent::ToolCallArguments { call, .. }
            | ModelEvent::ToolCallReady { call }
            | ModelEvent::ToolResult { call, .. } => {
                if let Some((_, ours)) = self.renamed.iter().find(|(theirs, _)| theirs == call) {
                    call.clone_from(ours);
                }
            }
            ModelEvent::Model(_) | ModelEvent::Text(_) | ModelEvent::Reasoning(_) | ModelEvent::Citation(_) => {}
            ModelEvent::Sealed { .. } => {}
            ModelEvent::StepFinished(_) | ModelEvent::Usage(_) | ModelEvent::Finished(_) | ModelEvent::Failed(_) => {}
        }
    }
}
