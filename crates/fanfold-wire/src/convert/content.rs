//! Messages, parts, runs and the view.

use std::collections::BTreeMap;

use fanfold_fold as fold;

use super::{FieldError, id, optional_id, present, value};
use crate::v1;

impl From<&fold::View> for v1::View {
    fn from(view: &fold::View) -> Self {
        Self {
            session: Some((&view.session).into()),
            messages: view.messages.iter().map(Into::into).collect(),
            runs: view.runs.iter().map(Into::into).collect(),
            custom: view.custom.iter().map(|(kind, value)| (kind.clone(), value.into())).collect::<BTreeMap<_, _>>(),
        }
    }
}

impl TryFrom<v1::View> for fold::View {
    type Error = FieldError;

    fn try_from(view: v1::View) -> Result<Self, FieldError> {
        let messages: Vec<fold::Message> = view.messages.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self {
            session: view.session.unwrap_or_default().try_into()?,
            messages: messages.into(),
            runs: view.runs.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            custom: view.custom.into_iter().map(|(kind, value)| (kind, value.into())).collect::<BTreeMap<_, _>>(),
        })
    }
}

impl From<&fold::Session> for v1::Session {
    fn from(session: &fold::Session) -> Self {
        let (status, reason) = match &session.status {
            fold::SessionStatus::Absent => (v1::SessionStatus::Absent, ""),
            fold::SessionStatus::Open => (v1::SessionStatus::Open, ""),
            fold::SessionStatus::Closed(reason) => (v1::SessionStatus::Closed, reason.as_str()),
            fold::SessionStatus::Erased => (v1::SessionStatus::Erased, ""),
        };
        Self {
            title: session.title.clone(),
            title_automatic: session.title_automatic,
            user: session.user.clone(),
            status: status.into(),
            reason: reason.to_owned(),
            opened_at_ms: session.opened_at_ms,
        }
    }
}

impl TryFrom<v1::Session> for fold::Session {
    type Error = FieldError;

    fn try_from(session: v1::Session) -> Result<Self, FieldError> {
        let status = match session.status() {
            v1::SessionStatus::Unspecified | v1::SessionStatus::Absent => fold::SessionStatus::Absent,
            v1::SessionStatus::Open => fold::SessionStatus::Open,
            v1::SessionStatus::Closed => fold::SessionStatus::Closed(session.reason),
            v1::SessionStatus::Erased => fold::SessionStatus::Erased,
        };
        Ok(Self {
            title: session.title,
            title_automatic: session.title_automatic,
            user: session.user,
            status,
            opened_at_ms: session.opened_at_ms,
        })
    }
}

impl From<&fold::Message> for v1::Message {
    fn from(message: &fold::Message) -> Self {
        Self {
            id: message.id.to_string(),
            parent: message.parent.as_ref().map(ToString::to_string),
            role: v1::Role::from(message.role).into(),
            author: message.author.clone(),
            at_ms: message.at_ms,
            run: message.run.as_ref().map(ToString::to_string),
            parts: message.parts.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Message> for fold::Message {
    type Error = FieldError;

    fn try_from(message: v1::Message) -> Result<Self, FieldError> {
        Ok(Self {
            id: id(&message.id, "message.id")?,
            parent: optional_id(message.parent.as_deref(), "message.parent")?,
            role: message.role().try_into()?,
            run: optional_id(message.run.as_deref(), "message.run")?,
            author: message.author,
            at_ms: message.at_ms,
            parts: message.parts.into_iter().map(shown).collect::<Result<_, _>>()?,
        })
    }
}

impl From<fold::Role> for v1::Role {
    fn from(role: fold::Role) -> Self {
        match role {
            fold::Role::System => Self::System,
            fold::Role::User => Self::User,
            fold::Role::Assistant => Self::Assistant,
            fold::Role::Tool => Self::Tool,
        }
    }
}

impl TryFrom<v1::Role> for fold::Role {
    type Error = FieldError;

    fn try_from(role: v1::Role) -> Result<Self, FieldError> {
        let role = match role {
            v1::Role::Unspecified => None,
            v1::Role::System => Some(Self::System),
            v1::Role::User => Some(Self::User),
            v1::Role::Assistant => Some(Self::Assistant),
            v1::Role::Tool => Some(Self::Tool),
        };
        value(role, "role")
    }
}

impl From<&fold::Part> for v1::Part {
    fn from(part: &fold::Part) -> Self {
        use v1::part::Part;
        let part = match part {
            fold::Part::Text(part) => Part::Text(v1::Text { text: part.text.clone() }),
            fold::Part::Reasoning(part) => Part::Reasoning(v1::Text { text: part.text.clone() }),
            fold::Part::ToolCall(part) => Part::ToolCall(part.into()),
            fold::Part::Citation(part) => Part::Citation(part.into()),
            fold::Part::File(part) => {
                Part::File(v1::FileRef { url: part.url.clone(), media_type: part.media_type.clone(), name: part.name.clone() })
            }
            fold::Part::Steering(part) => Part::Steering(v1::Steering { text: part.text.clone(), author: part.author.clone() }),
            fold::Part::Step(part) => Part::Step(v1::Step { reason: Some((&part.reason).into()) }),
            fold::Part::Sealed(part) => Part::Sealed(part.into()),
            fold::Part::Unknown { .. } => return Self { part: None },
        };
        Self { part: Some(part) }
    }
}

impl TryFrom<v1::Part> for fold::Part {
    type Error = FieldError;

    fn try_from(part: v1::Part) -> Result<Self, FieldError> {
        use v1::part::Part;
        Ok(match present(part.part, "part")? {
            Part::Text(part) => Self::Text(fold::Text { text: part.text }),
            Part::Reasoning(part) => Self::Reasoning(fold::Reasoning { text: part.text }),
            Part::ToolCall(part) => Self::ToolCall(part.try_into()?),
            Part::Citation(part) => Self::Citation(part.into()),
            Part::File(part) => Self::File(fold::FileRef { url: part.url, media_type: part.media_type, name: part.name }),
            Part::Steering(part) => Self::Steering(fold::Steering { text: part.text, author: part.author }),
            Part::Step(part) => Self::Step(fold::Step { reason: part.reason.unwrap_or_default().try_into()? }),
            Part::Sealed(part) => Self::Sealed(part.into()),
        })
    }
}

/// A part as a reader gets it: one that this release doesn't know keeps its place.
pub(super) fn shown(part: v1::Part) -> Result<fold::Part, FieldError> {
    match part.part {
        Some(_) => part.try_into(),
        None => Ok(fold::Part::Unknown { kind: String::new(), body: rmpv::Value::Nil }),
    }
}

impl From<&fold::ToolCall> for v1::ToolCall {
    fn from(call: &fold::ToolCall) -> Self {
        Self {
            call: call.call.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            status: v1::ToolStatus::from(call.status).into(),
            result: call.result.clone(),
        }
    }
}

impl TryFrom<v1::ToolCall> for fold::ToolCall {
    type Error = FieldError;

    fn try_from(call: v1::ToolCall) -> Result<Self, FieldError> {
        let status = call.status().try_into()?;
        Ok(Self { call: call.call, name: call.name, arguments: call.arguments, status, result: call.result })
    }
}

impl From<fold::ToolStatus> for v1::ToolStatus {
    fn from(status: fold::ToolStatus) -> Self {
        match status {
            fold::ToolStatus::Writing => Self::Writing,
            fold::ToolStatus::WritingForApproval => Self::WritingForApproval,
            fold::ToolStatus::AwaitingApproval => Self::AwaitingApproval,
            fold::ToolStatus::Ready => Self::Ready,
            fold::ToolStatus::Refused => Self::Refused,
            fold::ToolStatus::Done => Self::Done,
            fold::ToolStatus::Failed => Self::Failed,
        }
    }
}

impl TryFrom<v1::ToolStatus> for fold::ToolStatus {
    type Error = FieldError;

    fn try_from(status: v1::ToolStatus) -> Result<Self, FieldError> {
        let status = match status {
            v1::ToolStatus::Unspecified => None,
            v1::ToolStatus::Writing => Some(Self::Writing),
            v1::ToolStatus::WritingForApproval => Some(Self::WritingForApproval),
            v1::ToolStatus::AwaitingApproval => Some(Self::AwaitingApproval),
            v1::ToolStatus::Ready => Some(Self::Ready),
            v1::ToolStatus::Refused => Some(Self::Refused),
            v1::ToolStatus::Done => Some(Self::Done),
            v1::ToolStatus::Failed => Some(Self::Failed),
        };
        value(status, "tool_call.status")
    }
}

impl From<&fold::Citation> for v1::Citation {
    fn from(citation: &fold::Citation) -> Self {
        let fold::Citation { url, title, source, quote } = citation.clone();
        Self { url, title, source, quote }
    }
}

impl From<v1::Citation> for fold::Citation {
    fn from(citation: v1::Citation) -> Self {
        let v1::Citation { url, title, source, quote } = citation;
        Self { url, title, source, quote }
    }
}

impl From<&fold::Sealed> for v1::Sealed {
    fn from(sealed: &fold::Sealed) -> Self {
        let fold::Sealed { by, data } = sealed.clone();
        Self { by, data }
    }
}

impl From<v1::Sealed> for fold::Sealed {
    fn from(sealed: v1::Sealed) -> Self {
        let v1::Sealed { by, data } = sealed;
        Self { by, data }
    }
}

impl From<&fold::Waiting> for v1::Waiting {
    fn from(waiting: &fold::Waiting) -> Self {
        let fold::Waiting { calls, until_ms } = waiting.clone();
        Self { calls, until_ms }
    }
}

impl From<v1::Waiting> for fold::Waiting {
    fn from(waiting: v1::Waiting) -> Self {
        let v1::Waiting { calls, until_ms } = waiting;
        Self { calls, until_ms }
    }
}

impl From<&fold::FinishReason> for v1::FinishReason {
    fn from(reason: &fold::FinishReason) -> Self {
        let (kind, other) = match reason {
            fold::FinishReason::Stop => (v1::FinishKind::Stop, ""),
            fold::FinishReason::Length => (v1::FinishKind::Length, ""),
            fold::FinishReason::ToolCalls => (v1::FinishKind::ToolCalls, ""),
            fold::FinishReason::ContentFilter => (v1::FinishKind::ContentFilter, ""),
            fold::FinishReason::Other(word) => (v1::FinishKind::Other, word.as_str()),
        };
        Self { kind: kind.into(), other: other.to_owned() }
    }
}

impl TryFrom<v1::FinishReason> for fold::FinishReason {
    type Error = FieldError;

    fn try_from(reason: v1::FinishReason) -> Result<Self, FieldError> {
        let reason = match reason.kind() {
            v1::FinishKind::Unspecified => None,
            v1::FinishKind::Stop => Some(Self::Stop),
            v1::FinishKind::Length => Some(Self::Length),
            v1::FinishKind::ToolCalls => Some(Self::ToolCalls),
            v1::FinishKind::ContentFilter => Some(Self::ContentFilter),
            v1::FinishKind::Other => Some(Self::Other(reason.other)),
        };
        value(reason, "reason.kind")
    }
}

impl From<fold::Usage> for v1::Usage {
    fn from(usage: fold::Usage) -> Self {
        let fold::Usage { input, output, reasoning, cached_input } = usage;
        Self { input, output, reasoning, cached_input }
    }
}

impl From<v1::Usage> for fold::Usage {
    fn from(usage: v1::Usage) -> Self {
        let v1::Usage { input, output, reasoning, cached_input } = usage;
        Self { input, output, reasoning, cached_input }
    }
}

impl From<&fold::Run> for v1::Run {
    fn from(run: &fold::Run) -> Self {
        Self {
            id: run.id.to_string(),
            prompt: run.prompt.to_string(),
            reply: run.reply.to_string(),
            status: v1::RunStatus::from(run.status).into(),
            model: run.model.clone(),
            attempt: run.attempt.as_ref().map(ToString::to_string),
            attempts: run.attempts,
            attempts_max: run.attempts_max,
            worker: run.worker.clone(),
            finish: run.finish.as_ref().map(Into::into),
            error: run.error.as_ref().map(|error| v1::RunError { code: error.code.clone(), message: error.message.clone() }),
            usage: run.usage.map(Into::into),
            waiting: run.waiting.as_ref().map(Into::into),
            requested_at_ms: run.requested_at_ms,
            started_at_ms: run.started_at_ms,
            ended_at_ms: run.ended_at_ms,
            thoughts: (!run.thoughts.is_empty()).then(|| v1::Thoughts { parts: run.thoughts.iter().map(thought).collect() }),
        }
    }
}

impl TryFrom<v1::Run> for fold::Run {
    type Error = FieldError;

    fn try_from(run: v1::Run) -> Result<Self, FieldError> {
        Ok(Self {
            id: id(&run.id, "run.id")?,
            prompt: id(&run.prompt, "run.prompt")?,
            reply: id(&run.reply, "run.reply")?,
            status: run.status().try_into()?,
            attempt: optional_id(run.attempt.as_deref(), "run.attempt")?,
            model: run.model,
            attempts: run.attempts,
            attempts_max: run.attempts_max,
            worker: run.worker,
            finish: run.finish.map(TryInto::try_into).transpose()?,
            error: run.error.map(|error| fold::RunError { code: error.code, message: error.message }),
            usage: run.usage.map(Into::into),
            waiting: run.waiting.map(Into::into),
            requested_at_ms: run.requested_at_ms,
            started_at_ms: run.started_at_ms,
            ended_at_ms: run.ended_at_ms,
            thoughts: run.thoughts.into_iter().flat_map(|thoughts| thoughts.parts).map(Into::into).collect(),
        })
    }
}

fn thought(&fold::Thought { part, from_ms, upto_ms }: &fold::Thought) -> v1::Thought {
    v1::Thought { part, from_ms, upto_ms }
}

impl From<v1::Thought> for fold::Thought {
    fn from(v1::Thought { part, from_ms, upto_ms }: v1::Thought) -> Self {
        Self { part, from_ms, upto_ms }
    }
}

impl From<fold::RunStatus> for v1::RunStatus {
    fn from(status: fold::RunStatus) -> Self {
        match status {
            fold::RunStatus::Queued => Self::Queued,
            fold::RunStatus::Running => Self::Running,
            fold::RunStatus::Waiting => Self::Waiting,
            fold::RunStatus::Completed => Self::Completed,
            fold::RunStatus::Cancelled => Self::Cancelled,
            fold::RunStatus::Failed => Self::Failed,
            fold::RunStatus::Orphaned => Self::Orphaned,
        }
    }
}

impl TryFrom<v1::RunStatus> for fold::RunStatus {
    type Error = FieldError;

    fn try_from(status: v1::RunStatus) -> Result<Self, FieldError> {
        let status = match status {
            v1::RunStatus::Unspecified => None,
            v1::RunStatus::Queued => Some(Self::Queued),
            v1::RunStatus::Running => Some(Self::Running),
            v1::RunStatus::Waiting => Some(Self::Waiting),
            v1::RunStatus::Completed => Some(Self::Completed),
            v1::RunStatus::Cancelled => Some(Self::Cancelled),
            v1::RunStatus::Failed => Some(Self::Failed),
            v1::RunStatus::Orphaned => Some(Self::Orphaned),
        };
        value(status, "run.status")
    }
}

impl From<&fold::CustomValue> for v1::CustomValue {
    fn from(value: &fold::CustomValue) -> Self {
        Self { content_type: value.content_type.clone(), payload: value.payload.clone() }
    }
}

impl From<v1::CustomValue> for fold::CustomValue {
    fn from(value: v1::CustomValue) -> Self {
        Self { content_type: value.content_type, payload: value.payload }
    }
}
