//! Sockets as they come: so many at a time, whatever is spoken over them.

use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::LimitConfig;
use crate::socket::tune;

/// A socket's place among those that the node has, held until it is closed. One that becomes a WebSocket takes it along.
#[derive(Debug, Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held, not used")] Arc<OwnedSemaphorePermit>);

/// Sockets of one address at a time: all connections may come by it, and a quarter more are for single requests and for probes.
pub(crate) fn sockets_max(limits: &LimitConfig) -> usize {
    (limits.connections_max + limits.connections_max / 4 + 64).min(Semaphore::MAX_PERMITS)
}

/// What comes to one address.
pub(crate) struct Sockets {
    listener: TcpListener,
    places: Arc<Semaphore>,
    send_buffer_bytes: u32,
}

impl Sockets {
    pub(crate) fn new(listener: TcpListener, limits: &LimitConfig) -> Self {
        let places = Arc::new(Semaphore::new(sockets_max(limits)));
        Self { listener, places, send_buffer_bytes: limits.send_buffer_bytes }
    }

    /// The next socket that there is a place for; others are closed. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> (TcpStream, Place) {
        loop {
            // Waits where the process has no descriptor left.
            let (socket, _) = Listener::accept(&mut self.listener).await;
            let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
                metrics::counter!("fanfold_sockets_refused_total").increment(1);
                continue;
            };
            tune(&socket, self.send_buffer_bytes);
            return (socket, Place(Arc::new(permit)));
        }
    }
}
