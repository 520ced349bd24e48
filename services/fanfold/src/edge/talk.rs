//! One connection that reads many sessions and sends commands: the same over WebSocket and gRPC.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Edge, Failure, Filling, Framing, Subscriptions};
use crate::auth::{Action, Caller};

/// Until a client has said hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// A token's end is looked at again after this: it may be further away than a clock can count.
const TOKEN_LOOK_S: u64 = 24 * 60 * 60;

/// Bytes of what somebody says they are doing.
const DOING_BYTES_MAX: usize = 64;

pub(crate) struct Talk {
    edge: Arc<Edge>,
    framing: Framing,
    caller: Option<Caller>,
    subscriptions: Subscriptions,
    commands: FuturesUnordered<BoxFuture<'static, v1::ServerFrame>>,
    /// Sessions with news, in turn, so that a busy one doesn't starve the others.
    ready: VecDeque<u32>,
    ping_at: Instant,
    born: Instant,
    draining: watch::Receiver<bool>,
}

/// Something to do for the connection.
pub(crate) enum Event {
    /// Sessions have news.
    Ready(Vec<u32>),
    /// A command was judged.
    Judged(Box<v1::ServerFrame>),
    /// It is time for a ping.
    Ping,
    /// It is time to look at readers in full mode.
    Due,
    /// The node goes away.
    Drain,
    /// The token has expired, or nobody said hello.
    Over(ErrorCode),
}

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End(pub(crate) ErrorCode);

impl Talk {
    /// `caller`: who it is, where the transport knows that before the first frame.
    pub(crate) fn new(edge: Arc<Edge>, framing: Framing, caller: Option<Caller>) -> Self {
        let draining = edge.draining.clone();
        let ping_at = Instant::now() + Duration::from_millis(edge.limits.ping_interval_ms);
        Self {
            subscriptions: Subscriptions::new(Arc::clone(&edge), framing),
            edge,
            framing,
            caller,
            commands: FuturesUnordered::new(),
            ready: VecDeque::new(),
            ping_at,
            born: Instant::now(),
            draining,
        }
    }

    /// Whether another frame may be read from the client.
    pub(crate) fn may_receive(&self) -> bool {
        self.commands.len() < self.edge.limits.commands_in_flight_max
    }

    /// Waits for something to do. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        if !self.ready.is_empty() {
            return Event::Ready(Vec::new());
        }
        let inbox = self.subscriptions.inbox();
        let due = self.subscriptions.next_due();
        let over_at = self.over_at();
        tokio::select! {
            slots = inbox.ready() => Event::Ready(slots),
            Some(frame) = self.commands.next() => Event::Judged(Box::new(frame)),
            () = tokio::time::sleep_until(self.ping_at) => Event::Ping,
            () = sleep_until(due) => Event::Due,
            () = sleep_until(over_at.map(|(at, _)| at)) => Event::Over(over_at.map_or(ErrorCode::Unauthenticated, |(_, code)| code)),
            _ = self.draining.wait_for(|draining| *draining) => Event::Drain,
        }
    }

    /// When this caller's time is over, and why.
    fn over_at(&self) -> Option<(Instant, ErrorCode)> {
        let Some(caller) = &self.caller else { return Some((self.born + HELLO_WITHIN, ErrorCode::Unauthenticated)) };
        let left = caller.expires_at_s?.saturating_sub(crate::clock::now_s()).min(TOKEN_LOOK_S);
        Some((Instant::now() + Duration::from_secs(left), ErrorCode::TokenExpired))
    }

    fn is_over(&self) -> bool {
        self.caller.as_ref().is_none_or(|caller| caller.expires_at_s.is_some_and(|at| at <= crate::clock::now_s()))
    }

    /// Does it, appending what is to be sent.
    pub(crate) async fn handle(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), End> {
        match event {
            Event::Ready(slots) => {
                self.ready.extend(slots);
                self.fill(out).await;
            }
            Event::Judged(frame) => self.framing.write(&frame, out),
            Event::Ping => self.ping(out),
            Event::Due => {
                self.ready.extend(self.subscriptions.take_due());
                self.fill(out).await;
            }
            Event::Drain => {
                let reconnect_after_ms = reconnect_after_ms();
                self.framing.write(&Out::Draining(v1::Draining { reconnect_after_ms }).into(), out);
                return Err(End(ErrorCode::Draining));
            }
            Event::Over(code) if self.is_over() => return Err(End(code)),
            Event::Over(_) => {}
        }
        Ok(())
    }

    /// One batch of each session that has news, as far as it fits one write.
    async fn fill(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else { return };
            match self.subscriptions.fill(slot, out).await {
                Filling::Idle => {}
                Filling::CaughtUp(frame) if self.framing != Framing::SseSimple => {
                    self.framing.write(&Out::CaughtUp(frame).into(), out);
                }
                Filling::CaughtUp(_) => {}
                Filling::More => self.ready.push_back(slot),
                Filling::Closed(closed) => self.framing.write(&Out::Closed(closed).into(), out),
                Filling::Failed(error) => self.framing.write(&Out::Error(error).into(), out),
            }
            if out.len() >= self.edge.limits.write_bytes_max {
                return;
            }
        }
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        self.ping_at = Instant::now() + Duration::from_millis(self.edge.limits.ping_interval_ms);
        self.framing.write(&Out::Ping(v1::Ping { positions: self.subscriptions.positions() }).into(), out);
    }

    /// Does what a client's frame asks for.
    pub(crate) async fn receive(&mut self, frame: v1::ClientFrame, out: &mut Vec<u8>) -> Result<(), End> {
        let Some(frame) = frame.frame else {
            return Err(End(ErrorCode::BadRequest));
        };
        let caller = match (frame, &self.caller) {
            (In::Hello(hello), _) => return self.hello(&hello.token, out),
            (In::Refresh(refresh), _) => return self.refresh(&refresh.token),
            (_, None) => return Err(End(ErrorCode::Unauthenticated)),
            (frame, Some(caller)) => (frame, caller.clone()),
        };
        match caller {
            (In::Subscribe(request), caller) => {
                // It may read a session that a command before it opens.
                while let Some(judged) = self.commands.next().await {
                    self.framing.write(&judged, out);
                }
                if let Err(failure) = self.subscriptions.subscribe(&caller, &request, out).await {
                    self.framing.write(&Out::Error(failure.frame(&request.session, "")).into(), out);
                }
            }
            (In::Unsubscribe(request), _) => self.unsubscribe(&request.session, out),
            (In::Command(command), caller) => self.command(caller, command),
            (In::Presence(presence), caller) => self.presence(&caller, &presence, out).await,
            // Dealt with above.
            (In::Hello(_) | In::Refresh(_), _) => {}
        }
        Ok(())
    }

    fn hello(&mut self, token: &str, out: &mut Vec<u8>) -> Result<(), End> {
        self.refresh(token)?;
        let welcome = v1::Welcome {
            node: self.edge.node.clone(),
            ping_interval_ms: u32::try_from(self.edge.limits.ping_interval_ms).unwrap_or(u32::MAX),
        };
        self.framing.write(&Out::Welcome(welcome).into(), out);
        Ok(())
    }

    /// Takes a new token. It may not make another tenant's or person's connection of this one.
    fn refresh(&mut self, token: &str) -> Result<(), End> {
        let token = (!token.is_empty()).then_some(token);
        let caller = match (self.edge.caller(token), &self.caller) {
            (Ok(caller), _) => caller,
            // The transport has said who it is already.
            (Err(_), Some(_)) if token.is_none() => return Ok(()),
            (Err(failure), _) => return Err(End(failure.code)),
        };
        if self.caller.as_ref().is_some_and(|known| (&known.tenant, &known.subject) != (&caller.tenant, &caller.subject)) {
            return Err(End(ErrorCode::PermissionDenied));
        }
        self.caller = Some(caller);
        Ok(())
    }

    fn unsubscribe(&mut self, session: &str, out: &mut Vec<u8>) {
        let left = session.parse().is_ok_and(|session| self.subscriptions.leave(&session));
        let frame = if left {
            Out::Closed(v1::Closed { session: session.to_owned(), code: "unsubscribed".into(), ..v1::Closed::default() })
        } else {
            Out::Error(ErrorCode::NotFound.frame(session, "", 0))
        };
        self.framing.write(&frame.into(), out);
    }

    /// Commands are judged side by side, but reach their session in the order in which they came.
    fn command(&mut self, caller: Caller, command: v1::Command) {
        let edge = Arc::clone(&self.edge);
        self.commands.push(Box::pin(async move {
            let (id, session) = (command.id.clone(), command.session.clone());
            match edge.submit(&caller, command).await {
                Ok(receipt) => Out::Receipt(receipt).into(),
                Err(failure) => Out::Error(failure.frame(&session, &id)).into(),
            }
        }));
    }

    async fn presence(&mut self, caller: &Caller, presence: &v1::PresenceSet, out: &mut Vec<u8>) {
        if let Err(failure) = self.edge.appear(caller, &presence.session, &presence.doing).await {
            self.framing.write(&Out::Error(failure.frame(&presence.session, "")).into(), out);
        }
    }

    /// Subscribes as a stream of fixed sessions does, before anything is received.
    pub(crate) async fn subscribe(&mut self, caller: &Caller, request: &v1::Subscribe, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.caller = Some(caller.clone());
        self.subscriptions.subscribe(caller, request, out).await.map(|_| ())
    }

    pub(crate) fn positions(&self) -> Vec<v1::Position> {
        self.subscriptions.positions()
    }

    pub(crate) fn positions_and_ends(&self) -> Vec<v1::Position> {
        self.subscriptions.positions_and_ends()
    }

    /// Whether nothing is read any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

impl Edge {
    /// Shows that somebody is there, and what they do.
    pub async fn appear(&self, caller: &Caller, session: &str, doing: &str) -> Result<(), Failure> {
        let key = self.session(caller, Action::Appear, session)?;
        if doing.len() > DOING_BYTES_MAX {
            return Err(ErrorCode::FieldLimit.into());
        }
        let doing = (!doing.is_empty()).then_some(doing);
        match self.sessions.set_presence(&key, &caller.subject, doing).await? {
            true => Ok(()),
            false => Err(ErrorCode::Busy.into()),
        }
    }
}

/// Spreads the return of a node's clients over three seconds.
fn reconnect_after_ms() -> u32 {
    let [a, b, ..] = uuid::Uuid::new_v4().into_bytes();
    u32::from(u16::from_be_bytes([a, b])) * 3000 / u32::from(u16::MAX)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
