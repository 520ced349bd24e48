//! Stored events, and what a model says.

use fanfold_fold as fold;

use super::{FieldError, id, optional_id, present};
use crate::v1;

impl From<&fold::Event> for v1::Event {
    fn from(event: &fold::Event) -> Self {
        use v1::event::Event;
        let event = match event {
            fold::Event::SessionOpened(event) => {
                Event::SessionOpened(v1::SessionOpened { title: event.title.clone(), user: event.user.clone() })
            }
            fold::Event::SessionTitled(event) => {
                Event::SessionTitled(v1::SessionTitled { title: event.title.clone(), automatic: event.automatic })
            }
            fold::Event::SessionClosed(event) => Event::SessionClosed(v1::SessionClosed { reason: event.reason.clone() }),
            fold::Event::SessionErased(_) => Event::SessionErased(v1::SessionErased {}),
            fold::Event::MessageAdded(event) => Event::MessageAdded(event.into()),
            fold::Event::RunRequested(event) => Event::RunRequested(event.into()),
            fold::Event::RunStarted(event) => Event::RunStarted(v1::RunStarted {
                run: event.run.to_string(),
                attempt: event.attempt.to_string(),
                worker: event.worker.clone(),
                model: event.model.clone(),
                resume: event.resume,
            }),
            fold::Event::Output(event) => Event::Output(event.into()),
            fold::Event::AttemptLost(event) => {
                Event::AttemptLost(v1::AttemptLost { run: event.run.to_string(), attempt: event.attempt.to_string() })
            }
            fold::Event::RunCancelled(event) => {
                Event::RunCancelled(v1::RunCancelled { run: event.run.to_string(), reason: event.reason.clone() })
            }
            fold::Event::RunFailed(event) => Event::RunFailed(v1::RunFailed {
                run: event.run.to_string(),
                code: event.code.clone(),
                message: event.message.clone(),
            }),
            fold::Event::RunSteered(event) => {
                Event::RunSteered(v1::RunSteered { run: event.run.to_string(), text: event.text.clone() })
            }
            fold::Event::ToolDecided(event) => Event::ToolDecided(v1::ToolDecided {
                message: event.message.to_string(),
                call: event.call.clone(),
                approved: event.approved,
                reason: event.reason.clone(),
            }),
            fold::Event::Custom(event) => Event::Custom(v1::Custom {
                kind: event.kind.clone(),
                content_type: event.content_type.clone(),
                payload: event.payload.clone(),
            }),
            fold::Event::Unknown { kind, body } => Event::Unknown(unknown(kind, body)),
        };
        Self { event: Some(event) }
    }
}

fn unknown(kind: &str, body: &impl serde::Serialize) -> v1::Unknown {
    // Writing to memory can't fail; an unreadable body would be shown as empty.
    v1::Unknown { kind: kind.to_owned(), body: rmp_serde::to_vec_named(body).unwrap_or_default() }
}

impl From<&fold::MessageAdded> for v1::MessageAdded {
    fn from(event: &fold::MessageAdded) -> Self {
        Self {
            message: event.message.to_string(),
            parent: event.parent.as_ref().map(ToString::to_string),
            role: v1::Role::from(event.role).into(),
            author: event.author.clone(),
            parts: event.parts.iter().map(Into::into).collect(),
        }
    }
}

impl From<&fold::RunRequested> for v1::RunRequested {
    fn from(event: &fold::RunRequested) -> Self {
        Self {
            run: event.run.to_string(),
            reply: event.reply.to_string(),
            prompt: event.prompt.to_string(),
            model: event.model.clone(),
            interrupt: event.interrupt,
            attempts_max: event.attempts_max,
        }
    }
}

impl From<&fold::Output> for v1::Output {
    fn from(output: &fold::Output) -> Self {
        Self { attempt: output.attempt.to_string(), seq: output.seq, said: output.said.iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::Output> for fold::Output {
    type Error = FieldError;

    fn try_from(output: v1::Output) -> Result<Self, FieldError> {
        Ok(Self {
            attempt: id(&output.attempt, "output.attempt")?,
            seq: output.seq,
            said: output.said.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&fold::Said> for v1::Said {
    fn from(said: &fold::Said) -> Self {
        use v1::said::Said;
        let said = match said {
            fold::Said::Text(said) => Said::Text(v1::Text { text: said.text.clone() }),
            fold::Said::Reasoning(said) => Said::Reasoning(v1::Text { text: said.text.clone() }),
            fold::Said::ToolCall(said) => Said::ToolCall(v1::ToolCallStarted {
                call: said.call.clone(),
                name: said.name.clone(),
                needs_approval: said.needs_approval,
            }),
            fold::Said::ToolArguments(said) => {
                Said::ToolArguments(v1::ToolArguments { call: said.call.clone(), text: said.text.clone() })
            }
            fold::Said::ToolReady(said) => Said::ToolReady(v1::ToolReady { call: said.call.clone() }),
            fold::Said::ToolResult(said) => Said::ToolResult(v1::ToolResult {
                call: said.call.clone(),
                content: said.content.clone(),
                is_error: said.is_error,
            }),
            fold::Said::Citation(said) => Said::Citation(said.into()),
            fold::Said::StepFinished(said) => Said::StepFinished(v1::Step { reason: Some((&said.reason).into()) }),
            fold::Said::Usage(said) => Said::Usage((*said).into()),
            fold::Said::Completed(said) => {
                Said::Completed(v1::Completed { reason: Some((&said.reason).into()), steered: said.steered })
            }
            fold::Said::Sealed(said) => Said::Sealed(said.into()),
            fold::Said::Waiting(said) => Said::Waiting(said.into()),
            fold::Said::Failed(said) => {
                Said::Failed(v1::Failed { code: said.code.clone(), message: said.message.clone(), retryable: said.retryable })
            }
            fold::Said::Unknown { kind, body } => Said::Unknown(unknown(kind, body)),
        };
        Self { said: Some(said) }
    }
}

impl TryFrom<v1::Said> for fold::Said {
    type Error = FieldError;

    fn try_from(said: v1::Said) -> Result<Self, FieldError> {
        use v1::said::Said;
        let reason = |reason: Option<v1::FinishReason>| present(reason, "reason").and_then(TryInto::try_into);
        Ok(match present(said.said, "said")? {
            Said::Text(said) => fold::TextDelta { text: said.text }.into(),
            Said::Reasoning(said) => fold::ReasoningDelta { text: said.text }.into(),
            Said::ToolCall(said) => {
                fold::ToolCallStarted { call: said.call, name: said.name, needs_approval: said.needs_approval }.into()
            }
            Said::ToolArguments(said) => fold::ToolArguments { call: said.call, text: said.text }.into(),
            Said::ToolReady(said) => fold::ToolReady { call: said.call }.into(),
            Said::ToolResult(said) => fold::ToolResult { call: said.call, content: said.content, is_error: said.is_error }.into(),
            Said::Citation(said) => fold::Citation::from(said).into(),
            Said::StepFinished(said) => fold::StepFinished { reason: reason(said.reason)? }.into(),
            Said::Usage(said) => fold::Usage::from(said).into(),
            Said::Completed(said) => fold::Completed { reason: reason(said.reason)?, steered: said.steered }.into(),
            Said::Sealed(said) => fold::Sealed::from(said).into(),
            Said::Waiting(said) => fold::Waiting::from(said).into(),
            Said::Failed(said) => fold::Failed { code: said.code, message: said.message, retryable: said.retryable }.into(),
            // A producer can't say what nobody understands: it would never be shown.
            Said::Unknown(_) => return present(None, "said"),
        })
    }
}

impl TryFrom<v1::RunRequested> for fold::RunRequested {
    type Error = FieldError;

    fn try_from(event: v1::RunRequested) -> Result<Self, FieldError> {
        Ok(Self {
            run: id(&event.run, "request_run.run")?,
            reply: id(&event.reply, "request_run.reply")?,
            prompt: id(&event.prompt, "request_run.prompt")?,
            model: event.model,
            interrupt: event.interrupt,
            attempts_max: event.attempts_max,
        })
    }
}

impl TryFrom<v1::RunStarted> for fold::RunStarted {
    type Error = FieldError;

    fn try_from(event: v1::RunStarted) -> Result<Self, FieldError> {
        Ok(Self {
            run: id(&event.run, "start_run.run")?,
            attempt: id(&event.attempt, "start_run.attempt")?,
            worker: event.worker,
            model: event.model,
            resume: event.resume,
        })
    }
}

impl TryFrom<v1::AttemptLost> for fold::AttemptLost {
    type Error = FieldError;

    fn try_from(event: v1::AttemptLost) -> Result<Self, FieldError> {
        Ok(Self { run: id(&event.run, "lose_attempt.run")?, attempt: id(&event.attempt, "lose_attempt.attempt")? })
    }
}

impl TryFrom<v1::RunSteered> for fold::RunSteered {
    type Error = FieldError;

    fn try_from(event: v1::RunSteered) -> Result<Self, FieldError> {
        Ok(Self { run: id(&event.run, "steer.run")?, text: event.text })
    }
}

impl TryFrom<v1::ToolDecided> for fold::ToolDecided {
    type Error = FieldError;

    fn try_from(event: v1::ToolDecided) -> Result<Self, FieldError> {
        Ok(Self {
            message: id(&event.message, "decide_tool.message")?,
            call: event.call,
            approved: event.approved,
            reason: event.reason,
        })
    }
}

impl From<v1::Custom> for fold::Custom {
    fn from(event: v1::Custom) -> Self {
        Self { kind: event.kind, content_type: event.content_type, payload: event.payload }
    }
}

/// The action of a command whose ids have been filled in.
impl TryFrom<v1::command::Action> for fold::Action {
    type Error = FieldError;

    fn try_from(action: v1::command::Action) -> Result<Self, FieldError> {
        use v1::command::Action;
        Ok(match action {
            Action::Open(action) => Self::Open(fold::SessionOpened { title: action.title, user: action.user }),
            Action::SetTitle(action) => Self::SetTitle(fold::SessionTitled { title: action.title, automatic: action.automatic }),
            Action::Close(action) => Self::Close(fold::SessionClosed { reason: action.reason }),
            Action::Erase(v1::SessionErased {}) => Self::Erase,
            Action::Send(action) => Self::Send(action.try_into()?),
            Action::RequestRun(action) => Self::RequestRun(action.try_into()?),
            Action::Cancel(action) => {
                Self::Cancel { run: optional_id(action.run.as_deref(), "cancel.run")?, reason: action.reason }
            }
            Action::Steer(action) => Self::Steer(action.try_into()?),
            Action::DecideTool(action) => Self::DecideTool(action.try_into()?),
            Action::Custom(action) => Self::Custom(action.into()),
            Action::StartRun(action) => Self::StartRun(action.try_into()?),
            Action::LoseAttempt(action) => Self::LoseAttempt(action.try_into()?),
        })
    }
}

impl TryFrom<v1::Send> for fold::Send {
    type Error = FieldError;

    fn try_from(send: v1::Send) -> Result<Self, FieldError> {
        let parent = match (send.root, optional_id(send.parent.as_deref(), "send.parent")?) {
            (true, _) => fold::Parent::Root,
            (false, Some(parent)) => fold::Parent::Message(parent),
            (false, None) => fold::Parent::Newest,
        };
        let answer = |answer: v1::Answer| {
            Ok(fold::Answer {
                run: id(&answer.run, "send.answer.run")?,
                reply: id(&answer.reply, "send.answer.reply")?,
                model: answer.model,
                interrupt: answer.interrupt,
            })
        };
        Ok(Self {
            message: id(&send.message, "send.message")?,
            parent,
            role: send.role().try_into()?,
            answer: send.answer.map(answer).transpose()?,
            parts: send.parts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}
