//! Every recording once more as it came, over real HTTP and cut anywhere, against what the recording plays.
//!
//! `FANFOLD_SEED` replays the cuts of one run.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::fs;

use fanfold_models::fault::{FaultServer, Pieces, Reply};
use fanfold_models::{ModelEvent, Recording, RecordingError};
use support::{endpoint, line, question, read_answer, recordings, router};

/// The chunks of a recording, as text.
fn chunks(content: &str) -> Vec<&str> {
    let json = content.lines().map(|line| line.trim().strip_prefix("data:").unwrap_or(line).trim());
    let transport = |line: &&str| ["event:", "id:", "retry:", ":"].iter().any(|field| line.starts_with(field));
    json.filter(|line| !line.is_empty() && *line != "[DONE]" && !transport(line)).collect()
}

#[tokio::test]
async fn recordings_say_the_same_over_http() {
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("FANFOLD_SEED={seed}");
    for file in recordings("recordings_say_the_same_over_http") {
        let recording = match Recording::open(&file) {
            Err(RecordingError::UnknownFormat { .. }) => continue,
            opened => opened.unwrap(),
        };
        let expected: Vec<ModelEvent> = recording.play().flatten().collect();
        let content = fs::read_to_string(&file).unwrap();
        let reply = Reply::chunks(recording.dialect(), chunks(&content));
        let random = |bytes_max| Pieces::Random { seed, bytes_max };
        for pieces in [Pieces::Of(1), random(50), random(5_000), Pieces::Whole] {
            let server = FaultServer::replies(vec![reply.clone().in_pieces(pieces)]).await.unwrap();
            let mut config = endpoint(&server.url(), recording.dialect());
            (config.tries_max, config.first_token_ms_max, config.total_ms_max) = (1, 60_000, 600_000);
            let said = match router(vec![config]).answer("m", &question(), &[]).await {
                Ok(answer) => read_answer(answer).await,
                Err(error) => vec![ModelEvent::Failed(error.why.failure())],
            };
            // A failure before the first word is no answer at all, so what was said before it isn't either.
            let silent = matches!(said.as_slice(), [ModelEvent::Failed(_)]);
            let expected = if silent { &expected[expected.len() - 1..] } else { &expected[..] };
            let lines = |events: &[ModelEvent]| events.iter().map(line).collect::<Vec<_>>();
            assert_eq!(lines(&said), lines(expected), "{} in {pieces:?}", file.display());
        }
    }
}
