//! WebSocket: the library makes the handshake, then frames go out as they were encoded, many in one write.

mod receive;
mod send;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use fanfold_wire::{ErrorCode, Format, websocket};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use self::receive::{ReceiveError, Received, Receiver};
use self::send::{SendError, Sender};
use super::problem::Problem;
use crate::edge::{Connection, Edge, End, Event, Framing, Talk};

/// The upgrade. Who it is comes in the first message, never in the address.
pub(super) async fn upgrade(State(edge): State<Arc<Edge>>, mut request: Request) -> Result<Response, Problem> {
    let format = offered(request.headers())?;
    let accept = accept_key(request.headers()).ok_or(ErrorCode::BadRequest)?;
    let permit = edge.connection()?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await.map(hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>) {
            Ok(Ok(parts)) => serve(edge, parts.io.into_inner(), parts.read_buf, format, permit).await,
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

async fn serve(edge: Arc<Edge>, socket: TcpStream, read_already: Bytes, format: Format, permit: Connection) {
    let (reading, writing) = socket.into_split();
    let mut receiver = Receiver::new(reading, &read_already, edge.limits.request_bytes_max);
    // The handshake's buffer is larger than all that a connection keeps.
    drop(read_already);
    let mut sender = Sender::new(writing, Duration::from_millis(edge.limits.stall_ms_max));
    let mut talk = Talk::new(edge, Framing::WebSocket(format), None);
    let ended = converse(&mut talk, &mut receiver, &mut sender, format).await;
    let mut bytes = Vec::new();
    match ended {
        Ended::Here(code) => websocket::close(code.row().close, code.name(), &mut bytes),
        Ended::Stalled => {
            metrics::counter!("fanfold_slow_consumers_total").increment(1);
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
    let _ = tokio::time::timeout(Duration::from_secs(1), sender.send(&bytes)).await;
    sender.close().await;
    drop(permit);
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

async fn converse(talk: &mut Talk, receiver: &mut Receiver, sender: &mut Sender, format: Format) -> Ended {
    let mut out = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            received = receiver.receive(), if talk.may_receive() => Next::In(received),
            event = talk.next() => Next::Out(event),
        };
        let done = match next {
            Next::In(received) => take_in(talk, received, format, &mut out).await,
            Next::Out(event) => talk.handle(event, &mut out).await.map_err(|End(code)| Ended::Here(code)),
        };
        let sent = sender.send(&out).await;
        // An idle connection holds no buffer.
        out = Vec::new();
        match (sent, done) {
            (Ok(()), Ok(())) => {}
            (Ok(()), Err(ended)) => return ended,
            (Err(SendError::Stalled(_)), _) => return Ended::Stalled,
            (Err(SendError::Lost(_)), _) => return Ended::Lost,
        }
    }
}

async fn take_in(
    talk: &mut Talk,
    received: Result<Received, ReceiveError>,
    format: Format,
    out: &mut Vec<u8>,
) -> Result<(), Ended> {
    match received {
        Ok(Received::Message(bytes)) => {
            let frame = format.decode(&bytes).map_err(|error| {
                tracing::debug!(error = &error as &dyn std::error::Error, "frame not read");
                Ended::Here(ErrorCode::BadRequest)
            })?;
            // Boxed, since a connection mostly listens.
            Box::pin(talk.receive(frame, out)).await.map_err(|End(code)| Ended::Here(code))
        }
        Ok(Received::Ping(payload)) => {
            websocket::pong(&payload, out);
            Ok(())
        }
        Ok(Received::Close) => Err(Ended::ByClient),
        Err(ReceiveError::Lost(_) | ReceiveError::Ended) => Err(Ended::Lost),
        Err(ReceiveError::Protocol(what)) => Err(Ended::Protocol(what)),
        Err(ReceiveError::TooLarge(_)) => Err(Ended::TooLarge),
    }
}
