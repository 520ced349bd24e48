//! One who counts: what was acknowledged must be there, once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfold_client::Client;
use fanfold_fold::View;
use fanfold_wire::v1;
use fanfold_wire::v1::command::Action;
use tokio::time::Instant;

use super::{DEADLINE, command};

/// Says numbers from `first` on until it is told to stop, each until it is acknowledged. Returns the last one, and the cursor that it
/// was acknowledged with.
pub async fn count(client: Client, first: usize, stop: Arc<AtomicBool>) -> (usize, String) {
    for number in first.. {
        let custom = v1::Custom { kind: "number".into(), content_type: "text/plain".into(), payload: number.to_string().into() };
        let said = command(&format!("number{number}"), "s", Action::Custom(custom));
        let deadline = Instant::now() + DEADLINE;
        let receipt = loop {
            match client.submit(said.clone()).await {
                Ok(receipt) => break receipt,
                // Nobody knows what became of it; the same id is safe to repeat.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(receipt.refusal, "");
        if stop.load(Ordering::Relaxed) {
            return (number, receipt.cursor);
        }
    }
    unreachable!()
}

/// The last number that a reader has seen.
pub fn number(view: &View) -> usize {
    view.custom.get("number").map_or(0, |value| str::from_utf8(&value.payload).unwrap().parse().unwrap())
}
