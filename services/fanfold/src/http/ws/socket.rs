//! A connection's socket after the handshake, shared by its task, which reads and writes, and by the fan-out writer.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use fanfold_session::Outlet;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// Bytes read at a time.
const READ_BYTES: usize = 4 * 1024;

pub(crate) struct Socket(TcpStream);

/// The client didn't take what it was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// It takes nothing.
    #[error("the client took nothing; {unsent_bytes} bytes were left")]
    Stalled { unsent_bytes: usize },
}

impl Socket {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self(socket)
    }

    /// Appends what the client has sent and says how much. Reads by way of the stack, so that a connection that waits has no buffer.
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut bytes);
            match self.0.try_read_buf(&mut read) {
                Ok(length) => {
                    buffer.extend_from_slice(read.filled());
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes all of it. Progress resets the clock: a slow reader is no stalled reader.
    pub(crate) async fn send(&self, mut bytes: &[u8], stall_max: Duration) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let written = match self.0.try_write(bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = tokio::time::timeout(stall_max, self.0.writable()).await;
                    writable.map_err(|_| SendError::Stalled { unsent_bytes: bytes.len() })?.map_err(SendError::Lost)?;
                    continue;
                }
                Err(error) => return Err(SendError::Lost(error)),
            };
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Ends the connection after what was written.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.0).shutdown(Shutdown::Write)
    }
}

impl Outlet for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}
