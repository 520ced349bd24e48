//! How far a run has come, as the log has it: what a worker that takes it up does next.

use fanfold_fold::{AttemptId, Part, Run, RunStatus, ToolStatus, View};

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
    /// Of a run that this attempt writes. Nothing if none does, or another: its calls are its own to make.
    pub(super) fn of(view: &View, run: &Run, attempt: &AttemptId) -> Option<Self> {
        view.run(&run.id).filter(|run| run.status == RunStatus::Running && run.attempt.as_ref() == Some(attempt))?;
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

#[cfg(test)]
mod tests {
    use fanfold_fold::{Action, Answer, Command, Parent, Record, Role, RunStarted, Send, SessionOpened, State};

    use super::*;

    /// What a worker reads that has not heard yet that its attempt is over.
    #[test]
    fn another_attempts_calls_are_not_taken_up() {
        let mut state = State::default();
        let started = |attempt: &str| RunStarted {
            run: "r".parse().unwrap(),
            attempt: attempt.parse().unwrap(),
            worker: "w".into(),
            model: None,
            resume: false,
        };
        let answer = Answer { run: "r".parse().unwrap(), reply: "a".parse().unwrap(), model: None, interrupt: false };
        let (message, parts) = ("m".parse().unwrap(), vec![Part::text("hi")]);
        let actions = [
            Action::Open(SessionOpened::default()),
            Action::Send(Send { message, parent: Parent::Newest, role: Role::User, parts, answer: Some(answer) }),
            Action::StartRun(started("first")),
            Action::StartRun(started("second")),
        ];
        for (n, action) in actions.into_iter().enumerate() {
            let id = format!("c{n}").parse().unwrap();
            let record: Record = state.decide(&Command { id, at_ms: 1, by: None, action }).unwrap();
            state.apply(&record);
        }
        let (view, run) = (state.view(), state.view().runs[0].clone());
        assert!(Progress::of(view, &run, &"first".parse().unwrap()).is_none());
        assert!(Progress::of(view, &run, &"second".parse().unwrap()).is_some());
    }
}
