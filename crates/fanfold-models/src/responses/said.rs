//! Remembers which texts have been said, so that none is said again when it is done.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{ChunkError, Citation, json};

/// Parts of content in one response. More are an error of the chunk that brings them.
const PARTS_MAX: usize = 10_000;

/// Which of an item's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// What the model says, or that it refuses to.
    Content,
    /// A summary of its reasoning.
    Summary,
    /// The reasoning itself.
    Thought,
}

/// The parts that have been said, by item and number.
#[derive(Debug, Default)]
pub(super) struct Said {
    texts: BTreeSet<(u64, Stream, u64)>,
    annotated: BTreeSet<(u64, u64)>,
}

impl Said {
    pub(super) fn text(&mut self, slot: u64, stream: Stream, index: u64) -> Result<(), ChunkError> {
        self.texts.insert((slot, stream, index));
        self.within_limits()
    }

    pub(super) fn has_text(&self, slot: u64, stream: Stream, index: u64) -> bool {
        self.texts.contains(&(slot, stream, index))
    }

    pub(super) fn annotation(&mut self, slot: u64, index: u64) -> Result<(), ChunkError> {
        self.annotated.insert((slot, index));
        self.within_limits()
    }

    pub(super) fn has_annotations(&self, slot: u64, index: u64) -> bool {
        self.annotated.contains(&(slot, index))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.annotated.is_empty()
    }

    fn within_limits(&self) -> Result<(), ChunkError> {
        if self.texts.len().max(self.annotated.len()) > PARTS_MAX {
            return Err(ChunkError::TooMany { what: "parts of content", limit: PARTS_MAX });
        }
        Ok(())
    }
}

/// Reads an annotation of a web page or a file.
pub(super) fn annotated(annotation: &Value) -> Citation {
    Citation {
        url: json::word(annotation, "url"),
        title: json::word(annotation, "title").or_else(|| json::word(annotation, "filename")),
        source: json::word(annotation, "file_id"),
        quote: json::word(annotation, "quote"),
    }
}

/// Events that only say how far something has come, or repeat what others say.
pub(super) fn is_progress(kind: &str) -> bool {
    let parts = ["content_part.added", "reasoning_summary_part.added", "reasoning_summary_part.done", "reasoning_part.added"];
    let repeated = ["reasoning_part.done", "code_interpreter_call_code.done", "output_text_annotation.added"];
    let state = ["in_progress", "searching", "interpreting", "generating", "partial_image", "completed", "failed"];
    let call = kind.split_once('.').filter(|(item, _)| item.ends_with("_call") || *item == "mcp_list_tools");
    parts.contains(&kind) || repeated.contains(&kind) || call.is_some_and(|(_, word)| state.contains(&word))
}
