//! OpenAI chat completions, and the many ways in which others serve them.
//!
//! Reasoning has several names, tool calls come whole or in fragments, usage in the last chunk or in each, citations once or in
//! every chunk. What `<think>` tags in the text mean is left to whoever shows it. Only the first choice is read.

mod calls;
mod content;

use serde_json::Value;

use self::calls::Calls;
use self::content::Seen;
use crate::speech::{Reported, Speech};
use crate::{ChunkError, Dialect, Failure, FinishReason, ModelEvent, json};

/// The parser. See [`Dialect`].
#[derive(Debug, Default)]
pub struct ChatCompletions {
    speech: Speech,
    /// The id of the response at hand.
    response: String,
    calls: Calls,
    seen: Seen,
    /// The response at hand has said something.
    said: bool,
}

impl Dialect for ChatCompletions {
    fn chunk(&mut self, json: &str, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        let Some(chunk) = self.speech.read(json)? else { return Ok(()) };
        let choice = json::items(&chunk, "choices").iter().find(|choice| json::number(choice, "index").unwrap_or(0) == 0);
        if let Some(failure) = failure(&chunk, choice) {
            self.report(&chunk, choice);
            self.speech.fail(failure, out);
            return Ok(());
        }
        if json::some(&chunk, "choices").is_none() && json::some(&chunk, "usage").is_none() {
            self.speech.ignored += 1;
        }
        let delta = choice.map_or(&Value::Null, |choice| self.delta(&chunk, choice));
        self.begin(&chunk, delta, out);
        self.report(&chunk, choice);
        self.seen.cite(&chunk, delta, &mut self.speech, out);
        self.say(delta, out)?;
        self.finish(choice, out);
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

impl ChatCompletions {
    /// What is new. A whole `message` counts where nothing came in deltas before it: some send it along as a summary.
    fn delta<'a>(&self, chunk: &Value, choice: &'a Value) -> &'a Value {
        let message = || json::some(choice, "message").filter(|_| !self.said || json::text(chunk, "object") == "chat.completion");
        json::some(choice, "delta").or_else(message).unwrap_or(&Value::Null)
    }

    /// Notices that another response has begun: another id, and more to say after the last one had ended.
    fn begin(&mut self, chunk: &Value, delta: &Value, out: &mut Vec<ModelEvent>) {
        let id = json::text(chunk, "id");
        let speaks = content::speaks(delta);
        if speaks && self.speech.is_finished() && !id.is_empty() && id != self.response {
            self.speech.step(out);
            self.calls = Calls::default();
            self.said = false;
        }
        self.said |= speaks;
        if !id.is_empty() && !self.speech.is_finished() {
            id.clone_into(&mut self.response);
        }
        self.speech.model(json::text(chunk, "model"), out);
    }

    fn say(&mut self, delta: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        content::reasoning(delta, &mut |text| self.speech.reasoning(text, out));
        content::parts(delta, &mut self.speech, out);
        self.speech.text(json::text(delta, "refusal"), out);
        for fragment in json::items(delta, "tool_calls") {
            self.calls.read(fragment, &mut self.speech, out)?;
        }
        if let Some(function) = json::some(delta, "function_call") {
            self.calls.read(&serde_json::json!({ "index": 0, "function": function }), &mut self.speech, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, choice: Option<&Value>, out: &mut Vec<ModelEvent>) {
        let word = choice.map_or("", |choice| json::text(choice, "finish_reason"));
        if word.is_empty() {
            return;
        }
        if let Some(failure) = Failure::from_finish(word) {
            return self.speech.fail(failure, out);
        }
        self.calls.close();
        self.speech.finish(FinishReason::from_word(word), out);
    }

    /// Usage stands in the chunk, in the choice, or in a provider's own corner.
    fn report(&mut self, chunk: &Value, choice: Option<&Value>) {
        let own = json::some(chunk, "x_groq").and_then(|own| json::some(own, "usage"));
        let in_choice = choice.and_then(|choice| json::some(choice, "usage"));
        let Some(usage) = json::some(chunk, "usage").or(in_choice).or(own) else { return };
        let detail = |of: &str, what: &str| json::some(usage, of).and_then(|details| json::number(details, what));
        let cached = detail("prompt_tokens_details", "cached_tokens");
        let reasoning = detail("completion_tokens_details", "reasoning_tokens");
        self.speech.usage(Reported {
            input: json::number(usage, "prompt_tokens"),
            output: json::number(usage, "completion_tokens"),
            reasoning: reasoning.or_else(|| json::number(usage, "reasoning_tokens")),
            cached_input: cached
                .or_else(|| json::number(usage, "prompt_cache_hit_tokens"))
                .or_else(|| json::number(usage, "cached_tokens")),
        });
    }
}

/// An error in mid-stream: an object of its own, or beside a choice.
fn failure(chunk: &Value, choice: Option<&Value>) -> Option<Failure> {
    if json::text(chunk, "object") == "error" || json::text(chunk, "type") == "error" && json::some(chunk, "error").is_none() {
        return Some(Failure::from_error(chunk));
    }
    let error = json::some(chunk, "error").or_else(|| choice.and_then(|choice| json::some(choice, "error")));
    error.map(Failure::from_error)
}
