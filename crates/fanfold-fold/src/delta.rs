//! What changed between two offsets, as operations that a client applies.

use crate::view::{CustomValue, Message, Run, Session, SessionStatus, View};
use crate::{MessageId, Part, ToolStatus};

/// Operations in order. From which offset to which they lead stands beside them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// In the order to apply them.
    pub ops: Vec<Op>,
}

/// One change of a [`View`].
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Title, owner and status are now these. With the status `erased` everything else is gone.
    SessionChanged(Session),
    /// A message was added after all others.
    MessageAdded(Message),
    /// A message starts over, without parts: another attempt writes it.
    MessageReset {
        /// Which.
        message: MessageId,
    },
    /// Text was appended to a part: to its text, or to a tool call's arguments.
    PartAppended {
        /// Which message.
        message: MessageId,
        /// Which of its parts, from 0.
        part: u32,
        /// How many UTF-8 bytes the part's text had before. A client that has another number asks for a snapshot.
        at: u32,
        /// What to append.
        text: String,
    },
    /// A part is now this; one past the last part adds it.
    PartSet {
        /// Which message.
        message: MessageId,
        /// Which of its parts, from 0.
        part: u32,
        /// What it is now.
        value: Part,
    },
    /// A tool call has come further.
    ToolCallChanged {
        /// Which message.
        message: MessageId,
        /// Which of its parts, from 0.
        part: u32,
        /// How far it has come.
        status: ToolStatus,
        /// What it gave back, if it has.
        result: Option<String>,
    },
    /// A run is new or now this.
    RunChanged(Box<Run>),
    /// The application's newest value of a kind.
    Custom {
        /// Which kind.
        kind: String,
        /// The value.
        value: CustomValue,
    },
}

/// The delta was made for another state than the one it was applied to: the reader needs a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It speaks of a message that isn't there.
    #[error("the delta changes message {0}, which is not there")]
    NoMessage(MessageId),
    /// It adds a message that is there already.
    #[error("the delta adds message {0} a second time")]
    Twice(MessageId),
    /// It speaks of a part that isn't there, or isn't of that kind.
    #[error("the delta changes part {part} of message {message}, which does not fit")]
    NoPart {
        /// Which message.
        message: MessageId,
        /// Which part.
        part: u32,
    },
    /// It appends at another place than the text's end.
    #[error("the delta appends at byte {at} of a text of {length}")]
    At {
        /// Where it appends.
        at: u32,
        /// How long the text is.
        length: usize,
    },
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The same change with each grown part whole instead of appended to, for clients that only replace text.
    /// `view` is the state that this delta leads to.
    pub fn full(&self, view: &View) -> Self {
        // Merged with itself, many appends to one part are one: its text is sent once.
        let mut ops = self.clone().merge(Self::default()).ops;
        ops.retain_mut(|op| {
            let Op::PartAppended { message, part, .. } = op else { return true };
            let value = view.messages.get(message).and_then(|message| message.parts.get(*part as usize));
            // A part that a later operation of this delta takes away again needs no text.
            let Some(value) = value else { return false };
            *op = Op::PartSet { message: message.clone(), part: *part, value: value.clone() };
            true
        });
        Self { ops }
    }
}

impl View {
    /// Applies a delta made for exactly this state. On an error the view is of no further use.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), DeltaError> {
        delta.ops.iter().try_for_each(|op| self.apply_op(op))
    }

    fn apply_op(&mut self, op: &Op) -> Result<(), DeltaError> {
        match op {
            Op::SessionChanged(session) => {
                if session.status == SessionStatus::Erased {
                    *self = Self::default();
                }
                self.session = session.clone();
            }
            Op::MessageAdded(message) => {
                if self.messages.get(&message.id).is_some() {
                    return Err(DeltaError::Twice(message.id.clone()));
                }
                self.messages.push(message.clone());
            }
            Op::MessageReset { message } => self.message_mut(message)?.parts.clear(),
            Op::PartAppended { message, part, at, text } => {
                let stream = self.part_mut(message, *part)?.stream_mut();
                let Some(stream) = stream else { return Err(DeltaError::NoPart { message: message.clone(), part: *part }) };
                if stream.len() != *at as usize {
                    return Err(DeltaError::At { at: *at, length: stream.len() });
                }
                stream.push_str(text);
            }
            Op::PartSet { message, part, value } => {
                let parts = &mut self.message_mut(message)?.parts;
                if *part as usize == parts.len() {
                    parts.push(value.clone());
                } else {
                    *self.part_mut(message, *part)? = value.clone();
                }
            }
            Op::ToolCallChanged { message, part, status, result } => match self.part_mut(message, *part)? {
                Part::ToolCall(call) => {
                    call.status = *status;
                    call.result.clone_from(result);
                }
                _ => return Err(DeltaError::NoPart { message: message.clone(), part: *part }),
            },
            Op::RunChanged(run) => match self.runs.iter_mut().rev().find(|known| known.id == run.id) {
                Some(known) => *known = (**run).clone(),
                None => self.runs.push((**run).clone()),
            },
            Op::Custom { kind, value } => {
                self.custom.insert(kind.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn message_mut(&mut self, id: &MessageId) -> Result<&mut Message, DeltaError> {
        self.messages.get_mut(id).ok_or_else(|| DeltaError::NoMessage(id.clone()))
    }

    fn part_mut(&mut self, id: &MessageId, part: u32) -> Result<&mut Part, DeltaError> {
        self.message_mut(id)?.parts.get_mut(part as usize).ok_or_else(|| DeltaError::NoPart { message: id.clone(), part })
    }
}
