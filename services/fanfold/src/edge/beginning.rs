//! Sessions that a connection has asked to read and does not read yet. They are waited for beside everything else that is to be done for
//! it: one that takes its time to come into memory holds up nobody.

use std::sync::Arc;
use std::task::{Context, Poll};

use fanfold_fold::{Offset, SessionId, SessionKey};
use fanfold_session::{Inbox, Sessions, Subscribe, SubscribeError, Subscribed};
use fanfold_wire::v1;
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// Begun at one time: their snapshots wait to be sent, all at once if need be.
const AT_ONCE_MAX: usize = 8;

/// In the order in which they were asked for.
#[derive(Default)]
pub(super) struct Beginnings(Vec<Beginning>);

/// What was asked for.
pub(super) struct Asked {
    pub(super) slot: u32,
    pub(super) key: SessionKey,
    pub(super) request: Subscribe,
    /// Where the client says it is, and the same as it said it.
    pub(super) from: Option<Offset>,
    pub(super) cursor: Option<String>,
    /// The connection's command before it, which may open what it reads.
    pub(super) after: u64,
}

struct Beginning {
    asked: Asked,
    answer: Option<BoxFuture<'static, Result<Subscribed, SubscribeError>>>,
}

/// What became of one.
pub(crate) struct Begun {
    pub(super) asked: Asked,
    pub(super) answer: Result<Subscribed, SubscribeError>,
}

impl Beginnings {
    pub(super) fn push(&mut self, asked: Asked) {
        self.0.push(Beginning { asked, answer: None });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one more would begin at once.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < AT_ONCE_MAX
    }

    /// Ready with the next that has its answer. `judged`: up to which of the connection's commands all are.
    pub(super) fn poll(
        &mut self,
        sessions: &Sessions,
        inbox: &Arc<Inbox>,
        judged: u64,
        context: &mut Context<'_>,
    ) -> Poll<Begun> {
        let mut due = self.0.iter_mut().enumerate().filter(|(_, beginning)| beginning.asked.after <= judged).take(AT_ONCE_MAX);
        let begun = due.find_map(|(at, beginning)| match beginning.begin(sessions, inbox).poll_unpin(context) {
            Poll::Ready(answer) => Some((at, answer)),
            Poll::Pending => None,
        });
        match begun {
            Some((at, answer)) => {
                let asked = self.0.remove(at).asked;
                self.hold_nothing();
                Poll::Ready(Begun { asked, answer })
            }
            None => Poll::Pending,
        }
    }

    /// A connection that reads all it has asked for holds no room for more: there are many of them.
    fn hold_nothing(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// Forgets those that are meant, which are then left before they were begun.
    pub(super) fn extract(&mut self, is_meant: impl Fn(&SessionId) -> bool) -> Vec<Asked> {
        let meant = self.0.extract_if(.., |beginning| is_meant(&beginning.asked.key.session));
        let asked = meant.map(|beginning| beginning.asked).collect();
        self.hold_nothing();
        asked
    }

    /// Where the client still is in them.
    pub(super) fn positions(&self) -> impl Iterator<Item = v1::Position> {
        self.0.iter().filter_map(|beginning| beginning.asked.position())
    }
}

impl Beginning {
    fn begin(&mut self, sessions: &Sessions, inbox: &Arc<Inbox>) -> &mut BoxFuture<'static, Result<Subscribed, SubscribeError>> {
        let Asked { slot, key, request, .. } = &self.asked;
        self.answer.get_or_insert_with(|| {
            let (sessions, inbox, key, request, slot) = (sessions.clone(), Arc::clone(inbox), key.clone(), *request, *slot);
            async move { sessions.subscribe(&key, request, &inbox, slot).await }.boxed()
        })
    }
}

impl Asked {
    fn position(&self) -> Option<v1::Position> {
        let cursor = self.cursor.clone()?;
        Some(v1::Position { session: self.key.session.to_string(), cursor, head: 0 })
    }
}
