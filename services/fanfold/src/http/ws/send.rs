//! What goes out over a WebSocket: bytes that are framed already, in one write, within a time.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;

/// The writing half of a connection after the handshake.
pub(crate) struct Sender {
    socket: OwnedWriteHalf,
    stall_max: Duration,
}

/// The client didn't take what it was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// It takes nothing.
    #[error("the client took nothing for {0:?}")]
    Stalled(Duration),
}

impl Sender {
    pub(crate) fn new(socket: OwnedWriteHalf, stall_max: Duration) -> Self {
        Self { socket, stall_max }
    }

    /// Writes all of it. Progress resets the clock: a slow reader is no stalled reader.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let written = match self.socket.try_write(bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = tokio::time::timeout(self.stall_max, self.socket.writable()).await;
                    writable.map_err(|_| SendError::Stalled(self.stall_max))?.map_err(SendError::Lost)?;
                    continue;
                }
                Err(error) => return Err(SendError::Lost(error)),
            };
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Ends the connection after what was written.
    pub(crate) async fn close(mut self) {
        // The client may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.shutdown()).await;
    }
}
