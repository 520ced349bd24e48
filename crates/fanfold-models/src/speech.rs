//! What every dialect says its events through: it keeps the promises that don't depend on the dialect.
//!
//! One terminal event; steps between responses; usage once and in all; unique calls, each ready at most once; whole characters.

use serde_json::{Map, Value};

use crate::surrogate::{Joiner, Stream, mark};
use crate::{ChunkError, Citation, Failure, FinishReason, ModelEvent, Usage};

/// Tool calls in one stream. More are an error of the chunk that brings them.
const CALLS_MAX: usize = 1_000;

/// A stream's events on their way out.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    joiner: Joiner,
    model: String,
    /// Calls in the order of their start, and where each stands.
    calls: Vec<(String, Call)>,
    /// Why the current response ended, if it did.
    finish: Option<FinishReason>,
    spent: Usage,
    usage: Reported,
    /// The provider has said what it costs.
    reported: bool,
    ended: bool,
    pub(crate) ignored: u64,
}

#[derive(Debug, Default)]
struct Call {
    arguments: Balance,
    ready: bool,
    /// The response it belongs to is over.
    past: bool,
}

/// What one response has reported of its usage so far; a later report replaces an earlier one, field by field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reported {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) reasoning: Option<u64>,
    pub(crate) cached_input: Option<u64>,
}

impl Speech {
    /// Reads a chunk. Nothing if it says nothing: blank, `[DONE]`, or after the end.
    pub(crate) fn read(&mut self, json: &str) -> Result<Option<Value>, ChunkError> {
        let json = json.trim();
        if json.is_empty() || json == "[DONE]" {
            return Ok(None);
        }
        let marked = mark(json)?;
        let value: Map<String, Value> = match serde_json::from_str(&marked).map_err(ChunkError::NotJson)? {
            Value::Object(fields) => fields,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(ChunkError::NotObject);
            }
        };
        self.joiner.begin(matches!(marked, std::borrow::Cow::Owned(_)));
        Ok((!self.ended).then_some(Value::Object(value)))
    }

    pub(crate) fn model(&mut self, name: &str, out: &mut Vec<ModelEvent>) {
        if !name.is_empty() && name != self.model {
            self.model = self.joiner.settle(name);
            out.push(ModelEvent::Model(self.model.clone()));
        }
    }

    pub(crate) fn text(&mut self, text: &str, out: &mut Vec<ModelEvent>) {
        let text = self.joiner.join(&Stream::Text, text);
        if !text.is_empty() {
            out.push(ModelEvent::Text(text.into_owned()));
        }
    }

    pub(crate) fn reasoning(&mut self, text: &str, out: &mut Vec<ModelEvent>) {
        let text = self.joiner.join(&Stream::Reasoning, text);
        if !text.is_empty() {
            out.push(ModelEvent::Reasoning(text.into_owned()));
        }
    }

    /// What the provider wants back of its reasoning.
    pub(crate) fn sealed(&mut self, data: &Value, out: &mut Vec<ModelEvent>) {
        let data = self.joiner.settle(&data.to_string());
        out.push(ModelEvent::Sealed { by: String::new(), data });
    }

    /// Begins a call and gives it its id: the provider's, or one like it if that is missing or taken.
    pub(crate) fn call(
        &mut self,
        id: &str,
        name: &str,
        by_provider: bool,
        out: &mut Vec<ModelEvent>,
    ) -> Result<String, ChunkError> {
        if self.calls.len() >= CALLS_MAX {
            return Err(ChunkError::TooMany { what: "tool calls", limit: CALLS_MAX });
        }
        let wanted = if id.is_empty() { format!("call_{}", self.calls.len() + 1) } else { self.joiner.settle(id) };
        let taken = |id: &str| self.calls.iter().any(|(call, _)| call == id);
        let others = (self.calls.len() + 1..).map(|number| format!("{wanted}.{number}"));
        let call = std::iter::once(wanted.clone()).chain(others).find(|id| !taken(id)).unwrap_or(wanted.clone());
        self.calls.push((call.clone(), Call::default()));
        out.push(ModelEvent::ToolCallStarted { call: call.clone(), name: self.joiner.settle(name), by_provider });
        Ok(call)
    }

    /// More arguments of a call. What comes after it was ready is passed over and counted.
    pub(crate) fn arguments(&mut self, call: &str, text: &str, out: &mut Vec<ModelEvent>) {
        let text = self.joiner.join(&Stream::Arguments(call.to_owned()), text);
        let known = self.calls.iter_mut().rev().find(|(id, state)| id == call && !state.ready);
        match known {
            _ if text.is_empty() => {}
            None => self.ignored += 1,
            Some((_, state)) => {
                state.arguments.read(&text);
                out.push(ModelEvent::ToolCallArguments { call: call.to_owned(), text: text.into_owned() });
            }
        }
    }

    /// A call's arguments are complete: the provider says so.
    pub(crate) fn ready(&mut self, call: &str, out: &mut Vec<ModelEvent>) {
        if let Some((_, state)) = self.calls.iter_mut().rev().find(|(id, state)| id == call && !state.ready) {
            state.ready = true;
            out.push(ModelEvent::ToolCallReady { call: call.to_owned() });
        }
    }

    /// A call is complete as far as the provider knows; ready now if its brackets are closed, else when the response ends well.
    pub(crate) fn ready_if_whole(&mut self, call: &str, out: &mut Vec<ModelEvent>) {
        if self.calls.iter().rev().any(|(id, state)| id == call && state.arguments.is_whole()) {
            self.ready(call, out);
        }
    }

    /// What a tool gave back that the provider ran. Its arguments are complete, whoever forgot to say so.
    pub(crate) fn result(&mut self, call: &str, content: &str, is_error: bool, out: &mut Vec<ModelEvent>) {
        self.ready(call, out);
        out.push(ModelEvent::ToolResult { call: self.joiner.settle(call), content: self.joiner.settle(content), is_error });
    }

    /// A text that is said later and whole.
    pub(crate) fn settle(&self, text: &str) -> String {
        self.joiner.settle(text)
    }

    /// A response has ended, or says so again. Its calls are ready, unless it was cut off in the middle of one.
    pub(crate) fn finish(&mut self, reason: FinishReason, out: &mut Vec<ModelEvent>) {
        for (call, state) in &mut self.calls {
            if !state.ready && !state.past && (!reason.cuts_off() || state.arguments.is_whole()) {
                state.ready = true;
                out.push(ModelEvent::ToolCallReady { call: call.clone() });
            }
        }
        let reason = match reason {
            FinishReason::Other(word) => FinishReason::Other(self.joiner.settle(&word)),
            FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls | FinishReason::ContentFilter => reason,
        };
        self.finish = Some(reason);
    }

    /// Whether the response at hand has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Another response begins.
    pub(crate) fn step(&mut self, out: &mut Vec<ModelEvent>) {
        self.complete_texts(out);
        self.calls.iter_mut().for_each(|(_, state)| state.past = true);
        self.spent = self.spent_in_all();
        self.usage = Reported::default();
        let reason = self.finish.take().unwrap_or_else(|| FinishReason::Other("unfinished".into()));
        out.push(ModelEvent::StepFinished(reason));
    }

    pub(crate) fn citation(&mut self, citation: Citation, out: &mut Vec<ModelEvent>) {
        let settle = |field: Option<String>| field.filter(|text| !text.is_empty()).map(|text| self.joiner.settle(&text));
        let Citation { url, title, source, quote } = citation;
        let citation = Citation { url: settle(url), title: settle(title), source: settle(source), quote: settle(quote) };
        if citation != Citation::default() {
            out.push(ModelEvent::Citation(citation));
        }
    }

    pub(crate) fn usage(&mut self, report: Reported) {
        let Reported { input, output, reasoning, cached_input } = self.usage;
        self.reported |= report.input.is_some() || report.output.is_some();
        self.usage = Reported {
            input: report.input.or(input),
            output: report.output.or(output),
            reasoning: report.reasoning.or(reasoning),
            cached_input: report.cached_input.or(cached_input),
        };
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, out: &mut Vec<ModelEvent>) {
        match self.finish.take() {
            Some(reason) => self.terminal(ModelEvent::Finished(reason), out),
            None => self.fail(Failure::stream_ended(), out),
        }
    }

    pub(crate) fn fail(&mut self, failure: Failure, out: &mut Vec<ModelEvent>) {
        let code = self.joiner.settle(&failure.code);
        let message = self.joiner.settle(&failure.message);
        self.terminal(ModelEvent::Failed(Failure { code, message, ..failure }), out);
    }

    fn terminal(&mut self, event: ModelEvent, out: &mut Vec<ModelEvent>) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.complete_texts(out);
        let usage = self.spent_in_all();
        if self.reported {
            out.push(ModelEvent::Usage(usage));
        }
        out.push(event);
    }

    fn spent_in_all(&self) -> Usage {
        let Reported { input, output, reasoning, cached_input } = self.usage;
        Usage {
            input: self.spent.input.saturating_add(input.unwrap_or(0)),
            output: self.spent.output.saturating_add(output.unwrap_or(0)),
            reasoning: self.spent.reasoning.saturating_add(reasoning.unwrap_or(0)),
            cached_input: self.spent.cached_input.saturating_add(cached_input.unwrap_or(0)),
        }
    }

    /// Says U+FFFD for halves of characters whose other half never came.
    fn complete_texts(&mut self, out: &mut Vec<ModelEvent>) {
        let text = || char::REPLACEMENT_CHARACTER.to_string();
        out.extend(self.joiner.give_up().map(|stream| match stream {
            Stream::Text => ModelEvent::Text(text()),
            Stream::Reasoning => ModelEvent::Reasoning(text()),
            Stream::Arguments(call) => ModelEvent::ToolCallArguments { call, text: text() },
        }));
    }
}

/// Follows the brackets of a JSON text, to know whether it is whole without keeping it.
#[derive(Debug, Default)]
struct Balance {
    depth: u32,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Balance {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match (byte, self.in_string) {
                _ if self.escaped => self.escaped = false,
                (b'\\', true) => self.escaped = true,
                (b'"', _) => self.in_string = !self.in_string,
                (b'{' | b'[', false) => self.depth += 1,
                (b'}' | b']', false) => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                (_, true | false) => {}
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
    }
}
