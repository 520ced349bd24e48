//! What a conversation may cost to read, and what is left out of one that costs more.

use super::{Call, Content, Thought, Turn};

/// Bytes of a token, as an estimate: English has about four, most other languages and code fewer characters but as many bytes.
const BYTES_PER_TOKEN: usize = 4;

/// What a turn, a call or a result costs beside its text.
const TURN_TOKENS: u64 = 4;

/// What a file costs whose size nobody knows here.
const FILE_TOKENS: u64 = 1_000;

/// What stands in the place of a result that was left out.
const LEFT_OUT: &str = "(This result was left out to save room.)";

/// Leaves out what is over the budget. Gives the turns that stay and says how many don't.
pub(super) fn fit(system: &str, mut turns: Vec<Turn>, prompt_at: usize, tokens_max: u64) -> (Vec<Turn>, usize) {
    let mut tokens = text(system) + turns.iter().map(turn).sum::<u64>();
    // A prompt that says nothing is no turn; then the newest one stays.
    let droppable = prompt_at.min(turns.len().saturating_sub(1));
    let mut first = 0;
    while first < droppable && tokens > tokens_max {
        tokens -= turn(&turns[first]);
        first += 1;
    }
    // Providers want the user to begin.
    while 0 < first && first < droppable && matches!(turns[first], Turn::Assistant { .. }) {
        tokens -= turn(&turns[first]);
        first += 1;
    }
    turns.drain(..first);
    shorten(&mut turns[droppable - first..], tokens, tokens_max);
    (turns, first)
}

/// Leaves out results of this run's earlier steps; the newest step keeps its own.
fn shorten(run: &mut [Turn], mut tokens: u64, tokens_max: u64) {
    let newest = run.iter().rposition(|turn| matches!(turn, Turn::Assistant { .. })).unwrap_or(0);
    let calls = run[..newest].iter_mut().flat_map(|turn| match turn {
        Turn::Assistant { calls, .. } => calls.as_mut_slice(),
        Turn::User(_) => &mut [],
    });
    for call in calls {
        if tokens <= tokens_max {
            return;
        }
        if call.result.len() > LEFT_OUT.len() {
            tokens -= text(&call.result) - text(LEFT_OUT);
            LEFT_OUT.clone_into(&mut call.result);
        }
    }
}

pub(super) fn turn(turn: &Turn) -> u64 {
    let inside: u64 = match turn {
        Turn::User(said) => said.iter().map(content).sum(),
        Turn::Assistant { thoughts, text: said, calls } => {
            text(said) + calls.iter().map(call).sum::<u64>() + thoughts.iter().map(thought).sum::<u64>()
        }
    };
    TURN_TOKENS + inside
}

fn content(content: &Content) -> u64 {
    match content {
        Content::Text(said) => text(said),
        Content::File { .. } => FILE_TOKENS,
    }
}

fn thought(thought: &Thought) -> u64 {
    text(&thought.text) + thought.seal.as_ref().map_or(0, |(_, data)| text(data))
}

fn call(call: &Call) -> u64 {
    2 * TURN_TOKENS + text(&call.name) + text(&call.arguments) + text(&call.result)
}

pub(super) fn text(text: &str) -> u64 {
    text.len().div_ceil(BYTES_PER_TOKEN) as u64
}
