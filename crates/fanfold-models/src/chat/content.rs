//! Finds the words, the thoughts and the sources in a delta.

use std::collections::HashSet;

use serde_json::Value;

use crate::speech::Speech;
use crate::{Citation, ModelEvent, json};

/// Sources that one stream names. Further ones are passed over.
const CITATIONS_MAX: usize = 1_000;

/// Fields that hold reasoning as plain text. Providers that fill several repeat themselves: the first one that speaks counts.
const REASONING: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_text", "thinking"];

/// Whether a delta says anything at all.
pub(super) fn speaks(delta: &Value) -> bool {
    let filled = |field: &&Value| match field {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    let fields = ["content", "refusal", "tool_calls", "function_call", "reasoning_details"];
    fields.iter().chain(&REASONING).filter_map(|name| delta.get(name)).any(|field| filled(&field))
}

/// The reasoning, under whichever name it comes.
pub(super) fn reasoning(delta: &Value, say: &mut dyn FnMut(&str)) {
    if let Some(text) = REASONING.iter().map(|name| json::text(delta, name)).find(|text| !text.is_empty()) {
        return say(text);
    }
    for detail in json::items(delta, "reasoning_details") {
        say(json::text(detail, "text"));
        say(json::text(detail, "summary"));
    }
}

/// The content: a text, or parts of which some may be thoughts.
pub(super) fn parts(delta: &Value, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
    speech.text(json::text(delta, "content"), out);
    for part in json::items(delta, "content") {
        match json::text(part, "type") {
            "thinking" => {
                speech.reasoning(json::text(part, "thinking"), out);
                for thought in json::items(part, "thinking") {
                    speech.reasoning(json::text(thought, "text"), out);
                }
            }
            "text" | "output_text" => speech.text(json::text(part, "text"), out),
            "refusal" => speech.text(json::text(part, "refusal"), out),
            _ => speech.ignored += 1,
        }
    }
}

/// Sources already named: providers repeat the whole list in every chunk.
#[derive(Debug, Default)]
pub(super) struct Seen {
    urls: HashSet<String>,
    annotations: HashSet<String>,
}

impl Seen {
    /// Names the sources that are new.
    pub(super) fn cite(&mut self, chunk: &Value, delta: &Value, speech: &mut Speech, out: &mut Vec<ModelEvent>) {
        for annotation in json::items(delta, "annotations") {
            if self.annotations.len() < CITATIONS_MAX && self.annotations.insert(annotation.to_string()) {
                let citation = annotated(annotation);
                self.urls.extend(citation.url.clone());
                speech.citation(citation, out);
            }
        }
        for list in ["search_results", "citations"] {
            for item in json::items(chunk, list).iter().chain(json::items(delta, list)) {
                let url = item.as_str().unwrap_or_else(|| json::text(item, "url"));
                if url.is_empty() || self.urls.len() >= CITATIONS_MAX || !self.urls.insert(url.to_owned()) {
                    continue;
                }
                let citation = Citation { url: Some(url.to_owned()), title: json::word(item, "title"), ..Citation::default() };
                speech.citation(citation, out);
            }
        }
    }
}

/// Reads an annotation: its fields stand in an object named like its type, or beside the type.
fn annotated(annotation: &Value) -> Citation {
    let inner = ["url_citation", "file_citation"].iter().find_map(|name| json::some(annotation, name)).unwrap_or(annotation);
    Citation {
        url: json::word(inner, "url"),
        title: json::word(inner, "title").or_else(|| json::word(inner, "filename")),
        source: json::word(inner, "file_id"),
        quote: json::word(inner, "content").or_else(|| json::word(inner, "quote")),
    }
}
