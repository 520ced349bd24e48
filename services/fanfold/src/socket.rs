//! What the kernel is told about every connection, whoever speaks over it.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Bytes that wait in the kernel without having been sent. Above, a write takes no more: what is not in the kernel yet can still become
/// one merged delta or a snapshot, and the reader's lag is seen where it is counted.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// A peer that says nothing is asked whether it is there after this, and then as often, a few times, before the connection is lost.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A peer that doesn't acknowledge what it was sent is lost after this. It is not asked whether it is there as long as something is on its
/// way, which pings see to; by itself the kernel would send these again for a quarter of an hour.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Sets what the kernel may hold per connection, since its own buffers would hide lag and memory (I5), and has small writes go at once.
pub(crate) fn tune(socket: &TcpStream, send_buffer_bytes: u32) {
    if let Err(error) = try_tune(&SockRef::from(socket), send_buffer_bytes) {
        // The peer may be gone already.
        tracing::debug!(%error, "socket not tuned");
    }
}

fn try_tune(socket: &SockRef<'_>, send_buffer_bytes: u32) -> std::io::Result<()> {
    socket.set_send_buffer_size(usize::try_from(send_buffer_bytes).unwrap_or(usize::MAX))?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX.min(send_buffer_bytes))?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    }
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.set_tcp_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_holds_no_more_than_it_may() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_client, served) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (served, _) = served.unwrap();
        tune(&served, 64 * 1024);
        let socket = SockRef::from(&served);
        // Linux says twice what was asked for: it counts its own bookkeeping.
        assert!((64 * 1024..=128 * 1024).contains(&socket.send_buffer_size().unwrap()));
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
        }
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    }
}
