//! What people, workers and nodes ask of a session, and the events they ask for.

use crate::event::{
    AttemptLost, Custom, MessageAdded, RunCancelled, RunFailed, RunRequested, RunStarted, RunSteered, SessionClosed,
    SessionErased, SessionOpened, SessionTitled, ToolDecided,
};
use crate::{CommandId, Event, MessageId, Part, Record, Refusal, Role, RunId, State, Verdict};

/// A request to change a session. Ids and times come inside it, so that it means the same wherever it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Minted by the sender. A repetition is recognised by it.
    pub id: CommandId,
    /// Milliseconds since 1970 by the sender's clock.
    pub at_ms: u64,
    /// Who sent it, as the authenticator named them.
    pub by: Option<String>,
    /// What is asked for.
    pub action: Action,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open the session.
    Open(SessionOpened),
    /// Give it a title.
    SetTitle(SessionTitled),
    /// Let nothing more be said in it.
    Close(SessionClosed),
    /// Remove its content.
    Erase,
    /// Add a message and, if asked, have it answered.
    Send(Send),
    /// Answer a message that is there already (again): a further branch.
    RequestRun(RunRequested),
    /// Begin an attempt.
    StartRun(RunStarted),
    /// Say that an attempt's worker is gone.
    LoseAttempt(AttemptLost),
    /// Stop a run, or every open one.
    Cancel {
        /// Which; all that are open if none is named.
        run: Option<RunId>,
        /// Why, for readers.
        reason: String,
    },
    /// End a run that no worker took.
    FailRun(RunFailed),
    /// Add to what a running run was asked.
    Steer(RunSteered),
    /// Allow or refuse a tool call.
    DecideTool(ToolDecided),
    /// Keep a fact of the application's own.
    Custom(Custom),
}

/// A message to add.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// Its id.
    pub message: MessageId,
    /// What it follows; the newest message if none is named.
    pub parent: Parent,
    /// In which role it speaks.
    pub role: Role,
    /// What it says.
    pub parts: Vec<Part>,
    /// The answer that is wanted.
    pub answer: Option<Answer>,
}

/// What a new message follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parent {
    /// The newest message there is when the command is decided.
    #[default]
    Newest,
    /// Nothing: it begins a tree.
    Root,
    /// This one.
    Message(MessageId),
}

/// An answer wanted along with a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The run's id.
    pub run: RunId,
    /// The id of the message that the answer becomes.
    pub reply: MessageId,
    /// Which model is wanted.
    pub model: Option<String>,
    /// Whether runs that are open now are cancelled instead of waited for.
    pub interrupt: bool,
}

/// Characters of a title that is made of a message, at most.
const TITLE_CHARS_MAX: usize = 60;

/// As many whole words as fit into a title; of a first word that doesn't fit, its beginning.
fn first_words(text: &str) -> String {
    let mut title = String::new();
    let mut chars = 0;
    for word in text.split_whitespace() {
        let more = word.chars().count() + usize::from(chars > 0);
        if chars + more > TITLE_CHARS_MAX {
            let beginning = word.chars().take(if chars == 0 { TITLE_CHARS_MAX } else { 0 });
            title.extend(beginning.chain(['…']));
            break;
        }
        if chars > 0 {
            title.push(' ');
        }
        title.push_str(word);
        chars += more;
    }
    title
}

impl State {
    /// The record that carries out `command`, or why it surely can't be: the early answer, before anything is appended.
    /// What is appended is judged again by [`State::apply`], at its offset; only that verdict counts.
    ///
    /// A refusal for which [`Refusal::may_be_lag`] holds is sure only when this state is as new as the log.
    pub fn decide(&self, command: &Command) -> Result<Record, Verdict> {
        if let Some(first) = self.remembered(&command.id) {
            return Err(Verdict::Repeated(first));
        }
        let events = self.events_of(command)?;
        let record = Record { command: Some(command.id.clone()), at_ms: command.at_ms, by: command.by.clone(), events };
        self.admit(&record).map_err(Verdict::Refused)?;
        Ok(record)
    }

    fn events_of(&self, command: &Command) -> Result<Vec<Event>, Verdict> {
        let event = match &command.action {
            Action::Open(opened) => opened.clone().into(),
            Action::SetTitle(titled) => titled.clone().into(),
            Action::Close(closed) => closed.clone().into(),
            Action::Erase => SessionErased {}.into(),
            Action::Send(send) => return Ok(self.sent(send, command.by.as_deref())),
            Action::RequestRun(requested) => requested.clone().into(),
            Action::StartRun(started) => started.clone().into(),
            Action::LoseAttempt(lost) => lost.clone().into(),
            Action::Cancel { run, reason } => return self.cancelled(run.as_ref(), reason),
            Action::FailRun(failed) => failed.clone().into(),
            Action::Steer(steered) => steered.clone().into(),
            Action::DecideTool(decided) => decided.clone().into(),
            Action::Custom(custom) => custom.clone().into(),
        };
        Ok(vec![event])
    }

    fn sent(&self, send: &Send, by: Option<&str>) -> Vec<Event> {
        let parent = match &send.parent {
            Parent::Newest => self.view().messages.last().map(|message| message.id.clone()),
            Parent::Root => None,
            Parent::Message(parent) => Some(parent.clone()),
        };
        let mut events = vec![Event::from(MessageAdded {
            message: send.message.clone(),
            parent,
            role: send.role,
            author: by.map(str::to_owned),
            parts: send.parts.clone(),
        })];
        if let Some(title) = self.title_from(send) {
            events.push(Event::from(SessionTitled { title, automatic: true }));
        }
        if let Some(answer) = &send.answer {
            events.push(Event::from(RunRequested {
                run: answer.run.clone(),
                reply: answer.reply.clone(),
                prompt: send.message.clone(),
                model: answer.model.clone(),
                interrupt: answer.interrupt,
                attempts_max: 0,
            }));
        }
        events
    }

    /// The first words of the first message of a person, as long as nobody has given the session a title.
    fn title_from(&self, send: &Send) -> Option<String> {
        let untitled = send.role == Role::User && self.view().session.title.is_none();
        if !untitled || self.view().messages.iter().any(|message| message.role == Role::User) {
            return None;
        }
        let text =
            send.parts.iter().find_map(|part| if let Part::Text(text) = part { Some(text.text.as_str()) } else { None })?;
        let title = first_words(text);
        (!title.is_empty()).then_some(title)
    }

    fn cancelled(&self, run: Option<&RunId>, reason: &str) -> Result<Vec<Event>, Verdict> {
        let runs: Vec<RunId> = match run {
            Some(run) => vec![run.clone()],
            None => self.view().open_runs().map(|run| run.id.clone()).collect(),
        };
        if runs.is_empty() {
            return Err(Verdict::Refused(Refusal::NothingToCancel));
        }
        Ok(runs.into_iter().map(|run| Event::from(RunCancelled { run, reason: reason.to_owned() })).collect())
    }
}
