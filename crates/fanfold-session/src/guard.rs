//! Notices what a tail lost at its end: a last record that never came has no successor whose chain would show it.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Msg;
use crate::sessions::Inner;

/// Between two looks at the sessions in use.
const GUARD_INTERVAL: Duration = Duration::from_secs(2);

/// Between two looks at all sessions in memory: whoever asks for one that nobody reads is told of no state that is older.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);

/// Looks in a row that fail before the log counts as away: one may meet an election.
const AWAY_AFTER: u32 = 2;

/// Until the node is dropped: compares what sessions in use have folded with what the log says is their last offset, now and then all
/// sessions, and all of them soon after tails were made anew. Where the log can't be asked, readers have what they have and no more: that
/// is told.
pub(crate) async fn guard(inner: Weak<Inner>) {
    let (mut failed, mut tails, mut all_due) = (0, 0, Instant::now() + IDLE_INTERVAL);
    loop {
        tokio::time::sleep(GUARD_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let are_new = std::mem::replace(&mut tails, inner.node.ports.log.tails_made_anew()) != tails;
        let all = are_new || Instant::now() >= all_due;
        if all {
            all_due = Instant::now() + IDLE_INTERVAL;
        }
        let looked_at = if all { inner.directory.hosted() } else { inner.directory.in_use() };
        let keys: Vec<_> = looked_at.iter().map(|(key, _)| key.clone()).collect();
        let last = inner.node.ports.log.last_of(&keys).await;
        let unheard: HashSet<_> = keys.into_iter().zip(&last).filter(|(_, last)| last.is_none()).map(|(key, _)| key).collect();
        let answered = unheard.is_empty();
        inner.unheard.send_replace(Arc::new(unheard));
        for ((_, slot), last) in looked_at.iter().zip(last) {
            if let Some(last) = last.filter(|last| *last > slot.feed.head()) {
                // The actor reads what is missing; one that has ended needs nothing.
                let _ = slot.actor.send_message(Msg::Behind(last));
            }
        }
        failed = if answered { 0 } else { failed + 1 };
        let away = failed >= AWAY_AFTER;
        inner.log_away.send_if_modified(|known| std::mem::replace(known, away) != away);
    }
}
