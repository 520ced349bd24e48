//! Messages and their parts as turns.

use fanfold_fold::{FileRef, Message, Part, Role, ToolCall, ToolStatus};
use serde_json::{Value, json};

use super::{Call, Content, Thought, Turn};

/// What the model reads where a call has no result and never will.
const NOT_RUN: &str = "The call was not run.";

/// The turns of a branch, message by message.
#[derive(Default)]
pub(super) struct Turns {
    system: Vec<String>,
    turns: Vec<Turn>,
    /// Calls so far, which numbers them.
    calls: usize,
}

/// Which thoughts of a message go back to the model.
#[derive(Clone, Copy)]
pub(super) struct Thoughts {
    /// All of them, as text.
    pub(super) all: bool,
    /// Those that are sealed, with their seals.
    pub(super) sealed: bool,
}

/// What the model said between two results of tools, and what people added meanwhile.
#[derive(Default)]
struct Step {
    thoughts: Vec<Thought>,
    text: String,
    calls: Vec<Call>,
    steering: Vec<Content>,
}

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// System text and turns.
    pub(super) fn finish(self) -> (String, Vec<Turn>) {
        (self.system.join("\n\n"), self.turns)
    }

    pub(super) fn add(&mut self, message: &Message, thoughts: Thoughts) {
        match message.role {
            Role::System => {
                let text: Vec<&str> = message.parts.iter().filter_map(words).collect();
                if !text.is_empty() {
                    self.system.push(text.join("\n\n"));
                }
            }
            // A result that the application keeps as a message names no call, so it is told like a user's words.
            Role::User | Role::Tool => self.user(message.parts.iter().filter_map(content).collect()),
            Role::Assistant => self.assistant(&message.parts, thoughts),
        }
    }

    fn user(&mut self, said: Vec<Content>) {
        if !said.is_empty() {
            self.turns.push(Turn::User(said));
        }
    }

    fn assistant(&mut self, parts: &[Part], thoughts: Thoughts) {
        let mut step = Step::default();
        let before = std::iter::once(None).chain(parts.iter().map(Some));
        for (part, before) in parts.iter().zip(before) {
            match part {
                Part::Text(text) => {
                    // It was said with the results at hand.
                    if !step.calls.is_empty() {
                        self.flush(&mut step, thoughts);
                    }
                    step.say(&text.text);
                }
                Part::File(file) => step.say(&mention(file)),
                Part::ToolCall(call) => {
                    self.calls += 1;
                    step.calls.extend(whole(call, self.calls));
                }
                // The model reads it when its step is over; before its first word it reads it at once.
                Part::Steering(_) if step.is_empty() => self.user(content(part).into_iter().collect()),
                Part::Steering(_) => step.steering.extend(content(part)),
                Part::Step(_) => self.flush(&mut step, thoughts),
                Part::Reasoning(thought) => step.think(&thought.text),
                Part::Sealed(sealed) => {
                    if !matches!(before, Some(Part::Reasoning(_))) {
                        step.think("");
                    }
                    if let Some(thought) = step.thoughts.last_mut().filter(|_| thoughts.sealed) {
                        thought.seal = Some((sealed.by.clone(), sealed.data.clone()));
                    }
                }
                Part::Citation(_) | Part::Unknown { .. } => {}
            }
        }
        self.flush(&mut step, thoughts);
    }

    fn flush(&mut self, step: &mut Step, wanted: Thoughts) {
        let Step { mut thoughts, text, calls, steering } = std::mem::take(step);
        thoughts.retain(|thought| thought.seal.is_some() || wanted.all && !thought.text.is_empty());
        if said(&text).is_some() || !calls.is_empty() {
            self.turns.push(Turn::Assistant { thoughts, text, calls });
        }
        self.user(steering);
    }
}

impl Step {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.calls.is_empty()
    }

    fn think(&mut self, text: &str) {
        let (after_text, after_calls) = (self.text.len(), self.calls.len());
        self.thoughts.push(Thought { text: text.to_owned(), seal: None, after_text, after_calls });
    }

    fn say(&mut self, text: &str) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
    }
}

fn words(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => said(&text.text),
        Part::Steering(steering) => said(&steering.text),
        Part::Reasoning(_) | Part::ToolCall(_) | Part::Citation(_) | Part::File(_) | Part::Step(_) | Part::Sealed(_) => None,
        Part::Unknown { .. } => None,
    }
}

/// Text with something in it: providers refuse blanks.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.trim().is_empty())
}

fn content(part: &Part) -> Option<Content> {
    match part {
        Part::File(FileRef { url, media_type, name }) => {
            Some(Content::File { url: url.clone(), media_type: media_type.clone(), name: name.clone() })
        }
        other => words(other).map(|text| Content::Text(text.to_owned())),
    }
}

/// A file where only words can stand: a model refers to none.
fn mention(file: &FileRef) -> String {
    format!("[{}]({})", file.name.as_deref().unwrap_or(&file.media_type), file.url)
}

/// The call, if the model has finished writing it.
fn whole(call: &ToolCall, number: usize) -> Option<Call> {
    let given = call.result.as_deref();
    let (result, is_error) = match call.status {
        ToolStatus::Writing | ToolStatus::WritingForApproval => return None,
        ToolStatus::AwaitingApproval | ToolStatus::Ready => (NOT_RUN.to_owned(), true),
        ToolStatus::Refused => (refusal(given.unwrap_or_default()), true),
        ToolStatus::Done => (given.unwrap_or_default().to_owned(), false),
        ToolStatus::Failed => (given.unwrap_or_default().to_owned(), true),
    };
    Some(Call {
        id: format!("call{number:05}"),
        name: call.name.clone(),
        arguments: arguments(&call.arguments),
        result,
        is_error,
    })
}

fn refusal(reason: &str) -> String {
    let stop = if reason.is_empty() { "." } else { ": " };
    format!("This call was not allowed{stop}{reason}")
}

fn arguments(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => text.to_owned(),
        _ if text.trim().is_empty() => "{}".to_owned(),
        _ => json!({ "input": text }).to_string(),
    }
}
