//! A socket over which HTTP/2 is to be spoken: closed when nothing is.
//!
//! Whoever has greeted is asked by pings whether it is there. Before, nobody would miss it.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use crate::accept::Place;

/// Clients greet as soon as they are connected.
const GREETS_WITHIN: Duration = Duration::from_secs(20);

/// What every client says first, `PRI * HTTP/2.0…` (RFC 9113, 3.4).
const GREETING_BYTES: usize = 24;

/// See the module.
pub(super) struct Socket {
    socket: TcpStream,
    _place: Place,
    silence: Option<Silence>,
}

/// A client that hasn't greeted yet.
struct Silence {
    ends: Pin<Box<Sleep>>,
    heard_bytes: usize,
}

impl Socket {
    pub(super) fn new(socket: TcpStream, place: Place) -> Self {
        Self::greeted_within(GREETS_WITHIN, socket, place)
    }

    fn greeted_within(time: Duration, socket: TcpStream, place: Place) -> Self {
        let silence = Silence { ends: Box::pin(tokio::time::sleep(time)), heard_bytes: 0 };
        Self { socket, _place: place, silence: Some(silence) }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = pin!(&mut this.socket).poll_read(context, buffer);
        if let Some(silence) = &mut this.silence {
            silence.heard_bytes += buffer.filled().len() - before;
            if silence.heard_bytes >= GREETING_BYTES {
                this.silence = None;
            } else if silence.ends.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.get_mut().socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::accept::Sockets;
    use crate::config::LimitConfig;

    const SOON: Duration = Duration::from_millis(50);

    /// A client, and its socket on the node.
    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = Sockets::new(listener, &LimitConfig::default());
        let (client, (socket, place)) = tokio::join!(TcpStream::connect(address), sockets.next());
        (client.unwrap(), Socket::greeted_within(SOON, socket, place))
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_greeting_is_let_go_of() {
        for said in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
            let (mut client, mut socket) = pair().await;
            client.write_all(said).await.unwrap();
            let error = socket.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn who_has_greeted_may_be_silent() {
        let (mut client, mut socket) = pair().await;
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        socket.read_exact(&mut [0; GREETING_BYTES]).await.unwrap();
        tokio::time::sleep(2 * SOON).await;
        client.write_all(b"later").await.unwrap();
        socket.read_exact(&mut [0; 5]).await.unwrap();
    }
}
