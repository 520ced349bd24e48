//! What a node tells all its connections at once.

use fanfold_session::Sessions;
use tokio::sync::watch;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notice {
    /// The node goes away.
    pub draining: bool,
    /// What it has stands still: the log can't be asked for more.
    pub log_away: bool,
}

/// One notice made of both, for as long as the node lives: a connection waits for one thing and not for two.
pub(crate) fn notices(sessions: &Sessions, mut draining: watch::Receiver<bool>) -> watch::Receiver<Notice> {
    let (notices, told) = watch::channel(Notice::default());
    let mut log_away = sessions.log_away();
    tokio::spawn(async move {
        loop {
            let notice = Notice { draining: *draining.borrow_and_update(), log_away: *log_away.borrow_and_update() };
            notices.send_replace(notice);
            tokio::select! {
                changed = draining.changed() => if changed.is_err() { return },
                changed = log_away.changed() => if changed.is_err() { return },
            }
        }
    });
    told
}

/// What there is to tell somebody who knows this much.
pub(crate) async fn news(mut notices: watch::Receiver<Notice>, known: Notice) -> Notice {
    match notices.wait_for(|notice| *notice != known).await {
        Ok(notice) => *notice,
        // Nobody tells any more: the node is gone.
        Err(_) => Notice { draining: true, ..known },
    }
}
