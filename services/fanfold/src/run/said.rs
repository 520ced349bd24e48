//! A model's events as the fold's.

use fanfold_fold as fold;
use fanfold_fold::Said;
use fanfold_models::{FinishReason, ModelEvent};

/// What is to be appended of these events.
pub(super) fn said(events: Vec<ModelEvent>) -> Vec<Said> {
    events.into_iter().filter_map(one).collect()
}

fn one(event: ModelEvent) -> Option<Said> {
    Some(match event {
        // The run shows the model's name from its start.
        ModelEvent::Model(_) => return None,
        ModelEvent::Text(text) => fold::TextDelta { text }.into(),
        ModelEvent::Reasoning(text) => fold::ReasoningDelta { text }.into(),
        ModelEvent::ToolCallStarted { call, name, .. } => fold::ToolCallStarted { call, name, needs_approval: false }.into(),
        ModelEvent::ToolCallArguments { call, text } => fold::ToolArguments { call, text }.into(),
        ModelEvent::ToolCallReady { call } => fold::ToolReady { call }.into(),
        ModelEvent::ToolResult { call, content, is_error } => fold::ToolResult { call, content, is_error }.into(),
        ModelEvent::Citation(citation) => {
            let fanfold_models::Citation { url, title, source, quote } = citation;
            fold::Citation { url, title, source, quote }.into()
        }
        ModelEvent::StepFinished(reason) => fold::StepFinished { reason: finish(reason) }.into(),
        ModelEvent::Usage(usage) => {
            let fanfold_models::Usage { input, output, reasoning, cached_input } = usage;
            fold::Usage { input, output, reasoning, cached_input }.into()
        }
        ModelEvent::Finished(reason) => fold::Completed { reason: finish(reason) }.into(),
        ModelEvent::Failed(failure) => {
            fold::Failed { code: failure.code, message: failure.message, retryable: failure.retryable }.into()
        }
    })
}

fn finish(reason: FinishReason) -> fold::FinishReason {
    match reason {
        FinishReason::Stop => fold::FinishReason::Stop,
        FinishReason::Length => fold::FinishReason::Length,
        FinishReason::ToolCalls => fold::FinishReason::ToolCalls,
        FinishReason::ContentFilter => fold::FinishReason::ContentFilter,
        FinishReason::Other(word) => fold::FinishReason::Other(word),
    }
}
