//! Anthropic's messages: blocks of text, thoughts and tool calls, each begun, continued and ended by its index.
//!
//! Thoughts are signed, or come encrypted: the provider wants them back as they were while it waits for results of tools.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::speech::{Reported, Speech};
use crate::{ChunkError, Citation, Dialect, Failure, FinishReason, ModelEvent, json};

/// Blocks open at a time. The protocol has one; more are an error of the chunk that opens them.
const BLOCKS_MAX: usize = 1_000;

/// The parser. See [`Dialect`].
#[derive(Debug, Default)]
pub struct Messages {
    speech: Speech,
    /// A message has begun.
    begun: bool,
    /// The tool calls being written, by the index of their block.
    blocks: BTreeMap<u64, Block>,
    /// The thought being written.
    thought: Thought,
    /// The provider's id and ours of each call it runs itself, where they differ.
    renamed: Vec<(String, String)>,
}

/// A block of thinking.
#[derive(Debug, Default)]
struct Thought {
    signature: String,
    /// Some of its text was said. It may come without any, and is signed all the same.
    said: bool,
}

#[derive(Debug)]
struct Block {
    call: String,
    /// The input as given whole at the start, used if it doesn't come in pieces as well.
    whole: Option<String>,
}

impl Dialect for Messages {
    fn chunk(&mut self, json: &str, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        let Some(event) = self.speech.read(json)? else { return Ok(()) };
        let part = |name: &str| json::some(&event, name).unwrap_or(&Value::Null);
        let index = json::number(&event, "index").unwrap_or(0);
        match json::text(&event, "type") {
            "message_start" => self.begin(part("message"), out),
            "content_block_start" => self.open(index, part("content_block"), out)?,
            "content_block_delta" => self.more(index, part("delta"), out),
            "content_block_stop" => {
                self.seal(out);
                self.close(index, out);
            }
            "message_delta" => self.finish(part("delta"), part("usage"), out),
            "error" => self.speech.fail(Failure::from_error(part("error")), out),
            "message_stop" | "ping" => {}
            _ => self.speech.ignored += 1,
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

impl Messages {
    fn begin(&mut self, message: &Value, out: &mut Vec<ModelEvent>) {
        if self.begun {
            self.blocks.clear();
            self.renamed.clear();
            self.speech.step(out);
        }
        self.begun = true;
        self.speech.model(json::text(message, "model"), out);
        self.report(json::some(message, "usage").unwrap_or(&Value::Null));
    }

    fn open(&mut self, index: u64, block: &Value, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        match json::text(block, "type") {
            "text" => {
                self.speech.text(json::text(block, "text"), out);
                json::items(block, "citations").iter().for_each(|citation| self.speech.citation(cited(citation), out));
            }
            "thinking" => {
                self.thought = Thought::default();
                self.think(block, out);
            }
            "redacted_thinking" => self.speech.sealed(block, out),
            "tool_use" => self.call(index, block, false, out)?,
            "server_tool_use" | "mcp_tool_use" => self.call(index, block, true, out)?,
            kind if kind.ends_with("tool_result") => self.result(block, out),
            _ => self.speech.ignored += 1,
        }
        Ok(())
    }

    /// More of a thought, or of its signature.
    fn think(&mut self, more: &Value, out: &mut Vec<ModelEvent>) {
        let text = json::text(more, "thinking");
        self.thought.said |= !text.is_empty();
        self.speech.reasoning(text, out);
        self.thought.signature.push_str(json::text(more, "signature"));
    }

    /// The thought is complete, if a block of thinking has ended. Its text stands before it, unless it has none.
    fn seal(&mut self, out: &mut Vec<ModelEvent>) {
        let Thought { signature, said } = std::mem::take(&mut self.thought);
        if signature.is_empty() {
            return;
        }
        let mut block = json!({ "type": "thinking", "signature": signature });
        if !said {
            block["thinking"] = "".into();
        }
        self.speech.sealed(&block, out);
    }

    fn call(&mut self, index: u64, block: &Value, by_provider: bool, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(ChunkError::TooMany { what: "open blocks", limit: BLOCKS_MAX });
        }
        let id = json::text(block, "id");
        let call = self.speech.call(id, json::text(block, "name"), by_provider, out)?;
        if call != id {
            self.renamed.push((id.to_owned(), call.clone()));
        }
        let whole = json::some(block, "input").map(|input| self.speech.settle(&json::as_text(input)));
        self.blocks.insert(index, Block { call, whole });
        Ok(())
    }

    /// What a tool gave back that the provider ran: as text, or as JSON where it is more than that.
    fn result(&mut self, block: &Value, out: &mut Vec<ModelEvent>) {
        let id = json::text(block, "tool_use_id");
        let call = self.renamed.iter().rev().find(|(theirs, _)| theirs == id).map_or(id, |(_, ours)| ours).to_owned();
        let content = json::some(block, "content").unwrap_or(&Value::Null);
        let is_error = json::some(block, "is_error").and_then(Value::as_bool).unwrap_or(false)
            || json::text(content, "type").ends_with("_error");
        self.speech.result(&call, &json::as_text(content), is_error, out);
    }

    fn more(&mut self, index: u64, delta: &Value, out: &mut Vec<ModelEvent>) {
        match json::text(delta, "type") {
            "text_delta" => self.speech.text(json::text(delta, "text"), out),
            "thinking_delta" | "signature_delta" => self.think(delta, out),
            "citations_delta" => self.speech.citation(cited(json::some(delta, "citation").unwrap_or(&Value::Null)), out),
            "input_json_delta" => match (self.blocks.get_mut(&index), json::text(delta, "partial_json")) {
                (_, "") => {}
                (Some(block), text) => {
                    block.whole = None;
                    self.speech.arguments(&block.call, text, out);
                }
                (None, _) => self.speech.ignored += 1,
            },
            _ => self.speech.ignored += 1,
        }
    }

    /// A block is complete. A call that a limit cut off ends the same way, so half a call waits for the stop reason.
    fn close(&mut self, index: u64, out: &mut Vec<ModelEvent>) {
        let Some(block) = self.blocks.remove(&index) else { return };
        if let Some(whole) = block.whole {
            self.speech.arguments(&block.call, &whole, out);
        }
        self.speech.ready_if_whole(&block.call, out);
    }

    fn finish(&mut self, delta: &Value, usage: &Value, out: &mut Vec<ModelEvent>) {
        self.report(usage);
        let word = json::text(delta, "stop_reason");
        if !word.is_empty() {
            self.speech.finish(FinishReason::from_word(word), out);
        }
    }

    /// The provider counts cached tokens apart from the input; here they are part of it.
    fn report(&mut self, usage: &Value) {
        let cached = json::number(usage, "cache_read_input_tokens");
        let written = json::number(usage, "cache_creation_input_tokens");
        let input = json::number(usage, "input_tokens");
        let add = |input: u64| input.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0));
        self.speech.usage(Reported {
            input: input.map(add),
            output: json::number(usage, "output_tokens"),
            reasoning: None,
            cached_input: cached,
        });
    }
}

/// Reads a citation of a web page, a search result or a place in a document.
fn cited(citation: &Value) -> Citation {
    Citation {
        url: json::word(citation, "url"),
        title: json::word(citation, "title").or_else(|| json::word(citation, "document_title")),
        source: json::word(citation, "source").or_else(|| json::word(citation, "file_id")),
        quote: json::word(citation, "cited_text"),
    }
}
