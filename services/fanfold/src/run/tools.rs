//! The tools of one step: each is called once its arguments are whole and, where a person must allow it, once one has. A result is said as
//! soon as it is there.

use std::collections::VecDeque;
use std::time::Duration;

use fanfold_fold::{Part, ToolStatus, View};
use fanfold_models::{FinishReason, ModelEvent, ToolAnswer, Tools};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::run::bridge::{Over, say};
use crate::run::model::unreadable;
use crate::run::said::said;
use crate::run::worker::Job;

/// Tools that one step calls at a time. The others wait.
const AT_A_TIME_MAX: usize = 8;

/// Between two looks for a person's decision; doubled with each, up to the other.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(100);
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The calls of one answer that are not the provider's own.
#[derive(Default)]
pub(super) struct Calls {
    calls: VecDeque<Call>,
}

struct Call {
    id: String,
    name: String,
    arguments: String,
    ready: bool,
}

impl Calls {
    /// Takes note of what an event says of calls.
    pub(super) fn heed(&mut self, event: &ModelEvent) {
        match event {
            ModelEvent::ToolCallStarted { call, name, by_provider: false } => {
                let (id, name) = (call.clone(), name.clone());
                self.calls.push_back(Call { id, name, arguments: String::new(), ready: false });
            }
            ModelEvent::ToolCallArguments { call, text } => {
                if let Some(call) = self.find(call) {
                    call.arguments.push_str(text);
                }
            }
            ModelEvent::ToolCallReady { call } => {
                if let Some(call) = self.find(call) {
                    call.ready = true;
                }
            }
            ModelEvent::ToolResult { call, .. } => self.calls.retain(|known| known.id != *call),
            ModelEvent::ToolCallStarted { by_provider: true, .. } | ModelEvent::Model(_) | ModelEvent::Text(_) => {}
            ModelEvent::Reasoning(_) | ModelEvent::Citation(_) | ModelEvent::StepFinished(_) => {}
            ModelEvent::Usage(_) | ModelEvent::Finished(_) | ModelEvent::Failed(_) => {}
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Call> {
        self.calls.iter_mut().rev().find(|call| call.id == id)
    }

    /// Whether the run goes on with results of ours. Where one of the calls is nobody's, the application has to answer.
    pub(super) fn wait_for_us(&self, reason: &FinishReason, tools: &Tools) -> bool {
        let whole = match reason {
            // Some providers call it a stop.
            FinishReason::ToolCalls | FinishReason::Stop | FinishReason::Other(_) => true,
            FinishReason::Length | FinishReason::ContentFilter => false,
        };
        let ours = |call: &Call| call.ready && tools.specs().iter().any(|spec| spec.name == call.name);
        whole && !self.calls.is_empty() && self.calls.iter().all(ours)
    }
}

/// Runs every call and says its result. A person who says nothing for `approval_max` has not allowed it.
pub(super) async fn run_tools(job: &dyn Job, tools: &Tools, calls: Calls, approval_max: Duration) -> Result<(), Over> {
    let (mut awaited, mut allowed): (VecDeque<Call>, VecDeque<Call>) =
        calls.calls.into_iter().partition(|call| tools.needs_approval(&call.name));
    let until = Instant::now() + approval_max;
    let mut look_after = LOOK_INTERVAL_MIN;
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_A_TIME_MAX
            && let Some(call) = allowed.pop_front()
        {
            running.push(async move {
                let ToolAnswer { content, is_error } = tools.call(&call.name, &call.arguments).await;
                ModelEvent::ToolResult { call: call.id, content, is_error }
            });
        }
        tokio::select! {
            Some(result) = running.next() => say(job, said(vec![result])).await?,
            () = tokio::time::sleep(look_after), if !awaited.is_empty() => {
                look_after = (look_after * 2).min(LOOK_INTERVAL_MAX);
                let over = Instant::now() >= until;
                let view = match job.look().await {
                    Ok(view) => view,
                    Err(_) if over => return say(job, vec![unreadable()]).await.and(Err(Over)),
                    // Nothing is known yet.
                    Err(_) => continue,
                };
                for call in std::mem::take(&mut awaited) {
                    match status(&view, job, &call) {
                        Some(ToolStatus::AwaitingApproval) if over => say(job, said(vec![not_decided(call)])).await?,
                        Some(ToolStatus::AwaitingApproval) => awaited.push_back(call),
                        Some(ToolStatus::Ready) => allowed.push_back(call),
                        // The model reads the refusal from the call itself.
                        Some(_) | None => {}
                    }
                }
            }
            else => return Ok(()),
        }
    }
}

/// How far a call of this run has come.
fn status(view: &View, job: &dyn Job, call: &Call) -> Option<ToolStatus> {
    let reply = view.messages.get(&job.run().reply)?;
    reply.parts.iter().rev().find_map(|part| match part {
        Part::ToolCall(known) if known.call == call.id => Some(known.status),
        _ => None,
    })
}

fn not_decided(call: Call) -> ModelEvent {
    let content = "Nobody allowed this call in time.".to_owned();
    ModelEvent::ToolResult { call: call.id, content, is_error: true }
}
