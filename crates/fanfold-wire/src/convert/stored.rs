//! Stored events as they come back out of a listing: whatever a later release wrote stays what it is.

use fanfold_fold as fold;

use super::content::shown;
use super::{FieldError, Problem, id, optional_id, present};
use crate::v1;

/// Arrays and maps within each other in an event that this release doesn't know.
const UNKNOWN_DEPTH_MAX: usize = 64;

impl TryFrom<v1::Record> for fold::Record {
    type Error = FieldError;

    fn try_from(record: v1::Record) -> Result<Self, FieldError> {
        if !record.unreadable.is_empty() {
            return Err(FieldError { field: "record", problem: Problem::Unreadable });
        }
        Ok(Self {
            command: optional_id(record.command.as_deref(), "record.command")?,
            at_ms: record.at_ms,
            by: record.by,
            events: record.events.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<v1::Event> for fold::Event {
    type Error = FieldError;

    fn try_from(event: v1::Event) -> Result<Self, FieldError> {
        use v1::event::Event;
        Ok(match present(event.event, "event")? {
            Event::SessionOpened(event) => fold::SessionOpened { title: event.title, user: event.user }.into(),
            Event::SessionTitled(event) => fold::SessionTitled { title: event.title, automatic: event.automatic }.into(),
            Event::SessionClosed(event) => fold::SessionClosed { reason: event.reason }.into(),
            Event::SessionErased(v1::SessionErased {}) => fold::SessionErased {}.into(),
            Event::MessageAdded(event) => fold::MessageAdded::try_from(event)?.into(),
            Event::RunRequested(event) => fold::RunRequested::try_from(event)?.into(),
            Event::RunStarted(event) => fold::RunStarted::try_from(event)?.into(),
            Event::Output(event) => output(event)?.into(),
            Event::AttemptLost(event) => fold::AttemptLost::try_from(event)?.into(),
            Event::RunCancelled(event) => {
                fold::RunCancelled { run: id(&event.run, "run_cancelled.run")?, reason: event.reason }.into()
            }
            Event::RunFailed(event) => {
                fold::RunFailed { run: id(&event.run, "run_failed.run")?, code: event.code, message: event.message }.into()
            }
            Event::RunSteered(event) => fold::RunSteered::try_from(event)?.into(),
            Event::ToolDecided(event) => fold::ToolDecided::try_from(event)?.into(),
            Event::Custom(event) => fold::Custom::from(event).into(),
            Event::Unknown(event) => Self::Unknown { body: body(&event.body)?, kind: event.kind },
        })
    }
}

impl TryFrom<v1::MessageAdded> for fold::MessageAdded {
    type Error = FieldError;

    fn try_from(event: v1::MessageAdded) -> Result<Self, FieldError> {
        Ok(Self {
            message: id(&event.message, "message_added.message")?,
            parent: optional_id(event.parent.as_deref(), "message_added.parent")?,
            role: event.role().try_into()?,
            author: event.author,
            parts: event.parts.into_iter().map(shown).collect::<Result<_, _>>()?,
        })
    }
}

/// Unlike what a producer sends, what is stored may hold something unknown.
fn output(event: v1::Output) -> Result<fold::Output, FieldError> {
    let said = |said: v1::Said| match said.said {
        Some(v1::said::Said::Unknown(unknown)) => Ok(fold::Said::Unknown { body: body(&unknown.body)?, kind: unknown.kind }),
        Some(_) | None => said.try_into(),
    };
    Ok(fold::Output {
        attempt: id(&event.attempt, "output.attempt")?,
        seq: event.seq,
        said: event.said.into_iter().map(said).collect::<Result<_, _>>()?,
    })
}

fn body(bytes: &[u8]) -> Result<rmpv::Value, FieldError> {
    use serde::Deserialize as _;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(UNKNOWN_DEPTH_MAX);
    rmpv::Value::deserialize(&mut deserializer).map_err(|_| FieldError { field: "unknown.body", problem: Problem::Unreadable })
}
