//! How far a run has come, as the log has it: what a worker that takes it up does next.

use fanfold_fold::{Part, Run, RunStatus, ToolStatus, View};

/// A tool call that may be run.
pub(super) struct Call {
    /// The model's id of it.
    pub(super) id: String,
    /// Which tool.
    pub(super) name: String,
    /// As JSON text.
    pub(super) arguments: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Progress {
    /// Steps that are finished.
    pub(super) steps: u32,
    /// Texts that people have added.
    pub(super) steered: u32,
    /// Calls that may be run and have no result.
    pub(super) ready: Vec<Call>,
    /// Ids of calls that a person must decide about.
    pub(super) awaited: Vec<String>,
}

impl Progress {
    /// Of a run that a worker writes. Nothing if none does.
    pub(super) fn of(view: &View, run: &Run) -> Option<Self> {
        view.run(&run.id).filter(|run| run.status == RunStatus::Running)?;
        let mut progress = Self::default();
        for part in &view.messages.get(&run.reply)?.parts {
            match part {
                Part::Step(_) => progress.steps += 1,
                Part::Steering(_) => progress.steered += 1,
                Part::ToolCall(call) => match call.status {
                    ToolStatus::Ready => {
                        let (id, name, arguments) = (call.call.clone(), call.name.clone(), call.arguments.clone());
                        progress.ready.push(Call { id, name, arguments });
                    }
                    ToolStatus::AwaitingApproval => progress.awaited.push(call.call.clone()),
                    // The model reads a refusal and a result from the call itself; what was never finished it doesn't see.
                    ToolStatus::Writing | ToolStatus::WritingForApproval => {}
                    ToolStatus::Refused | ToolStatus::Done | ToolStatus::Failed => {}
                },
                Part::Text(_) | Part::Reasoning(_) | Part::Citation(_) | Part::File(_) | Part::Sealed(_) => {}
                Part::Unknown { .. } => {}
            }
        }
        Some(progress)
    }
}
