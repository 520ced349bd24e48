//! What a session's actor is told. Callers use the verbs of [`crate::Sessions`]; nobody else sees these.

use std::sync::Arc;

use fanfold_fold::{
    Action, AttemptId, Command, CommandId, Cursor, Delta, Offset, Output, Part, Run, RunId, Settled, Verdict, View,
};
use fanfold_log::{AppendError, ReadError, StoredRecord};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::codec::FormatId;
use crate::error::{HostError, SubmitError, SubscribeError};
use crate::feed::Attachment;
use crate::hydrate::Hydrated;
use crate::inbox::Signal;
use crate::write::said_bytes;

pub(crate) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What became of a command or of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The fold's word.
    pub verdict: Verdict,
    /// Where it was judged; where this node stood, if nothing was appended.
    pub offset: Offset,
    /// The same as a cursor: a read with it sees the effect.
    pub cursor: Cursor,
}

impl Receipt {
    /// For who sent the same id while the first was on its way.
    pub(crate) fn repeated(&self) -> Self {
        let verdict = match self.verdict {
            Verdict::Applied => Verdict::Repeated(Settled::Applied),
            Verdict::Refused(refusal) => Verdict::Repeated(Settled::Refused(refusal)),
            Verdict::Repeated(settled) => Verdict::Repeated(settled),
        };
        Self { verdict, ..self.clone() }
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a snapshot of now.
    Now,
    /// After this cursor.
    After(Cursor),
    /// With a snapshot of this offset ([`Offset::NONE`]: nothing), then every record.
    Replay(Offset),
}

/// What a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What changed.
    Deltas,
    /// Each changed part whole, at most once per `full_interval`.
    Full,
}

/// How a subscription was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It goes on exactly where the cursor says.
    Resumed,
    /// A snapshot replaces what the reader has, for this reason.
    Snapshot(Reset),
    /// There was no cursor: a snapshot begins it.
    Fresh,
}

/// Why a cursor was answered with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reset {
    /// It is older than what this node keeps in memory.
    TooOld,
    /// It belongs to another incarnation of the log.
    EpochChanged,
    /// It belongs to another version of the fold.
    FoldChanged,
    /// The log has never been there: it was restored from a backup, or the cursor is made up.
    AheadOfHistory,
}

pub(crate) enum Msg {
    /// The tail has records.
    Wake,
    Hydrated(Box<Result<Hydrated, HostError>>),
    /// Records after a gap, and whether that is all there is.
    Filled(Result<(Vec<StoredRecord>, bool), HostError>),
    /// The leader's last offset, as it answered the question of this number.
    Leader(u64, Result<Offset, ReadError>),
    /// The log has something at this offset.
    Behind(Offset),
    Appended(PendingKey, Result<Offset, AppendError>),
    Submit(Box<Submit>),
    Produce(Box<Produce>),
    Attach(Box<Attach>),
    Repair(Repair),
    Look(Look),
    WatchRun(WatchRun),
    /// Answered once the session's row tells of everything up to the offset.
    Settle(Offset, Reply<(), HostError>),
    /// The state may be kept now; or the store has had too much to do for too long.
    MayKeep(Option<OwnedSemaphorePermit>),
    SnapshotDone(Offset, bool),
    RowDone(Offset, bool),
    /// The session's row has rested long enough.
    RowDue,
    /// Time has passed: look for what is overdue.
    Sweep,
    /// Leave memory if nothing speaks against it.
    Passivate,
    /// Leave memory: the node is going away.
    Drain,
}

impl Msg {
    /// About how many bytes a request holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        const FRAME: usize = 256;
        let content = match self {
            Self::Submit(submit) => content_bytes(&submit.command.action),
            Self::Produce(produce) => said_bytes(&produce.output),
            Self::Attach(_) | Self::Repair(_) | Self::Look(_) | Self::WatchRun(_) | Self::Settle(..) => 0,
            Self::Wake
            | Self::Hydrated(_)
            | Self::Filled(_)
            | Self::Leader(..)
            | Self::Behind(_)
            | Self::Appended(..)
            | Self::MayKeep(_)
            | Self::SnapshotDone(..)
            | Self::RowDone(..)
            | Self::RowDue
            | Self::Sweep
            | Self::Passivate
            | Self::Drain => 0,
        };
        FRAME + content
    }
}

/// What a command brings, whether or not it will be admitted. Names are short.
fn content_bytes(action: &Action) -> usize {
    match action {
        Action::Open(opened) => opened.title.as_ref().map_or(0, String::len),
        Action::SetTitle(titled) => titled.title.len(),
        Action::Close(closed) => closed.reason.len(),
        Action::Send(send) => send.parts.iter().map(Part::bytes).sum(),
        Action::Cancel { reason, .. } => reason.len(),
        Action::FailRun(failed) => failed.message.len(),
        Action::Steer(steered) => steered.text.len(),
        Action::DecideTool(decided) => decided.reason.len(),
        Action::Custom(custom) => custom.payload.len(),
        Action::Erase | Action::RequestRun(_) | Action::StartRun(_) | Action::LoseAttempt(_) => 0,
    }
}

/// Which append a caller waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PendingKey {
    Command(CommandId),
    Output(AttemptId, u64),
}

pub(crate) struct Submit {
    pub(crate) command: Command,
    pub(crate) if_last: Option<Offset>,
    pub(crate) at_least: Offset,
    /// Whether the state is known to be as new as the log.
    pub(crate) sure: bool,
    pub(crate) reply: Reply<Receipt, SubmitError>,
}

pub(crate) struct Produce {
    pub(crate) output: Output,
    pub(crate) at_ms: u64,
    pub(crate) by: Option<String>,
    pub(crate) sure: bool,
    pub(crate) reply: Reply<Receipt, SubmitError>,
}

pub(crate) struct Attach {
    pub(crate) start: Start,
    pub(crate) format: FormatId,
    pub(crate) mode: Mode,
    pub(crate) window: usize,
    pub(crate) signal: Arc<Signal>,
    /// Whether the leader was asked already.
    pub(crate) sure: bool,
    pub(crate) reply: Reply<Answer, SubscribeError>,
}

/// What [`Attach`] gives.
pub(crate) struct Answer {
    /// Goes with the answer, so that who has left before it came is no reader.
    pub(crate) attachment: Attachment,
    pub(crate) how: How,
    pub(crate) position: Offset,
    pub(crate) head: Offset,
    pub(crate) snapshot: Option<Arc<[u8]>>,
}

/// A reader that the encoded ring can't serve asks for bytes that lead it to the head.
pub(crate) struct Repair {
    pub(crate) after: Offset,
    pub(crate) format: FormatId,
    pub(crate) mode: Mode,
    pub(crate) window: usize,
    pub(crate) reply: oneshot::Sender<(Offset, Arc<[u8]>)>,
}

pub(crate) struct Look {
    pub(crate) at_least: Offset,
    pub(crate) sure: bool,
    pub(crate) window: usize,
    pub(crate) reply: Reply<Looked, HostError>,
}

/// A session's state as this node has it.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The state, or its newest messages.
    pub view: View,
    /// Older messages that were left out.
    pub older: usize,
    /// The last offset it includes.
    pub offset: Offset,
    /// The same as a cursor.
    pub cursor: Cursor,
    /// The attempt whose output counts at the moment, and its last producer sequence.
    pub attempt: Option<(AttemptId, u64)>,
    /// The first offset whose record could not be read and was passed over, if there is one.
    pub degraded: Option<Offset>,
    /// Tokens, read and written, of all its runs.
    pub tokens: u64,
}

/// Tokens of all runs.
pub(crate) fn tokens(view: &View) -> u64 {
    let usages = view.runs.iter().filter_map(|run| run.usage.as_ref());
    usages.fold(0, |sum, usage| sum.saturating_add(usage.input).saturating_add(usage.output))
}

pub(crate) struct WatchRun {
    pub(crate) run: RunId,
    pub(crate) attempt: AttemptId,
    pub(crate) reply: oneshot::Sender<Run>,
}

/// A delta and what it leads to.
pub(crate) struct Step {
    pub(crate) upto: Offset,
    pub(crate) bytes: usize,
    pub(crate) delta: Arc<Delta>,
}
