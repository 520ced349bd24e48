//! What readers see of a session, on the node and in every client.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize, Serializer};

use crate::event::is_false;
use crate::{AttemptId, FinishReason, MessageId, Part, Role, RunId, Usage, Waiting};

/// The readable state of a session. Deltas apply to it; a snapshot sent to a client is one of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// Title, owner and status.
    pub session: Session,
    /// Every message, in the order they were added. They form a tree by `parent`.
    pub messages: Messages,
    /// Every run, in the order they were asked for.
    pub runs: Vec<Run>,
    /// The newest custom event of each kind.
    pub custom: BTreeMap<String, CustomValue>,
}

/// What concerns the session as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Whether a program made the title up, and may make up a better one.
    #[serde(skip_serializing_if = "is_false")]
    pub title_automatic: bool,
    /// Whose it is, if that was said.
    pub user: Option<String>,
    /// Whether it goes on.
    pub status: SessionStatus,
    /// Milliseconds since 1970 when it was opened, by its opener's clock.
    pub opened_at_ms: u64,
}

/// Whether a session goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Nobody has opened it.
    #[default]
    Absent,
    /// It takes commands.
    Open,
    /// It takes no more commands, for this reason.
    Closed(String),
    /// Its content is gone.
    Erased,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// What it follows.
    pub parent: Option<MessageId>,
    /// In which role it speaks.
    pub role: Role,
    /// Who wrote it.
    pub author: Option<String>,
    /// Milliseconds since 1970, by the writer's clock.
    pub at_ms: u64,
    /// The run that writes or wrote it. Its status says whether the text is final.
    pub run: Option<RunId>,
    /// What it says, in order.
    pub parts: Vec<Part>,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The message it answers.
    pub prompt: MessageId,
    /// The message it writes.
    pub reply: MessageId,
    /// How far it has come.
    pub status: RunStatus,
    /// The model wanted, then the model that answers.
    pub model: Option<String>,
    /// The current or last attempt.
    pub attempt: Option<AttemptId>,
    /// Attempts so far.
    pub attempts: u32,
    /// Attempts it may take.
    pub attempts_max: u32,
    /// Who works or last worked on it.
    pub worker: Option<String>,
    /// Why the model stopped, once completed.
    pub finish: Option<FinishReason>,
    /// What went wrong: of the run once failed, of the last attempt while it is to be attempted again.
    pub error: Option<RunError>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// What it waits for; or has waited for, until an attempt takes it up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Milliseconds since 1970 when it was asked for.
    pub requested_at_ms: u64,
    /// Milliseconds since 1970 when its last attempt started.
    pub started_at_ms: Option<u64>,
    /// Milliseconds since 1970 when it ended.
    pub ended_at_ms: Option<u64>,
    /// When its last attempt thought: the first [`THOUGHTS_MAX`] times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thoughts: Vec<Thought>,
}

/// Thoughts of a run whose times are kept; a run tells them whole whenever it changes.
pub const THOUGHTS_MAX: usize = 64;

/// When one part of reasoning was written, by the times of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thought {
    /// Which part of the reply.
    pub part: u32,
    /// Milliseconds since 1970 when it began.
    pub from_ms: u64,
    /// Milliseconds since 1970 when something else began, or the attempt ended.
    pub upto_ms: Option<u64>,
}

/// How far a run has come. The last four are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits for a worker, for the first or another time.
    Queued,
    /// A worker writes.
    Running,
    /// It waits for a person, and no worker has it.
    Waiting,
    /// The answer is complete.
    Completed,
    /// Somebody stopped it.
    Cancelled,
    /// It can't be answered.
    Failed,
    /// Its last worker died.
    Orphaned,
}

impl RunStatus {
    /// Whether nothing more can become of it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting => false,
            Self::Completed | Self::Cancelled | Self::Failed | Self::Orphaned => true,
        }
    }
}

/// What went wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The newest custom event of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomValue {
    /// How to read the payload, as a media type.
    pub content_type: String,
    /// The application's bytes.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

impl View {
    /// A run by id; the newest are found first.
    pub fn run(&self, id: &RunId) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.id == *id)
    }

    /// Runs that haven't ended, oldest first.
    pub fn open_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.status.is_final())
    }

    /// The messages from the root down to `leaf`: one branch of the tree.
    pub fn branch(&self, leaf: &MessageId) -> Vec<&Message> {
        let mut branch: Vec<_> = std::iter::successors(self.messages.get(leaf), |message| {
            message.parent.as_ref().and_then(|parent| self.messages.get(parent))
        })
        // A parent is always older than its child, so this ends; also in a view from elsewhere, where it may not be so.
        .take(self.messages.len())
        .collect();
        branch.reverse();
        branch
    }

    /// The newest `messages_max` messages with the runs that wrote them or are still open. Says in the second place how
    /// many older messages were left out.
    pub fn window(&self, messages_max: usize) -> (Self, usize) {
        let older = self.messages.len().saturating_sub(messages_max);
        let messages = Messages::from(self.messages.iter().skip(older).cloned().collect::<Vec<_>>());
        let runs = self.runs.iter().filter(|run| !run.status.is_final() || messages.get(&run.reply).is_some());
        let view = Self { session: self.session.clone(), runs: runs.cloned().collect(), custom: self.custom.clone(), messages };
        (view, older)
    }
}

/// Messages in order, found by id.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<Message>")]
pub struct Messages {
    list: Vec<Message>,
    index: HashMap<MessageId, usize>,
}

impl Messages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, Message> {
        self.list.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Message> {
        self.list.last()
    }

    /// By id.
    pub fn get(&self, id: &MessageId) -> Option<&Message> {
        self.position(id).map(|at| &self.list[at])
    }

    pub(crate) fn get_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.position(id).map(|at| &mut self.list[at])
    }

    pub(crate) fn position(&self, id: &MessageId) -> Option<usize> {
        // Nearly always it is the newest: the answer that streams.
        match self.list.last() {
            Some(last) if last.id == *id => Some(self.list.len() - 1),
            _ => self.index.get(id).copied(),
        }
    }

    pub(crate) fn at_mut(&mut self, position: usize) -> &mut Message {
        &mut self.list[position]
    }

    pub(crate) fn push(&mut self, message: Message) {
        self.index.insert(message.id.clone(), self.list.len());
        self.list.push(message);
    }
}

impl Serialize for Messages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl From<Vec<Message>> for Messages {
    fn from(list: Vec<Message>) -> Self {
        let index = list.iter().enumerate().map(|(at, message)| (message.id.clone(), at)).collect();
        Self { list, index }
    }
}

impl From<Messages> for Vec<Message> {
    fn from(messages: Messages) -> Self {
        messages.list
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = &'a Message;
    type IntoIter = std::slice::Iter<'a, Message>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
