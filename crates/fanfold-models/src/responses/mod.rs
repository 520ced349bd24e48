//! OpenAI's responses: items of output with content in parts, announced, streamed, and repeated when they are done.
//!
//! What is repeated is said once: a `done` speaks only where no delta did. Images are left out.

mod items;
mod said;

use serde_json::{Value, json};

use self::items::{Item, Items, Kind};
use self::said::{Said, Stream};
use crate::speech::{Reported, Speech};
use crate::{ChunkError, Dialect, Failure, FinishReason, ModelEvent, json};

/// The parser. See [`Dialect`].
#[derive(Debug, Default)]
pub struct Responses {
    speech: Speech,
    /// A response has begun.
    begun: bool,
    items: Items,
    said: Said,
}

impl Dialect for Responses {
    fn chunk(&mut self, json: &str, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        let Some(event) = self.speech.read(json)? else { return Ok(()) };
        let response = json::some(&event, "response").unwrap_or(&Value::Null);
        let kind = json::text(&event, "type");
        match kind.strip_prefix("response.").unwrap_or(kind) {
            "created" => self.begin(response, out),
            "in_progress" | "queued" => self.speech.model(json::text(response, "model"), out),
            "completed" | "incomplete" | "done" | "cancelled" => self.finish(response, out)?,
            "failed" => self.fail_by(response, out),
            "error" => self.speech.fail(Failure::from_error(json::some(&event, "error").unwrap_or(&event)), out),
            kind => self.content(kind, &event, out)?,
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<ModelEvent>) {
        self.speech.end(out);
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<ModelEvent>) {
        self.speech.fail(failure, out);
    }

    fn is_finished(&self) -> bool {
        self.speech.is_finished()
    }

    fn ignored(&self) -> u64 {
        self.speech.ignored
    }
}

impl Responses {
    fn begin(&mut self, response: &Value, out: &mut Vec<ModelEvent>) {
        if self.begun {
            self.speech.step(out);
            self.items = Items::default();
            self.said = Said::default();
        }
        self.begun = true;
        self.speech.model(json::text(response, "model"), out);
    }

    fn content(&mut self, kind: &str, event: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        let slot = self.items.slot(event)?;
        let item = json::some(event, "item").unwrap_or(&Value::Null);
        let (delta, text) = (json::text(event, "delta"), json::text(event, "text"));
        let (content, summary) = (json::number(event, "content_index"), json::number(event, "summary_index"));
        match kind {
            "output_item.added" => self.add(slot, item, out)?,
            "output_item.done" => self.complete(slot, item, out)?,
            "output_text.delta" | "refusal.delta" => self.stream(slot, Stream::Content, content, delta, out)?,
            "output_text.done" => self.once(slot, Stream::Content, content, text, out)?,
            "refusal.done" => self.once(slot, Stream::Content, content, json::text(event, "refusal"), out)?,
            "reasoning_summary_text.delta" => self.stream(slot, Stream::Summary, summary, delta, out)?,
            "reasoning_summary_text.done" => self.once(slot, Stream::Summary, summary, text, out)?,
            "reasoning_text.delta" => self.stream(slot, Stream::Thought, content, delta, out)?,
            "reasoning_text.done" => self.once(slot, Stream::Thought, content, text, out)?,
            "output_text.annotation.added" => {
                let annotation = json::some(event, "annotation").unwrap_or(&Value::Null);
                self.said.annotation(slot, content.unwrap_or(0))?;
                self.speech.citation(said::annotated(annotation), out);
            }
            "content_part.done" => {
                let part = json::some(event, "part").unwrap_or(&Value::Null);
                self.part(slot, content.unwrap_or(0), part, out)?;
            }
            "function_call_arguments.delta" | "mcp_call_arguments.delta" | "custom_tool_call_input.delta" => {
                self.items.arguments(slot, delta, &mut self.speech, out);
            }
            "code_interpreter_call_code.delta" => self.items.code(slot, delta, &mut self.speech, out),
            "function_call_arguments.done" | "mcp_call_arguments.done" | "custom_tool_call_input.done" => {
                let whole = [json::text(event, "arguments"), json::text(event, "input")].concat();
                self.items.whole_arguments(slot, &whole, &mut self.speech, out);
            }
            kind if said::is_progress(kind) => {}
            _ => self.speech.ignored += 1,
        }
        Ok(())
    }

    /// Says a delta.
    fn stream(
        &mut self,
        slot: u64,
        stream: Stream,
        index: Option<u64>,
        text: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), ChunkError> {
        if !text.is_empty() {
            self.said.text(slot, stream, index.unwrap_or(0))?;
        }
        match stream {
            Stream::Content => self.speech.text(text, out),
            Stream::Summary | Stream::Thought => self.speech.reasoning(text, out),
        }
        Ok(())
    }

    /// Says a whole text, if no delta of it has come.
    fn once(
        &mut self,
        slot: u64,
        stream: Stream,
        index: Option<u64>,
        text: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), ChunkError> {
        if self.said.has_text(slot, stream, index.unwrap_or(0)) {
            return Ok(());
        }
        self.stream(slot, stream, index, text, out)
    }

    /// A part of a message, whole.
    fn part(&mut self, slot: u64, index: u64, part: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        match json::text(part, "type") {
            "output_text" | "text" => self.once(slot, Stream::Content, Some(index), json::text(part, "text"), out)?,
            "refusal" => self.once(slot, Stream::Content, Some(index), json::text(part, "refusal"), out)?,
            "reasoning_text" => self.once(slot, Stream::Thought, Some(index), json::text(part, "text"), out)?,
            _ => self.speech.ignored += 1,
        }
        let annotations = json::items(part, "annotations");
        if !annotations.is_empty() && !self.said.has_annotations(slot, index) {
            self.said.annotation(slot, index)?;
            annotations.iter().for_each(|annotation| self.speech.citation(said::annotated(annotation), out));
        }
        Ok(())
    }

    /// An item begins.
    fn add(&mut self, slot: u64, item: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        match Kind::of(item) {
            Kind::Call(tool) => self.items.add(slot, Item::begin(tool, item, &mut self.speech, out)?),
            Kind::Message | Kind::Reasoning => {}
            Kind::Other => self.speech.ignored += 1,
        }
        Ok(())
    }

    /// An item is complete, and says once more what it is.
    fn complete(&mut self, slot: u64, item: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        match Kind::of(item) {
            Kind::Call(tool) => {
                if !self.items.has(slot) {
                    self.items.add(slot, Item::begin(tool, item, &mut self.speech, out)?);
                }
                self.items.complete(slot, item, &mut self.speech, out);
            }
            Kind::Message => {
                for (part, index) in json::items(item, "content").iter().zip(0..) {
                    self.part(slot, index, part, out)?;
                }
            }
            Kind::Reasoning => {
                for (part, index) in json::items(item, "summary").iter().zip(0..) {
                    self.once(slot, Stream::Summary, Some(index), json::text(part, "text"), out)?;
                }
                for (part, index) in json::items(item, "content").iter().zip(0..) {
                    self.once(slot, Stream::Thought, Some(index), json::text(part, "text"), out)?;
                }
                self.seal(item, out);
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// An item of reasoning that its provider can read again, though it keeps nothing.
    fn seal(&mut self, item: &Value, out: &mut Vec<ModelEvent>) {
        let encrypted = json::text(item, "encrypted_content");
        if !encrypted.is_empty() {
            let (id, summary) = (json::text(item, "id"), json::items(item, "summary"));
            let item = json!({ "type": "reasoning", "id": id, "summary": summary, "encrypted_content": encrypted });
            self.speech.sealed(&item, out);
        }
    }

    /// The response is over. Where nothing at all came before, what it holds is said now.
    fn finish(&mut self, response: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        self.begun = true;
        self.speech.model(json::text(response, "model"), out);
        self.report(response);
        if self.said.is_empty() && self.items.is_empty() {
            for (item, slot) in json::items(response, "output").iter().zip(0..) {
                self.complete(slot, item, out)?;
            }
        }
        let why = json::some(response, "incomplete_details").map_or("", |details| json::text(details, "reason"));
        let reason = match (json::text(response, "status"), why) {
            (_, why) if !why.is_empty() => FinishReason::from_word(why),
            (word @ ("cancelled" | "incomplete"), _) => FinishReason::Other(word.to_owned()),
            _ if self.items.wants_tools() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        self.speech.finish(reason, out);
        Ok(())
    }

    fn fail_by(&mut self, response: &Value, out: &mut Vec<ModelEvent>) {
        self.report(response);
        let unsaid = Value::from("The response failed.");
        self.speech.fail(Failure::from_error(json::some(response, "error").unwrap_or(&unsaid)), out);
    }

    fn report(&mut self, response: &Value) {
        let Some(usage) = json::some(response, "usage") else { return };
        let detail = |of: &str, what: &str| json::some(usage, of).and_then(|details| json::number(details, what));
        self.speech.usage(Reported {
            input: json::number(usage, "input_tokens"),
            output: json::number(usage, "output_tokens"),
            reasoning: detail("output_tokens_details", "reasoning_tokens"),
            cached_input: detail("input_tokens_details", "cached_tokens"),
        });
    }
}
