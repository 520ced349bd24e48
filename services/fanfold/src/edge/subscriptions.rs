//! The sessions that one connection reads.

use std::sync::Arc;
use std::task::{Context, Poll};

use fanfold_fold::{Cursor, Offset, SessionId};
use fanfold_session::{Ended, Filled, How, Inbox, Mode, Reset, Start, Subscribe, Subscribed, Subscription};
use fanfold_wire::{ErrorCode, v1};
use tokio::time::Instant;

use super::beginning::{Asked, Beginnings, Begun};
use super::readers::Attached;
use super::{Edge, Failure, Framing, window};
use crate::auth::{Action, Caller, authorize};

pub(crate) struct Subscriptions {
    edge: Arc<Edge>,
    framing: Framing,
    inbox: Arc<Inbox>,
    /// By number. There are few, mostly one: nothing is worth a table.
    slots: Vec<(u32, Box<Slot>)>,
    /// Those that are not read yet.
    beginnings: Beginnings,
    next_slot: u32,
    /// Readers in full mode that are to be filled at a time.
    due: Vec<(Instant, u32)>,
    /// Where sessions ended for this connection; a client that comes back says so.
    ended: Vec<v1::Position>,
}

struct Slot {
    subscription: Subscription,
    _attached: Attached,
    /// Not told yet that it has everything.
    catching_up: bool,
}

impl Slot {
    fn session(&self) -> &SessionId {
        &self.subscription.key().session
    }
}

/// What a session had for this connection.
pub(crate) enum Filling {
    /// Nothing more at the moment.
    Idle,
    /// The same, for the first time.
    CaughtUp(v1::CaughtUp),
    /// More, once this has been sent.
    More,
    /// The session has ended for its readers.
    Closed(v1::Closed),
    /// The session can't be read any more on this node.
    Failed(v1::Error),
}

impl Subscriptions {
    pub(crate) fn new(edge: Arc<Edge>, framing: Framing, inbox: Arc<Inbox>) -> Self {
        let (slots, beginnings) = (Vec::new(), Beginnings::default());
        Self { edge, framing, inbox, slots, beginnings, next_slot: 0, due: Vec::new(), ended: Vec::new() }
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Begins to read a session once the connection's commands up to `after` are judged. Replaces what it reads of it.
    pub(crate) fn subscribe(&mut self, caller: &Caller, request: &v1::Subscribe, after: u64) -> Result<(), Failure> {
        let key = self.edge.session(caller, Action::Read, &request.session)?;
        self.leave(&key.session);
        if self.slots.len() + self.beginnings.len() >= self.edge.limits.sessions_per_connection_max {
            return Err(ErrorCode::TooManySessions.into());
        }
        let start = match (&request.cursor, request.replay) {
            (Some(cursor), _) if !cursor.is_empty() => Start::After(cursor.parse::<Cursor>()?),
            (_, Some(offset)) => Start::Replay(Offset(offset)),
            (_, None) => Start::Now,
        };
        let from = match &start {
            Start::After(cursor) => Some(cursor.offset),
            Start::Replay(offset) => Some(*offset),
            Start::Now => None,
        };
        let mode = match request.mode() {
            v1::Mode::Unspecified | v1::Mode::Deltas => Mode::Deltas,
            v1::Mode::Full => Mode::Full,
        };
        self.next_slot += 1;
        let cursor = request.cursor.clone().filter(|cursor| !cursor.is_empty());
        let request = Subscribe { start, format: self.framing.id(), mode, window: window(request.window) };
        self.beginnings.push(Asked { slot: self.next_slot, key, request, from, cursor, after });
        Ok(())
    }

    /// Whether another session would be begun at once.
    pub(crate) fn may_begin(&self) -> bool {
        self.beginnings.has_room()
    }

    /// Ready with the next answer. `judged`: up to which of its commands all are.
    pub(crate) fn poll_begun(&mut self, judged: u64, context: &mut Context<'_>) -> Poll<Box<Begun>> {
        self.beginnings.poll(&self.edge.sessions, &self.inbox, judged, context).map(Box::new)
    }

    /// Answers a subscription: the frame and, where one follows, the snapshot are appended to `out`. Says which is to be filled, or which
    /// session can't be read.
    pub(crate) fn begun(&mut self, begun: Begun, out: &mut Vec<u8>) -> Result<u32, (SessionId, Failure)> {
        let Asked { slot, key, from, .. } = begun.asked;
        let subscribed = begun.answer.map_err(|error| (key.session.clone(), error.into()))?;
        self.answer(&subscribed, out);
        let attached = self.edge.readers.arrive(&key, self.framing, subscribed.how, from, subscribed.cursor.offset);
        let subscription = subscribed.subscription;
        self.slots.push((slot, Box::new(Slot { subscription, _attached: attached, catching_up: true })));
        Ok(slot)
    }

    fn answer(&self, subscribed: &Subscribed, out: &mut Vec<u8>) {
        let key = subscribed.subscription.key();
        let (how, reset) = how(subscribed.how);
        metrics::counter!("fanfold_subscriptions_total", "how" => how.as_str_name(), "framing" => framing_name(self.framing))
            .increment(1);
        let answer = v1::Subscribed {
            session: key.session.to_string(),
            how: how.into(),
            recovered: how == v1::How::Resumed,
            reset_reason: reset.into(),
            cursor: subscribed.cursor.to_string(),
            epoch: self.edge.sessions.epoch(key).to_string(),
            offset: subscribed.cursor.offset.0,
            head: subscribed.head.0,
        };
        // The simplest clients are told by the `reset` event alone.
        if self.framing != Framing::SseSimple {
            self.framing.write(&v1::server_frame::Frame::Subscribed(answer).into(), out);
        }
        if let Some(snapshot) = &subscribed.snapshot {
            out.extend_from_slice(snapshot);
        }
    }

    /// Stops reading a session. Nothing else ends by that.
    pub(crate) fn leave(&mut self, session: &SessionId) -> bool {
        self.ended.retain(|position| position.session != session.as_str());
        let begun = self.slots.extract_if(.., |(_, slot)| slot.session() == session).count();
        begun + self.beginnings.extract(|asked| asked == session).len() > 0
    }

    /// Leaves the sessions that the caller may not read any more, and says how each of them ended.
    pub(crate) fn revoke(&mut self, caller: &Caller) -> Vec<v1::Closed> {
        let denied = |session: &SessionId| authorize(caller, Action::Read, Some(session)).is_err();
        let begun = self.slots.extract_if(.., |(_, slot)| denied(slot.session()));
        let mut denied_at: Vec<_> =
            begun.map(|(_, slot)| (slot.session().to_string(), slot.subscription.cursor().to_string())).collect();
        let asked = self.beginnings.extract(denied).into_iter();
        denied_at.extend(asked.map(|asked| (asked.key.session.to_string(), asked.cursor.unwrap_or_default())));
        let closed = |(session, cursor)| v1::Closed { session, code: "revoked".into(), reason: String::new(), cursor };
        denied_at.into_iter().map(closed).collect()
    }

    /// Appends what one session has for this connection.
    pub(crate) async fn fill(&mut self, slot: u32, out: &mut Vec<u8>) -> Filling {
        let bytes_max = self.edge.limits.write_bytes_max;
        let Some((_, reader)) = self.slots.iter_mut().find(|(number, _)| *number == slot) else { return Filling::Idle };
        let Slot { subscription, catching_up, .. } = &mut **reader;
        match subscription.fill(out, bytes_max).await {
            Ok(Filled::Idle) if std::mem::take(catching_up) => {
                let (session, cursor) = (subscription.key().session.to_string(), subscription.cursor().to_string());
                Filling::CaughtUp(v1::CaughtUp { session, cursor })
            }
            Ok(Filled::Idle) => Filling::Idle,
            Ok(Filled::More) => Filling::More,
            Ok(Filled::At(at)) => {
                self.due.push((at, slot));
                Filling::Idle
            }
            Ok(Filled::Ended(ended)) => {
                let (session, cursor) = (subscription.key().session.clone(), subscription.cursor().to_string());
                self.ended(&session, cursor, ended)
            }
            Err(error) => {
                let session = subscription.key().session.clone();
                self.leave(&session);
                Filling::Failed(Failure::from(error).frame(session.as_str(), ""))
            }
        }
    }

    fn ended(&mut self, session: &SessionId, cursor: String, ended: Ended) -> Filling {
        self.leave(session);
        let (code, reason) = match ended {
            Ended::Closed(reason) => ("closed", reason),
            Ended::Erased => ("erased", String::new()),
            Ended::Gone => return Filling::Failed(Failure::new(ErrorCode::Draining).frame(session.as_str(), "")),
        };
        self.ended.push(v1::Position { session: session.to_string(), cursor: cursor.clone(), head: 0 });
        Filling::Closed(v1::Closed { session: session.to_string(), code: code.into(), reason, cursor })
    }

    /// What this connection has been sent, and what there is.
    pub(crate) fn positions(&self) -> Vec<v1::Position> {
        let position = |subscription: &Subscription| v1::Position {
            session: subscription.key().session.to_string(),
            cursor: subscription.cursor().to_string(),
            head: subscription.head().0,
        };
        self.slots.iter().map(|(_, slot)| position(&slot.subscription)).collect()
    }

    /// The same with the sessions that are not begun and those that have ended, for an id that a client comes back with.
    pub(crate) fn positions_and_ends(&self) -> Vec<v1::Position> {
        let mut positions = self.positions();
        positions.extend(self.beginnings.positions());
        positions.extend(self.ended.iter().cloned());
        positions
    }

    /// Those that are to be filled by now, and when the next one is.
    pub(crate) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = u32> {
        self.due.extract_if(.., move |(at, _)| *at <= now).map(|(_, slot)| slot)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.iter().map(|(at, _)| *at).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.beginnings.len() == 0
    }
}

/// As the wire says it.
pub(super) fn how(how: How) -> (v1::How, v1::ResetReason) {
    match how {
        How::Resumed => (v1::How::Resumed, v1::ResetReason::Unspecified),
        How::Fresh => (v1::How::Fresh, v1::ResetReason::Unspecified),
        How::Snapshot(reset) => (v1::How::Snapshot, reason(reset)),
    }
}

fn reason(reset: Reset) -> v1::ResetReason {
    match reset {
        Reset::TooOld => v1::ResetReason::TooOld,
        Reset::EpochChanged => v1::ResetReason::EpochChanged,
        Reset::FoldChanged => v1::ResetReason::FoldChanged,
        Reset::AheadOfHistory => v1::ResetReason::AheadOfHistory,
    }
}

fn framing_name(framing: Framing) -> &'static str {
    use fanfold_session::FrameCodec as _;
    framing.name()
}
