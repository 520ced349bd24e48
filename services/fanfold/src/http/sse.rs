//! Server-sent events: one session with its cursor as `id:`, or several with the vector of all.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use fanfold_wire::{ErrorCode, sse, v1};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::asked::Asked;
use super::bearer;
use super::problem::Problem;
use super::rest::body;
use crate::auth::Caller;
use crate::edge::{Connection, Edge, End, Failure, Framing, STALLED_LEAVES_WITHIN, Talk, reconnect_after_ms};

/// What may be asked of a stream, in the query or in the body of a POST: some fields don't fit an address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ask {
    /// Where to go on; `Last-Event-ID` comes first.
    cursor: Option<String>,
    /// `full`: parts whole instead of appends.
    mode: Option<String>,
    /// Messages of a snapshot.
    window: u32,
    /// Replay from this offset.
    replay: Option<u64>,
    /// `simple`: the typed view.
    view: Option<String>,
    /// Several sessions, joined by commas.
    sessions: String,
    /// Whether the list of sessions is watched on the same stream …
    list: bool,
    /// … only of those opened by this user …
    user: Option<String>,
    /// … and so many in its beginning.
    limit: u32,
}

/// `GET /v1/sessions/{session}/stream`
pub(super) async fn one(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    Asked(ask): Asked<Ask>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow_one(edge, session, &ask, &headers).await
}

/// `POST /v1/sessions/{session}/stream`
pub(super) async fn one_posted(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    follow_one(edge, session, &body(&bytes)?, &headers).await
}

/// `GET /v1/stream?sessions=a,b`
pub(super) async fn many(State(edge): State<Arc<Edge>>, Asked(ask): Asked<Ask>, headers: HeaderMap) -> Result<Response, Problem> {
    follow_many(edge, &ask, &headers).await
}

/// `POST /v1/stream`
pub(super) async fn many_posted(State(edge): State<Arc<Edge>>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    follow_many(edge, &body(&bytes)?, &headers).await
}

async fn follow_one(edge: Arc<Edge>, session: String, ask: &Ask, headers: &HeaderMap) -> Result<Response, Problem> {
    let framing = match (ask.view.as_deref(), ask.mode.as_deref()) {
        (None, _) => Framing::Sse,
        (Some("simple"), None | Some("deltas")) => Framing::SseSimple,
        // Whole parts would be shown as tokens.
        (Some("simple"), Some(_)) => return Err(bad("mode")),
        (Some(_), _) => return Err(bad("view")),
    };
    stream(edge, vec![session], framing, ask, headers).await
}

async fn follow_many(edge: Arc<Edge>, ask: &Ask, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut known = HashSet::new();
    let named = ask.sessions.split(',').filter(|session| !session.is_empty() && known.insert(*session));
    let sessions: Vec<String> = named.map(str::to_owned).collect();
    if sessions.is_empty() && !ask.list {
        return Err(bad("sessions"));
    }
    if sessions.len() > edge.limits.sessions_per_connection_max {
        return Err(ErrorCode::TooManySessions.into());
    }
    stream(edge, sessions, Framing::SseMany, ask, headers).await
}

async fn stream(
    edge: Arc<Edge>,
    sessions: Vec<String>,
    framing: Framing,
    ask: &Ask,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let mode = match ask.mode.as_deref() {
        None | Some("deltas") => v1::Mode::Deltas,
        Some("full") => v1::Mode::Full,
        Some(_) => return Err(bad("mode")),
    };
    let caller = edge.caller(bearer(headers).as_deref())?;
    let cursors = cursors(ask, headers, &sessions)?;
    if *edge.draining.borrow() {
        return Ok(draining());
    }
    let permit = edge.connection()?;
    let mut talk = Talk::new(Arc::clone(&edge), framing, Some(caller.clone()), Arc::default());
    let mut first = format!("retry: {}\n\n", retry_ms()).into_bytes();
    let asked = sessions.into_iter().map(|session| {
        let cursor = cursors.get(&session).cloned();
        v1::Subscribe { session, cursor, mode: mode.into(), window: ask.window, replay: ask.replay }
    });
    let mut asked: VecDeque<_> = asked.collect();
    // Why a stream of one session can't be is an answer of its own.
    if framing != Framing::SseMany
        && let Some(request) = asked.pop_front()
    {
        match talk.subscribe(&caller, &request, &mut first).await {
            Err(failure) if failure.code == ErrorCode::Draining => return Ok(draining()),
            done => done?,
        }
    }
    talk.become_caller(caller.clone());
    if ask.list && framing == Framing::SseMany {
        talk.watch(&caller, v1::Watch { user: ask.user.clone(), limit: ask.limit });
    }
    // One buffer waits while another is on its way to the socket: the reader sets the pace.
    let (sender, receiver) = mpsc::channel(1);
    let stream = Stream { caller, talk, framing, asked, out: first };
    tokio::spawn(stream.pump(edge, sender, permit));
    Ok(events(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver))))
}

/// A browser's `EventSource` never comes back after an answer that is no stream: that the node goes away is told in one.
fn draining() -> Response {
    let mut out = format!("retry: {}\n\n", retry_ms()).into_bytes();
    let draining = v1::Draining { reconnect_after_ms: reconnect_after_ms() };
    Framing::Sse.write(&v1::server_frame::Frame::Draining(draining).into(), &mut out);
    events(Body::from(out))
}

fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold back what they could still compress or batch.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn bad(field: &str) -> Problem {
    Problem(Failure::bad_request(format!("field {field}: is not a known value")))
}

/// Where each session goes on: from the header, which browsers send by themselves, else from the query.
fn cursors(ask: &Ask, headers: &HeaderMap, sessions: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let Some(id) = header.or(ask.cursor.as_deref()) else { return Ok(BTreeMap::new()) };
    Ok(sse::parse_id(id, sessions).ok_or(ErrorCode::CursorMalformed)?)
}

/// Spreads the return of a node's readers over three seconds.
fn retry_ms() -> u32 {
    500 + u32::from(uuid::Uuid::new_v4().as_bytes()[0]) * 10
}

/// A stream of events, and the sessions that it has not begun to read yet.
struct Stream {
    caller: Caller,
    talk: Talk,
    framing: Framing,
    asked: VecDeque<v1::Subscribe>,
    out: Vec<u8>,
}

impl Stream {
    async fn pump(mut self, edge: Arc<Edge>, sender: mpsc::Sender<Result<Bytes, Infallible>>, _permit: Connection) {
        let stall_max = Duration::from_millis(edge.limits.stall_ms_max);
        let mut ended = false;
        loop {
            // I5 bounded: the next session's snapshot waits until the ones before it are on their way.
            let may_begin = !self.asked.is_empty() && self.talk.may_begin();
            if !self.out.is_empty() && (!may_begin || self.out.len() >= edge.limits.write_bytes_max) {
                let block = Bytes::from(self.take_block());
                match tokio::time::timeout(stall_max, sender.reserve()).await {
                    Ok(Ok(place)) => place.send(Ok(block)),
                    Ok(Err(_)) => return,
                    Err(_) => {
                        metrics::counter!("fanfold_slow_consumers_total").increment(1);
                        let mut last = Vec::from(block);
                        let error = ErrorCode::SlowConsumer.frame("", "", 0);
                        self.framing.write(&v1::server_frame::Frame::Error(error).into(), &mut last);
                        // It goes on reading, or it is gone.
                        let _ = tokio::time::timeout(STALLED_LEAVES_WITHIN, sender.send(Ok(last.into()))).await;
                        return;
                    }
                }
            }
            // Nothing is left to read: the last frames have said why.
            if ended || (self.asked.is_empty() && self.talk.is_idle()) {
                return;
            }
            let done = tokio::select! {
                done = self.go_on() => done,
                () = sender.closed() => return,
            };
            if let Err(End(code)) = done {
                self.framing.write(&v1::server_frame::Frame::Error(code.frame("", "", 0)).into(), &mut self.out);
                ended = true;
            }
        }
    }

    /// Begins to read the next session, if it may, or waits for what comes.
    async fn go_on(&mut self) -> Result<(), End> {
        if self.talk.may_begin()
            && let Some(request) = self.asked.pop_front()
        {
            self.talk.begin(&self.caller, &request, &mut self.out);
            return Ok(());
        }
        let event = self.talk.next().await;
        self.talk.handle(event, &mut self.out).await
    }

    /// What is to be sent. Several sessions share a stream: the id says where each of them is after this block.
    fn take_block(&mut self) -> Vec<u8> {
        let block = std::mem::take(&mut self.out);
        if self.framing != Framing::SseMany {
            return block;
        }
        let positions = self.talk.positions_and_ends();
        let positions = positions.iter().map(|position| (position.session.as_str(), position.cursor.as_str()));
        // Who is cut before its turn comes still has the cursor that it came with.
        let asked = self.asked.iter().filter_map(|request| Some((request.session.as_str(), request.cursor.as_deref()?)));
        let id = sse::vector_id(positions.chain(asked));
        if id.is_empty() {
            return block;
        }
        // The id belongs to the block's last event, so that a client cut within the block has the one before.
        let last = block[..block.len() - 2].windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
        let mut out = block[..last].to_vec();
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
        out.extend_from_slice(&block[last..]);
        out
    }
}
