//! WebSocket: the library makes the handshake, then frames go out as they were encoded, many in one write.

mod receive;
mod socket;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use fanfold_session::{Inbox, Outlet};
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{ErrorCode, Format, websocket};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use self::receive::{ReceiveError, Received, Receiver};
use self::socket::{SendError, Socket};
use super::problem::Problem;
use crate::accept::Place;
use crate::edge::{Connection, Edge, End, Event, Failure, Framing, STALLED_LEAVES_WITHIN, Talk};

/// What a client may take to take the close.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// The upgrade. Who it is comes in the first message, never in the address.
pub(super) async fn upgrade(State(edge): State<Arc<Edge>>, mut request: Request) -> Result<Response, Problem> {
    let format = offered(request.headers())?;
    let accept = accept_key(request.headers()).ok_or(ErrorCode::BadRequest)?;
    let permit = (edge.connection()?, request.extensions_mut().remove::<Place>());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await.map(Upgraded::downcast::<TokioIo<TcpStream>>) {
            // A task of its own, which has no room for the handshake.
            Ok(Ok(parts)) => {
                let mut conversation = Conversation::new(edge, parts.io.into_inner(), &parts.read_buf, format, permit);
                drop(tokio::spawn(async move { conversation.serve().await }));
            }
            Ok(Err(_)) => tracing::error!("the upgraded connection is no TCP socket"),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "upgrade failed"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(format.subprotocol()));
    Ok(response.into_response())
}

/// The first subprotocol offered that is known.
fn offered(headers: &HeaderMap) -> Result<Format, ErrorCode> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = offered.flat_map(|value| value.split(',')).map(str::trim);
    let known = [Format::Json, Format::Msgpack, Format::Proto];
    names.find_map(|name| known.into_iter().find(|format| format.subprotocol() == name)).ok_or(ErrorCode::UnsupportedProtocol)
}

fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, value: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.split(',').any(|part| part.trim().eq_ignore_ascii_case(value))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") || !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// A connection after its handshake. It mostly waits, so whatever it does otherwise is boxed.
struct Conversation {
    socket: Arc<Socket>,
    receiver: Receiver,
    talk: Talk,
    out: Vec<u8>,
    format: Format,
    stall_max: Duration,
    _permit: (Connection, Option<Place>),
}

/// How a conversation ended.
enum Ended {
    Here(ErrorCode),
    ByClient,
    Stalled,
    Protocol(&'static str),
    TooLarge,
    Lost,
}

enum Next {
    In(Result<Received, ReceiveError>),
    Out(Event),
}

impl Conversation {
    fn new(edge: Arc<Edge>, socket: TcpStream, read_already: &[u8], format: Format, permit: (Connection, Option<Place>)) -> Self {
        let socket = Arc::new(Socket::new(socket));
        let receiver = Receiver::new(Arc::clone(&socket), read_already, edge.limits.request_bytes_max);
        let stall_max = Duration::from_millis(edge.limits.stall_ms_max);
        let inbox = Arc::new(Inbox::with_outlet(Arc::clone(&socket) as Arc<dyn Outlet>));
        let talk = Talk::new(edge, Framing::WebSocket(format), None, inbox);
        Self { socket, receiver, talk, out: Vec::new(), format, stall_max, _permit: permit }
    }

    async fn serve(&mut self) {
        let ended = loop {
            let next = self.wait().await;
            if let Err(ended) = Box::pin(self.act(next)).await {
                break ended;
            }
        };
        Box::pin(self.close(ended)).await;
    }

    /// Waits for the client or for news. News of the common kind are written for it meanwhile.
    async fn wait(&mut self) -> Next {
        self.talk.inbox().lend();
        // In no order: a client that always has something to say must not keep its token or the node from ending.
        let next = tokio::select! {
            received = self.receiver.receive(), if self.talk.may_receive() => Next::In(received),
            event = self.talk.next() => Next::Out(event),
        };
        self.talk.inbox().reclaim(&mut self.out);
        next
    }

    /// Does what there is to do, then sends what that gave.
    async fn act(&mut self, next: Next) -> Result<(), Ended> {
        let done = match next {
            Next::In(received) => self.take_in(received).await,
            Next::Out(event) => self.talk.handle(event, &mut self.out).await.map_err(|End(code)| Ended::Here(code)),
        };
        // An idle connection holds no buffer.
        let out = std::mem::take(&mut self.out);
        match self.socket.send(&out, self.stall_max).await {
            Ok(()) => {}
            Err(SendError::Stalled { unsent_bytes }) => {
                self.out = out[out.len() - unsent_bytes..].to_vec();
                return Err(Ended::Stalled);
            }
            Err(SendError::Lost(_)) => return Err(Ended::Lost),
        }
        done
    }

    async fn take_in(&mut self, received: Result<Received, ReceiveError>) -> Result<(), Ended> {
        match received {
            Ok(Received::Message(bytes)) => {
                let frame = match self.format.decode(&bytes) {
                    Ok(frame) => frame,
                    Err(error) => {
                        // The close that follows has no room for more than the name of the error.
                        let what = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
                        let error = Failure::bad_request(what).frame("", "");
                        Framing::WebSocket(self.format).write(&Out::Error(error).into(), &mut self.out);
                        return Err(Ended::Here(ErrorCode::BadRequest));
                    }
                };
                // Boxed, since a connection mostly listens.
                Box::pin(self.talk.receive(frame, &mut self.out)).await.map_err(|End(code)| Ended::Here(code))
            }
            Ok(Received::Ping(payload)) => {
                websocket::pong(&payload, &mut self.out);
                Ok(())
            }
            Ok(Received::Close) => Err(Ended::ByClient),
            Err(ReceiveError::Lost(_) | ReceiveError::Ended) => Err(Ended::Lost),
            Err(ReceiveError::Protocol(what)) => Err(Ended::Protocol(what)),
            Err(ReceiveError::TooLarge(_)) => Err(Ended::TooLarge),
        }
    }

    async fn close(&mut self, ended: Ended) {
        let (mut bytes, mut within) = (Vec::new(), LEAVE_WITHIN);
        match ended {
            Ended::Here(code) => websocket::close(code.row().close, code.name(), &mut bytes),
            Ended::Stalled => {
                metrics::counter!("fanfold_slow_consumers_total").increment(1);
                // The frame within which it stopped comes first: who goes on reading must not take the close for a part of it.
                (bytes, within) = (std::mem::take(&mut self.out), STALLED_LEAVES_WITHIN);
                websocket::close(ErrorCode::SlowConsumer.row().close, ErrorCode::SlowConsumer.name(), &mut bytes);
            }
            // A client's close is answered with a close.
            Ended::ByClient => websocket::close(1000, "", &mut bytes),
            Ended::Protocol(error) => {
                tracing::debug!(error, "client broke the protocol");
                websocket::close(1002, "", &mut bytes);
            }
            Ended::TooLarge => websocket::close(ErrorCode::TooLarge.row().close, ErrorCode::TooLarge.name(), &mut bytes),
            Ended::Lost => {}
        }
        // The client may be gone, or take nothing more.
        let _ = tokio::time::timeout(within, self.socket.send(&bytes, within)).await;
        let _ = self.socket.shut_down();
        if !bytes.is_empty() {
            let _ = tokio::time::timeout(LEAVE_WITHIN, self.receiver.discard()).await;
        }
    }
}
