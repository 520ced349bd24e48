//! Delta operations.

use fanfold_fold as fold;

use super::content::shown;
use super::{FieldError, id, present};
use crate::v1;

impl From<&fold::Op> for v1::Op {
    fn from(op: &fold::Op) -> Self {
        use v1::op::Op;
        let op = match op {
            fold::Op::SessionChanged(session) => Op::SessionChanged(session.into()),
            fold::Op::MessageAdded(message) => Op::MessageAdded(message.into()),
            fold::Op::MessageReset { message } => Op::MessageReset(v1::MessageReset { message: message.to_string() }),
            fold::Op::PartAppended { message, part, at, text } => {
                Op::PartAppended(v1::PartAppended { message: message.to_string(), part: *part, at: *at, text: text.clone() })
            }
            fold::Op::PartSet { message, part, value } => {
                Op::PartSet(v1::PartSet { message: message.to_string(), part: *part, value: Some(value.into()) })
            }
            fold::Op::ToolCallChanged { message, part, status, result } => Op::ToolCallChanged(v1::ToolCallChanged {
                message: message.to_string(),
                part: *part,
                status: v1::ToolStatus::from(*status).into(),
                result: result.clone(),
            }),
            fold::Op::RunChanged(run) => Op::RunChanged((&**run).into()),
            fold::Op::Custom { kind, value } => Op::CustomSet(v1::CustomSet { kind: kind.clone(), value: Some(value.into()) }),
        };
        Self { op: Some(op) }
    }
}

impl TryFrom<v1::Op> for fold::Op {
    type Error = FieldError;

    fn try_from(op: v1::Op) -> Result<Self, FieldError> {
        use v1::op::Op;
        Ok(match present(op.op, "op")? {
            Op::SessionChanged(session) => Self::SessionChanged(session.try_into()?),
            Op::MessageAdded(message) => Self::MessageAdded(message.try_into()?),
            Op::MessageReset(op) => Self::MessageReset { message: id(&op.message, "op.message")? },
            Op::PartAppended(op) => {
                Self::PartAppended { message: id(&op.message, "op.message")?, part: op.part, at: op.at, text: op.text }
            }
            Op::PartSet(op) => Self::PartSet {
                message: id(&op.message, "op.message")?,
                part: op.part,
                value: shown(present(op.value, "op.value")?)?,
            },
            Op::ToolCallChanged(op) => Self::ToolCallChanged {
                message: id(&op.message, "op.message")?,
                part: op.part,
                status: op.status().try_into()?,
                result: op.result,
            },
            Op::RunChanged(run) => Self::RunChanged(Box::new(run.try_into()?)),
            Op::CustomSet(op) => Self::Custom { kind: op.kind, value: present(op.value, "op.value")?.into() },
        })
    }
}

/// A delta that came over the wire.
pub fn delta(ops: Vec<v1::Op>) -> Result<fold::Delta, FieldError> {
    Ok(fold::Delta { ops: ops.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()? })
}
