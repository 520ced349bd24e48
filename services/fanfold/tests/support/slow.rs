//! A network that takes its time, before a server: everything comes, in order, and later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What is under way in one direction at most, in pieces of [`PIECE`] bytes. More waits at its sender.
const UNDER_WAY: usize = 1024;

const PIECE: usize = 16 << 10;

/// Takes connections for a server, and ends with this value.
pub struct SlowNetwork {
    pub address: String,
    delay_ms: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl SlowNetwork {
    /// As quick as it can be, until [`Self::delay`].
    pub async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server.to_owned(), Arc::clone(&delay_ms)));
        Self { address, delay_ms, _task: task }
    }

    /// How much later everything comes from now on, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, server: String, delay_ms: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // A server that is gone: so is the connection.
        let Ok(server) = TcpStream::connect(&server).await else { continue };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        connections.spawn(carry(from_client, to_server, Arc::clone(&delay_ms)));
        connections.spawn(carry(from_server, to_client, Arc::clone(&delay_ms)));
    }
}

/// Until one of both ends ends, of which the other one is told.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay_ms: Arc<AtomicU64>) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let arrive = async move {
        while let Some((due, piece)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let leave = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let Ok(length @ 1..) = from.read(&mut piece).await else { return };
            piece.truncate(length);
            let due = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::Relaxed));
            if sender.send((due, piece)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(arrive, leave);
}
