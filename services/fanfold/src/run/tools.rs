//! The tools of one step: each is called once its arguments are whole and, where a person must allow it, once one has. A result is said as
//! soon as it is there.

use std::collections::VecDeque;

use fanfold_fold::{Run, SessionId};
use fanfold_models::{FinishReason, ModelEvent, ToolAnswer, Tools};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};

use crate::run::bridge::{Over, say};
use crate::run::progress::Call;
use crate::run::said::said;
use crate::run::worker::Job;

/// Tools that one step calls at a time. The others wait.
const AT_A_TIME_MAX: usize = 8;

/// The calls of one answer that are not the provider's own.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Begun>,
}

struct Begun {
    id: String,
    name: String,
    ready: bool,
}

impl Calls {
    /// Takes note of what an event says of calls.
    pub(super) fn heed(&mut self, event: &ModelEvent) {
        match event {
            ModelEvent::ToolCallStarted { call, name, by_provider: false } => {
                self.calls.push(Begun { id: call.clone(), name: name.clone(), ready: false });
            }
            ModelEvent::ToolCallReady { call } => {
                if let Some(call) = self.calls.iter_mut().rev().find(|known| known.id == *call) {
                    call.ready = true;
                }
            }
            ModelEvent::ToolResult { call, .. } => self.calls.retain(|known| known.id != *call),
            ModelEvent::ToolCallStarted { by_provider: true, .. } | ModelEvent::ToolCallArguments { .. } => {}
            ModelEvent::Model(_) | ModelEvent::Text(_) | ModelEvent::Reasoning(_) | ModelEvent::Sealed { .. } => {}
            ModelEvent::Citation(_) | ModelEvent::StepFinished(_) => {}
            ModelEvent::Usage(_) | ModelEvent::Finished(_) | ModelEvent::Failed(_) => {}
        }
    }

    /// Whether the run goes on with results of ours. Where one of the calls is nobody's, the application has to answer.
    pub(super) fn wait_for_us(&self, reason: &FinishReason, tools: &Tools) -> bool {
        let whole = match reason {
            // Some providers call it a stop.
            FinishReason::ToolCalls | FinishReason::Stop | FinishReason::Other(_) => true,
            FinishReason::Length | FinishReason::ContentFilter => false,
        };
        let ours = |call: &Begun| call.ready && tools.specs().iter().any(|spec| spec.name == call.name);
        whole && !self.calls.is_empty() && self.calls.iter().all(ours)
    }
}

/// Runs every call and says its result.
pub(super) async fn run_tools(job: &dyn Job, tools: &Tools, calls: Vec<Call>) -> Result<(), Over> {
    let mut calls = VecDeque::from(calls);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_A_TIME_MAX
            && let Some(call) = calls.pop_front()
        {
            running.push(async move {
                let key = idempotency_key(job.session(), job.run(), &call.id);
                let ToolAnswer { content, is_error } = tools.call(&call.name, &call.arguments, &key).await;
                ModelEvent::ToolResult { call: call.id, content, is_error }
            });
        }
        match running.next().await {
            Some(result) => say(job, said(vec![result])).await?,
            None => return Ok(()),
        }
    }
}

/// The same for every request that is made for one call, whichever attempt makes it: a tool can know a repetition. The time at which
/// the run was asked for tells apart what several tenants may call the same.
fn idempotency_key(session: &SessionId, run: &Run, call: &str) -> String {
    let name = format!("{session}/{}/{}/{call}", run.id, run.requested_at_ms);
    Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect()
}
