//! Over WebSocket.

use fanfold_wire::v1::client_frame::Frame;
use fanfold_wire::{ErrorCode, Format, v1};
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{Dialer, LinkError, lost};

/// Bytes that one read takes; the library's default of 128 KiB is held by every connection.
const READ_BYTES: usize = 16 * 1024;

/// Bytes of one message, as a snapshot may be.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

pub(crate) struct Ws(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ws {
    pub(super) async fn open(dialer: &Dialer, subscribe: v1::Subscribe) -> Result<Self, LinkError> {
        let url = format!("{}/v1/ws", dialer.config.http.replacen("http", "ws", 1));
        let mut request = url.into_client_request().map_err(lost)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(Format::Json.subprotocol()));
        let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
        let config = config.max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, _) = connect_async_with_config(request, Some(config), true).await.map_err(lost)?;
        let mut ws = Self(socket);
        let token = dialer.config.token.clone().unwrap_or_default();
        ws.send(Frame::Hello(v1::Hello { token, client: concat!("fanfold-rust/", env!("CARGO_PKG_VERSION")).into() })).await?;
        ws.send(Frame::Subscribe(subscribe)).await?;
        Ok(ws)
    }

    async fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        Format::Json.encode_client(&frame.into(), &mut bytes);
        let text = String::from_utf8(bytes).map_err(lost)?;
        self.0.send(Message::text(text)).await.map_err(lost)
    }

    pub(super) async fn next(&mut self) -> Result<v1::ServerFrame, LinkError> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Format::Json.decode_server(text.as_bytes()).map_err(lost),
                Some(Ok(Message::Close(close))) => {
                    let (code, reason) =
                        close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()));
                    return Err(closed(code, reason));
                }
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(lost("it ended")),
            }
        }
    }
}

/// The reason is the error's code.
fn closed(code: u16, reason: String) -> LinkError {
    match ErrorCode::from_name(&reason) {
        Some(known) => LinkError::Refused { code: reason, message: known.row().text.to_owned(), retry_after_ms: 0 },
        None => lost(format!("closed with {code} {reason}")),
    }
}
