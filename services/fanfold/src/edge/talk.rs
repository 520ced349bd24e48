//! One connection that reads many sessions and sends commands: the same over WebSocket and gRPC.

use std::collections::{BTreeSet, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fanfold_session::Inbox;
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{ErrorCode, v1};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::beginning::Begun;
use super::list::Watched;
use super::notice::{Notice, news};
use super::{Edge, Failure, Filling, Framing, Subscriptions};
use crate::auth::{Action, Caller};
use crate::clock;

/// The version of docs/protocol.md.
const PROTOCOL: u32 = 1;

/// Until a client has said hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// A token's end is looked at again after this: it may be further away than a clock can count.
const TOKEN_LOOK_S: u64 = 24 * 60 * 60;

/// Stands for a command's id where an error is about presence.
const PRESENCE: &str = "presence";

/// Bytes of what somebody says they are doing.
const DOING_BYTES_MAX: usize = 64;

pub(crate) struct Talk {
    edge: Arc<Edge>,
    framing: Framing,
    caller: Option<Caller>,
    subscriptions: Subscriptions,
    /// What it was told of the node, and what resolves when there is something else to tell.
    notice: Notice,
    news: BoxFuture<'static, Notice>,
    /// Commands that are being judged; none of them is polled before it has something to say. Most connections have none.
    commands: Option<Box<Commands>>,
    /// How many commands it has sent.
    commands_sent: u64,
    /// The list that is watched.
    list: Option<List>,
    /// Sessions with news, in turn, so that a busy one doesn't starve the others.
    ready: VecDeque<u32>,
    ping_at: Instant,
    /// When the caller's time is looked at: until hello is said, or until the token ends.
    over_at: Option<Instant>,
    /// One timer for everything that has a time.
    alarm: Pin<Box<Sleep>>,
}

/// Commands under way, by number.
#[derive(Default)]
struct Commands {
    judging: FuturesUnordered<BoxFuture<'static, (u64, Box<v1::ServerFrame>)>>,
    numbers: BTreeSet<u64>,
}

/// Something to do for the connection.
pub(crate) enum Event {
    /// Sessions have news.
    Ready,
    /// A command was judged.
    Judged(Box<v1::ServerFrame>),
    /// A session that was asked for can be read, or can't.
    Begun(Box<Begun>),
    /// It is time for a ping, for readers in full mode, or to look at the caller's token.
    Alarm,
    /// The list that is watched has changed, or can't be watched any more; nothing where it isn't watched any more.
    Listed(Box<News>),
    /// The log has gone away from the node, or has come back.
    LogAway,
    /// The node goes away.
    Drain,
}

/// What a list has to tell, and who goes on to watch it.
pub(crate) type News = Result<(Watched, v1::Listed), Failure>;

/// A list that this connection watches.
struct List {
    /// Waits for its beginning, then for its next change.
    next: BoxFuture<'static, News>,
    /// Who watches: a new token may see less.
    caller: watch::Sender<Caller>,
}

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End(pub(crate) ErrorCode);

impl Talk {
    /// `caller`: who it is, where the transport knows that before the first frame. `inbox`: where news of its sessions come.
    pub(crate) fn new(edge: Arc<Edge>, framing: Framing, caller: Option<Caller>, inbox: Arc<Inbox>) -> Self {
        let now = Instant::now();
        let ping_at = now + Duration::from_millis(edge.limits.ping_interval_ms);
        let over_at = caller.as_ref().map_or(Some(now + HELLO_WITHIN), |caller| look_at(caller, now));
        Self {
            notice: Notice::default(),
            news: news(edge.notices.clone(), Notice::default()).boxed(),
            commands: None,
            commands_sent: 0,
            subscriptions: Subscriptions::new(Arc::clone(&edge), framing, inbox),
            edge,
            framing,
            caller,
            list: None,
            ready: VecDeque::new(),
            ping_at,
            over_at,
            alarm: Box::pin(tokio::time::sleep_until(ping_at)),
        }
    }

    /// Whether another frame may be read from the client.
    pub(crate) fn may_receive(&self) -> bool {
        self.commands.as_ref().map_or(0, |commands| commands.numbers.len()) < self.edge.limits.commands_in_flight_max
    }

    /// Waits for something to do. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        let times = [self.over_at, self.subscriptions.next_due()];
        let next_at = times.into_iter().flatten().fold(self.ping_at, Instant::min);
        if self.alarm.deadline() != next_at {
            self.alarm.as_mut().reset(next_at);
        }
        poll_fn(|context| self.poll_next(context)).await
    }

    /// What is rare comes first: a busy session must not hold it up.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.poll_judged(context) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(notice) = self.news.poll_unpin(context) {
            self.notice = notice;
            self.news = news(self.edge.notices.clone(), notice).boxed();
            return Poll::Ready(if notice.draining { Event::Drain } else { Event::LogAway });
        }
        if let Some(list) = &mut self.list
            && let Poll::Ready(news) = list.next.poll_unpin(context)
        {
            list.next = pending().boxed();
            return Poll::Ready(Event::Listed(Box::new(news)));
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Alarm);
        }
        if let Poll::Ready(begun) = self.subscriptions.poll_begun(self.judged(), context) {
            return Poll::Ready(Event::Begun(begun));
        }
        self.subscriptions.inbox().poll_ready(context, &mut self.ready).map(|()| Event::Ready)
    }

    fn poll_judged(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let Some(commands) = &mut self.commands else { return Poll::Pending };
        let Some((number, frame)) = ready!(commands.judging.poll_next_unpin(context)) else { return Poll::Pending };
        commands.numbers.remove(&number);
        if commands.numbers.is_empty() {
            self.commands = None;
        }
        Poll::Ready(Event::Judged(frame))
    }

    /// Up to which command all are judged.
    fn judged(&self) -> u64 {
        let first = self.commands.as_ref().and_then(|commands| commands.numbers.first());
        first.map_or(self.commands_sent, |first| first - 1)
    }

    /// Does it, appending what is to be sent.
    pub(crate) async fn handle(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), End> {
        match event {
            Event::Ready => self.fill(out).await,
            Event::Alarm => {
                self.look_at_times(out)?;
                self.fill(out).await;
            }
            Event::Judged(_) | Event::Begun(_) | Event::Listed(_) | Event::LogAway | Event::Drain => {
                return self.settle(event, out);
            }
        }
        Ok(())
    }

    /// What was pending has come.
    fn settle(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), End> {
        match event {
            Event::Judged(frame) => {
                self.framing.write(&frame, out);
                Ok(())
            }
            Event::Begun(begun) => {
                match self.subscriptions.begun(*begun, out) {
                    Ok(slot) => self.ready.push_back(slot),
                    Err((session, failure)) => self.framing.write(&Out::Error(failure.frame(session.as_str(), "")).into(), out),
                }
                Ok(())
            }
            Event::Listed(news) => {
                self.listed(*news, out);
                Ok(())
            }
            Event::LogAway => {
                // Before hello nobody is told anything; then at once.
                if self.caller.is_some() {
                    self.ping(out);
                }
                Ok(())
            }
            Event::Drain => {
                let reconnect_after_ms = reconnect_after_ms();
                self.framing.write(&Out::Draining(v1::Draining { reconnect_after_ms }).into(), out);
                Err(End(ErrorCode::Draining))
            }
            Event::Ready | Event::Alarm => Ok(()),
        }
    }

    fn look_at_times(&mut self, out: &mut Vec<u8>) -> Result<(), End> {
        let now = Instant::now();
        if self.over_at.is_some_and(|at| at <= now) {
            let Some(caller) = &self.caller else { return Err(End(ErrorCode::Unauthenticated)) };
            if caller.expires_at_s.is_some_and(|at| at <= crate::clock::now_s()) {
                return Err(End(ErrorCode::TokenExpired));
            }
            self.over_at = look_at(caller, now);
        }
        if self.ping_at <= now {
            self.ping(out);
        }
        self.ready.extend(self.subscriptions.take_due(now));
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
        self.framing.write(&Out::Ping(self.position()).into(), out);
    }

    /// Does what a client's frame asks for.
    pub(crate) async fn receive(&mut self, frame: v1::ClientFrame, out: &mut Vec<u8>) -> Result<(), End> {
        let Some(frame) = frame.frame else {
            return Err(End(ErrorCode::BadRequest));
        };
        let caller = match (frame, &self.caller) {
            (In::Hello(hello), _) => return self.hello(&hello.token, out),
            (In::Refresh(refresh), _) => return self.refresh(&refresh.token, out),
            (_, None) => return Err(End(ErrorCode::Unauthenticated)),
            (frame, Some(caller)) => (frame, caller.clone()),
        };
        match caller {
            (In::Subscribe(request), caller) => self.begin(&caller, &request, out),
            (In::Unsubscribe(request), _) => self.unsubscribe(&request.session, out),
            (In::Command(command), caller) => self.command(caller, command),
            (In::Presence(presence), caller) => self.presence(&caller, &presence, out).await,
            (In::Watch(request), caller) => self.watch(&caller, request),
            (In::Unwatch(_), _) => self.list = None,
            // Dealt with above.
            (In::Hello(_) | In::Refresh(_), _) => {}
        }
        Ok(())
    }

    fn hello(&mut self, token: &str, out: &mut Vec<u8>) -> Result<(), End> {
        self.refresh(token, out)?;
        let limits = &self.edge.limits;
        let count = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let welcome = v1::Welcome {
            node: self.edge.node.clone(),
            ping_interval_ms: u32::try_from(limits.ping_interval_ms).unwrap_or(u32::MAX),
            protocol: PROTOCOL,
            limits: Some(v1::ConnectionLimits {
                request_bytes_max: count(limits.request_bytes_max),
                sessions_max: count(limits.sessions_per_connection_max),
                commands_in_flight_max: count(limits.commands_in_flight_max),
            }),
        };
        self.framing.write(&Out::Welcome(welcome).into(), out);
        if self.notice.log_away {
            self.ping(out);
        }
        Ok(())
    }

    /// Takes a new token. It may not make another tenant's or person's connection of this one; sessions that it no longer grants end.
    fn refresh(&mut self, token: &str, out: &mut Vec<u8>) -> Result<(), End> {
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
        for closed in self.subscriptions.revoke(&caller) {
            self.framing.write(&Out::Closed(closed).into(), out);
        }
        self.become_caller(caller);
        Ok(())
    }

    pub(crate) fn become_caller(&mut self, caller: Caller) {
        self.over_at = look_at(&caller, Instant::now());
        if let Some(list) = &self.list {
            list.caller.send_replace(caller.clone());
        }
        self.caller = Some(caller);
    }

    /// Watches the list of sessions, from its beginning on, which comes when the store has given it.
    pub(crate) fn watch(&mut self, caller: &Caller, request: v1::Watch) {
        let (sender, receiver) = watch::channel(caller.clone());
        let begun = Arc::clone(&self.edge).watch(receiver, request);
        self.list = Some(List { next: begun.boxed(), caller: sender });
    }

    /// Tells it, and waits for the next change.
    fn listed(&mut self, news: News, out: &mut Vec<u8>) {
        let Some(list) = &mut self.list else { return };
        match news {
            Ok((watched, listed)) => {
                self.framing.write(&Out::Listed(listed).into(), out);
                list.next = watched.next().boxed();
            }
            Err(failure) => {
                self.list = None;
                self.framing.write(&Out::Error(v1::Error { list: Some(true), ..failure.frame("", "") }).into(), out);
            }
        }
    }

    fn unsubscribe(&mut self, session: &str, out: &mut Vec<u8>) {
        // It may have ended by itself meanwhile, which whoever reads it anew must not take for the end of that.
        let _ = session.parse().is_ok_and(|session| self.subscriptions.leave(&session));
        let closed = v1::Closed { session: session.to_owned(), code: "unsubscribed".into(), ..v1::Closed::default() };
        self.framing.write(&Out::Closed(closed).into(), out);
    }

    /// Commands are judged side by side, but reach their session in the order in which they came.
    fn command(&mut self, caller: Caller, mut command: v1::Command) {
        // An error that names no command is about what its session sends.
        if command.id.is_empty() {
            command.id = clock::new_command().to_string();
        }
        let edge = Arc::clone(&self.edge);
        self.commands_sent += 1;
        let number = self.commands_sent;
        let commands = self.commands.get_or_insert_default();
        commands.numbers.insert(number);
        commands.judging.push(Box::pin(async move {
            let (id, session) = (command.id.clone(), command.session.clone());
            let frame = match edge.submit(&caller, command).await {
                Ok(receipt) => Out::Receipt(receipt).into(),
                Err(failure) => Out::Error(failure.frame(&session, &id)).into(),
            };
            (number, Box::new(frame))
        }));
    }

    async fn presence(&mut self, caller: &Caller, presence: &v1::PresenceSet, out: &mut Vec<u8>) {
        if let Err(failure) = self.edge.appear(caller, &presence.session, &presence.doing).await {
            // It names a command, so that no client takes it for the end of what it reads.
            self.framing.write(&Out::Error(failure.frame(&presence.session, PRESENCE)).into(), out);
        }
    }

    /// Begins to read a session, which may be one that a command before opens.
    pub(crate) fn begin(&mut self, caller: &Caller, request: &v1::Subscribe, out: &mut Vec<u8>) {
        if let Err(failure) = self.subscriptions.subscribe(caller, request, self.commands_sent) {
            self.framing.write(&Out::Error(failure.frame(&request.session, "")).into(), out);
        }
    }

    /// Whether another session would be begun at once.
    pub(crate) fn may_begin(&self) -> bool {
        self.subscriptions.may_begin()
    }

    /// Subscribes as a stream of one session does, which has nothing else to do until it is answered.
    pub(crate) async fn subscribe(&mut self, caller: &Caller, request: &v1::Subscribe, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.become_caller(caller.clone());
        self.subscriptions.subscribe(caller, request, self.commands_sent)?;
        let begun = poll_fn(|context| self.subscriptions.poll_begun(self.commands_sent, context)).await;
        let slot = self.subscriptions.begun(*begun, out).map_err(|(_, failure)| failure)?;
        self.ready.push_back(slot);
        Ok(())
    }

    /// Where this connection is, as its pings say it.
    pub(crate) fn position(&self) -> v1::Ping {
        v1::Ping { positions: self.subscriptions.positions(), log_away: self.notice.log_away }
    }

    pub(crate) fn positions_and_ends(&self) -> Vec<v1::Position> {
        self.subscriptions.positions_and_ends()
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        self.subscriptions.inbox()
    }

    /// Whether nothing is read any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.list.is_none()
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
pub(crate) fn reconnect_after_ms() -> u32 {
    let [a, b, ..] = uuid::Uuid::new_v4().into_bytes();
    u32::from(u16::from_be_bytes([a, b])) * 3000 / u32::from(u16::MAX)
}

/// When to look whether the caller's token has ended.
fn look_at(caller: &Caller, now: Instant) -> Option<Instant> {
    let left_s = caller.expires_at_s?.saturating_sub(crate::clock::now_s()).min(TOKEN_LOOK_S);
    Some(now + Duration::from_secs(left_s))
}
