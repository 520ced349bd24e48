//! What a model is given to answer: a session's history as turns, whoever serves the model.
//!
//! Read from the fold's view; written as a request by `request`, once for each dialect.

mod budget;
mod turns;

use fanfold_fold::{Message, Part, RunId, View};
use serde_json::Value;

use self::turns::{Thoughts, Turns};

/// One conversation, from its instructions to what the model shall answer now.
///
/// ```text
/// system │ user │ assistant, calls and results │ … │ prompt │ this run: calls and results │ its newest step
/// stays  └──────── left out first, oldest first ───┘ stays    └── results left out next ──┘ stays
/// ```
///
/// What is not in it: citations, calls whose arguments never became whole, and reasoning, unless its model wants it back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// The instructions: all system messages of the branch, in order.
    pub system: String,
    /// Who said what, oldest first. Two turns of the user never follow one another.
    pub turns: Vec<Turn>,
    /// Turns that the budget left out.
    pub left_out: usize,
    /// Ids of the calls that the reply has already: a later step must not use them again.
    taken: Vec<String>,
}

/// What one side says before the other answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// People, and the application in their name; steering texts too.
    User(Vec<Content>),
    /// The model: text, then calls, each with its result. A result without its call can't be written down.
    Assistant {
        /// What it thought, in order.
        thoughts: Vec<Thought>,
        /// What it said; empty where it only calls tools.
        text: String,
        /// The tools it called, in order.
        calls: Vec<Call>,
    },
}

/// Reasoning that goes back to the model it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thought {
    /// What could be read of it.
    pub text: String,
    /// Who sealed it, and what they want to see again.
    pub seal: Option<(String, String)>,
    /// Bytes of its turn's text that were said before it.
    pub after_text: usize,
    /// Calls of its turn that were made before it.
    pub after_calls: usize,
}

/// A piece of what the model said, in the order in which it came.
pub(crate) enum Piece<'a> {
    Thought(&'a Thought),
    Text(&'a str),
    Call(&'a Call),
}

/// A piece of what a user says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Words.
    Text(String),
    /// An image or document by reference: the provider fetches it.
    File {
        /// Where it is; also a `data:` address.
        url: String,
        /// Its media type.
        media_type: String,
        /// What to call it.
        name: Option<String>,
    },
}

/// A tool call with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its id in this conversation: nine letters and digits, which every provider takes from every other.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// The text of a JSON object. What the model wrote and is none stands in its field `input`.
    pub arguments: String,
    /// What the tool gave back, or why it gave nothing.
    pub result: String,
    /// Whether that is an error.
    pub is_error: bool,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// What the model calls it by.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
}

impl Conversation {
    /// The conversation that `run` is to go on with: the branch of messages that leads to its prompt, and what its attempt
    /// has done so far, so that a run goes on after its tools. Nothing if the view hasn't that run.
    ///
    /// `reasoning`: whether the model wants to read what it has thought, in every answer. Without it only thoughts of this run are there, as
    /// far as they are sealed.
    ///
    /// `tokens_max` bounds an estimate: a quarter of the bytes, 4 for each turn, 1,000 for each file. Tools offered come on top. Over it
    /// the oldest turns are left out, then the results of this run's earlier steps. System text, the prompt and the run's newest
    /// step always stay, so a conversation can be over its budget; then its provider says so.
    pub fn of(view: &View, run: &RunId, tokens_max: u64, reasoning: bool) -> Option<Self> {
        let run = view.run(run)?;
        let mut turns = Turns::default();
        let mut prompt_at = 0;
        for message in view.branch(&run.reply) {
            if message.id == run.prompt {
                prompt_at = turns.len();
            }
            turns.add(message, Thoughts { all: reasoning, sealed: message.id == run.reply });
        }
        let taken = view.messages.get(&run.reply).map(call_ids).unwrap_or_default();
        let (system, turns) = turns.finish();
        let (turns, left_out) = budget::fit(&system, turns, prompt_at, tokens_max);
        Some(Self { system, turns: merged(turns), left_out, taken })
    }

    /// A conversation that no session holds, such as the one that asks for a title.
    pub fn new(system: impl Into<String>, turns: Vec<Turn>) -> Self {
        Self { system: system.into(), turns: merged(turns), left_out: 0, taken: Vec::new() }
    }

    /// What it is estimated to cost to read, as counted against the budget.
    pub fn tokens(&self) -> u64 {
        budget::text(&self.system) + self.turns.iter().map(budget::turn).sum::<u64>()
    }

    /// Ids of the calls that the reply has already: a later step must not use them again.
    pub(crate) fn call_ids(&self) -> impl Iterator<Item = &str> {
        self.taken.iter().map(String::as_str)
    }

    /// Names of the tools that were called in it, each once.
    pub(crate) fn called(&self) -> Vec<&str> {
        let calls = self.turns.iter().flat_map(|turn| match turn {
            Turn::Assistant { calls, .. } => calls.as_slice(),
            Turn::User(_) => &[],
        });
        let mut names: Vec<&str> = calls.map(|call| call.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Turn {
    /// A user's words.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User(vec![Content::Text(text.into())])
    }

    /// What the model said, piece by piece; nothing of what a user says.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        let Self::Assistant { thoughts, text, calls } = self else { return Vec::new() };
        let mut pieces = Vec::new();
        let mut said = 0;
        for thought in thoughts.iter().filter(|thought| thought.after_calls == 0) {
            let upto = text.floor_char_boundary(thought.after_text).max(said);
            pieces.extend([Piece::Text(&text[said..upto]), Piece::Thought(thought)]);
            said = upto;
        }
        pieces.push(Piece::Text(&text[said..]));
        for (call, number) in calls.iter().zip(1..) {
            pieces.push(Piece::Call(call));
            pieces.extend(thoughts.iter().filter(|thought| thought.after_calls == number).map(Piece::Thought));
        }
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()));
        pieces
    }
}

fn call_ids(reply: &Message) -> Vec<String> {
    let call = |part: &Part| if let Part::ToolCall(call) = part { Some(call.call.clone()) } else { None };
    reply.parts.iter().filter_map(call).collect()
}

/// Makes one of the user's turns that follow one another: many models insist on taking turns.
fn merged(turns: Vec<Turn>) -> Vec<Turn> {
    let mut merged: Vec<Turn> = Vec::new();
    for turn in turns {
        match (merged.last_mut(), turn) {
            (Some(Turn::User(said)), Turn::User(more)) => said.extend(more),
            (_, turn) => merged.push(turn),
        }
    }
    merged
}
