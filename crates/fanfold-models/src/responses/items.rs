//! The tool calls among a response's items: some wait for the caller, others the provider has run already.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::speech::Speech;
use crate::{ChunkError, ModelEvent, json};

/// Items in one response. More are an error of the chunk that brings them.
const ITEMS_MAX: usize = 10_000;

/// What an item is.
pub(super) enum Kind {
    Message,
    Reasoning,
    Call(Tool),
    /// Nothing that anybody is shown.
    Other,
}

/// A kind of tool: who runs it, what it is called, and where its arguments and results stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    /// Empty where the item says it.
    name: &'static str,
    by_provider: bool,
    /// The fields that are its arguments: a text of its own, or made into an object.
    arguments: &'static [&'static str],
    /// The field that is its result.
    result: &'static str,
}

const TOOLS: [(&str, Tool); 11] = [
    ("function_call", Tool { name: "", by_provider: false, arguments: &["arguments"], result: "" }),
    ("custom_tool_call", Tool { name: "", by_provider: false, arguments: &["input"], result: "" }),
    ("mcp_call", Tool { name: "", by_provider: true, arguments: &["arguments"], result: "output" }),
    ("file_search_call", Tool { name: "file_search", by_provider: true, arguments: &["queries"], result: "results" }),
    ("web_search_call", Tool { name: "web_search", by_provider: true, arguments: &["action"], result: "results" }),
    ("code_interpreter_call", Tool { name: "code_interpreter", by_provider: true, arguments: &["code"], result: "outputs" }),
    ("image_generation_call", Tool { name: "image_generation", by_provider: true, arguments: &["revised_prompt"], result: "" }),
    ("computer_call", Tool { name: "computer", by_provider: false, arguments: &["action"], result: "" }),
    ("local_shell_call", Tool { name: "local_shell", by_provider: false, arguments: &["action"], result: "" }),
    ("shell_call", Tool { name: "shell", by_provider: false, arguments: &["action"], result: "" }),
    ("apply_patch_call", Tool { name: "apply_patch", by_provider: false, arguments: &["operation"], result: "" }),
];

impl Kind {
    pub(super) fn of(item: &Value) -> Self {
        let kind = json::text(item, "type");
        match kind {
            "message" => Self::Message,
            "reasoning" => Self::Reasoning,
            _ => TOOLS.iter().find(|(name, _)| *name == kind).map_or(Self::Other, |(_, tool)| Self::Call(*tool)),
        }
    }
}

/// A tool call that has begun.
#[derive(Debug)]
pub(super) struct Item {
    call: String,
    tool: Tool,
    /// Some of its arguments have come.
    streamed: bool,
    /// They come as code, wrapped into JSON here.
    code: bool,
}

impl Item {
    pub(super) fn begin(tool: Tool, item: &Value, speech: &mut Speech, out: &mut Vec<ModelEvent>) -> Result<Self, ChunkError> {
        let id = [json::text(item, "call_id"), json::text(item, "id")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let name = if tool.name.is_empty() { json::text(item, "name") } else { tool.name };
        let call = speech.call(id, name, tool.by_provider, out)?;
        Ok(Self { call, tool, streamed: false, code: false })
    }
}

/// The tool calls of one response, by the place of their item.
#[derive(Debug, Default)]
pub(super) struct Items {
    calls: BTreeMap<u64, Item>,
    /// Where an item stands, for events that only name it.
    places: BTreeMap<String, u64>,
    last: u64,
}

impl Items {
    /// The place of the item that an event speaks of. Some servers give the place, some the item's id, and some change the id on
    /// the way: the place counts, then the id, then the place that was spoken of last.
    pub(super) fn slot(&mut self, event: &Value) -> Result<u64, ChunkError> {
        let item = json::some(event, "item").map_or("", |item| json::text(item, "id"));
        let id = [json::text(event, "item_id"), item].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let known = self.places.get(id).copied();
        let next = || if item.is_empty() || self.places.is_empty() { self.last } else { self.last.saturating_add(1) };
        let slot = json::number(event, "output_index").or(known).unwrap_or_else(next);
        if known.is_none() && !item.is_empty() {
            if self.places.len() >= ITEMS_MAX {
                return Err(ChunkError::TooMany { what: "items", limit: ITEMS_MAX });
            }
            self.places.insert(item.to_owned(), slot);
        }
        self.last = slot;
        Ok(slot)
    }

    pub(super) fn add(&mut self, slot: u64, item: Item) {
        self.calls.insert(slot, item);
    }

    pub(super) fn has(&self, slot: u64) -> bool {
        self.calls.contains_key(&slot)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether somebody is to run a tool before the model goes on.
    pub(super) fn wants_tools(&self) -> bool {
        self.calls.values().any(|item| !item.tool.by_provider)
    }

    /// More arguments.
    pub(super) fn arguments(&mut self, slot: u64, text: &str, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
        match self.calls.get_mut(&slot) {
            _ if text.is_empty() => {}
            Some(item) => {
                item.streamed = true;
                speech.arguments(&item.call, text, out);
            }
            None => speech.ignored += 1,
        }
    }

    /// More code. Arguments are JSON, so it becomes the text of a field.
    pub(super) fn code(&mut self, slot: u64, text: &str, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
        let begun = self.calls.get(&slot).is_some_and(|item| item.code);
        let quoted = Value::from(text).to_string();
        let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        let text = if begun { inner.to_owned() } else { format!("{{\"code\":\"{inner}") };
        self.arguments(slot, &text, speech, out);
        if let Some(item) = self.calls.get_mut(&slot) {
            item.code = true;
        }
    }

    /// Arguments given whole: said if no delta of them has come, and then they are complete.
    pub(super) fn whole_arguments(&mut self, slot: u64, whole: &str, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
        if self.calls.get(&slot).is_some_and(|item| !item.streamed) {
            self.arguments(slot, whole, speech, out);
        }
        if let Some(item) = self.calls.get(&slot) {
            speech.ready_if_whole(&item.call, out);
        }
    }

    /// The item is done: what hasn't been said of it is said now.
    pub(super) fn complete(&mut self, slot: u64, item: &Value, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
        let Some(known) = self.calls.get(&slot) else { return };
        let (tool, call, code) = (known.tool, known.call.clone(), known.code);
        if code {
            self.arguments(slot, "\"}", speech, out);
        } else {
            self.whole_arguments(slot, &arguments(tool, item), speech, out);
        }
        let status = json::text(item, "status");
        if status != "incomplete" {
            speech.ready(&call, out);
        }
        if tool.by_provider {
            let error = json::some(item, "error");
            let result = error.or_else(|| json::some(item, tool.result)).unwrap_or(&Value::Null);
            speech.result(&call, &json::as_text(result), error.is_some() || status == "failed", out);
        }
    }
}

/// A tool's arguments: text that it has of its own, or its fields as an object; of an action the fields themselves.
fn arguments(tool: Tool, item: &Value) -> String {
    match (tool.arguments, tool.name) {
        ([field], "") => json::some(item, field).map(json::as_text).unwrap_or_default(),
        (["action"], _) => json::some(item, "action").map(json::as_text).unwrap_or_default(),
        (fields, _) => {
            let given = fields.iter().filter_map(|field| Some(((*field).to_owned(), json::some(item, field)?.clone())));
            let object: serde_json::Map<String, Value> = given.collect();
            if object.is_empty() { String::new() } else { json!(object).to_string() }
        }
    }
}
