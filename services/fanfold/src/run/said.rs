//! A model's events as the fold's.

use fanfold_fold as fold;
use fanfold_fold::Said;
use fanfold_models::{FinishReason, ModelEvent};

/// Bytes of text that one thing said holds at most. A model's chunk may be larger than a record.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a tool's result that are kept; the rest is cut off.
const RESULT_BYTES_MAX: usize = 256 * 1024;

/// What is to be appended of these events.
pub(super) fn said(events: Vec<ModelEvent>) -> Vec<Said> {
    events.into_iter().flat_map(split).filter_map(one).collect()
}

/// Whether nothing of the attempt can follow.
pub(super) fn is_terminal(said: &Said) -> bool {
    match said {
        Said::Completed(_) | Said::Failed(_) => true,
        Said::Text(_) | Said::Reasoning(_) | Said::ToolCall(_) | Said::ToolArguments(_) | Said::ToolReady(_) => false,
        Said::ToolResult(_) | Said::Citation(_) | Said::StepFinished(_) | Said::Sealed(_) | Said::Waiting(_) => false,
        Said::Usage(_) | Said::Unknown { .. } => false,
    }
}

/// The same in pieces that fit.
fn split(event: ModelEvent) -> Vec<ModelEvent> {
    match event {
        ModelEvent::Text(text) => pieces(&text).map(|text| ModelEvent::Text(text.to_owned())).collect(),
        ModelEvent::Reasoning(text) => pieces(&text).map(|text| ModelEvent::Reasoning(text.to_owned())).collect(),
        ModelEvent::ToolCallArguments { call, text } => {
            pieces(&text).map(|text| ModelEvent::ToolCallArguments { call: call.clone(), text: text.to_owned() }).collect()
        }
        ModelEvent::ToolResult { call, content, is_error } => {
            let content = content[..content.floor_char_boundary(RESULT_BYTES_MAX)].to_owned();
            vec![ModelEvent::ToolResult { call, content, is_error }]
        }
        other => vec![other],
    }
}

/// Cuts what is said into appends that fit a record each.
pub(super) fn groups(said: Vec<Said>) -> Vec<Vec<Said>> {
    let mut groups: Vec<Vec<Said>> = Vec::new();
    let mut bytes = usize::MAX;
    for one in said {
        let more = text_bytes(&one);
        if bytes.saturating_add(more) > RESULT_BYTES_MAX {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(group) = groups.last_mut() {
            group.push(one);
        }
    }
    groups
}

fn text_bytes(said: &Said) -> usize {
    match said {
        Said::Text(delta) => delta.text.len(),
        Said::Reasoning(delta) => delta.text.len(),
        Said::ToolArguments(delta) => delta.text.len(),
        Said::ToolResult(result) => result.content.len(),
        Said::Sealed(sealed) => sealed.data.len(),
        Said::ToolCall(_)
        | Said::ToolReady(_)
        | Said::Citation(_)
        | Said::StepFinished(_)
        | Said::Waiting(_)
        | Said::Usage(_)
        | Said::Completed(_)
        | Said::Failed(_)
        | Said::Unknown { .. } => 64,
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, left) = rest.split_at(rest.floor_char_boundary(TEXT_BYTES_MAX));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

fn one(event: ModelEvent) -> Option<Said> {
    Some(match event {
        // The run shows the model's name from its start.
        ModelEvent::Model(_) => return None,
        ModelEvent::Text(text) => fold::TextDelta { text }.into(),
        ModelEvent::Reasoning(text) => fold::ReasoningDelta { text }.into(),
        // Half of it is worth nothing; without it the provider thinks anew. What a recording sealed goes back to nobody.
        ModelEvent::Sealed { by, data } if by.is_empty() || data.len() > RESULT_BYTES_MAX => return None,
        ModelEvent::Sealed { by, data } => fold::Sealed { by, data }.into(),
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
        ModelEvent::Finished(reason) => fold::Completed { reason: finish(reason), steered: None }.into(),
        ModelEvent::Failed(failure) => {
            fold::Failed { code: failure.code, message: failure.message, retryable: failure.retryable }.into()
        }
    })
}

pub(super) fn finish(reason: FinishReason) -> fold::FinishReason {
    match reason {
        FinishReason::Stop => fold::FinishReason::Stop,
        FinishReason::Length => fold::FinishReason::Length,
        FinishReason::ToolCalls => fold::FinishReason::ToolCalls,
        FinishReason::ContentFilter => fold::FinishReason::ContentFilter,
        FinishReason::Other(word) => fold::FinishReason::Other(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_larger_than_a_record_is_said_in_pieces() {
        let text = "é".repeat(TEXT_BYTES_MAX);
        let said = said(vec![ModelEvent::Text(text.clone())]);
        let texts = said.iter().map(|said| if let Said::Text(delta) = said { delta.text.as_str() } else { panic!("{said:?}") });
        assert!(texts.clone().all(|text| text.len() <= TEXT_BYTES_MAX));
        assert_eq!(texts.collect::<String>(), text);
        let encoded = |group: &Vec<Said>| group.iter().map(text_bytes).sum::<usize>();
        let large = vec![Said::from(fold::TextDelta { text: "x".repeat(TEXT_BYTES_MAX) }); 20];
        let groups = groups(large.clone());
        assert!(groups.len() > 1 && groups.iter().all(|group| encoded(group) <= RESULT_BYTES_MAX));
        assert_eq!(groups.concat(), large);
    }
}
