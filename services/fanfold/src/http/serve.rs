//! Connections over HTTP from their beginning to their end: none that says nothing.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::accept::Sockets;
use crate::config::LimitConfig;

/// A client has sent the whole head of a request within this, after it was connected or answered. Longer than balancers keep
/// connections for later by default: the one that is closed under a request costs an error.
const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// Serves connections until `stop`, then lets them end by themselves.
pub async fn serve(listener: TcpListener, router: Router, limits: LimitConfig, stop: impl Future<Output = ()>) {
    serve_within(HEAD_WITHIN, listener, router, limits, stop).await;
}

async fn serve_within(
    head_within: Duration,
    listener: TcpListener,
    router: Router,
    limits: LimitConfig,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_within);
    let mut sockets = Sockets::new(listener, &limits);
    let (stopping, _) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let (socket, place) = tokio::select! {
            accepted = sockets.next() => accepted,
            () = &mut stop => break,
        };
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            router.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
        let mut stopping = stopping.subscribe();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
            }
        });
    }
    drop(sockets);
    // Nobody listens where there are no connections.
    let _ = stopping.send(());
    stopping.closed().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::accept::sockets_max;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Serves with room for one connection besides what is for single requests.
    async fn served(head_within: Duration) -> (std::net::SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = LimitConfig { connections_max: 1, ..LimitConfig::default() };
        let router = Router::new().route("/", get(|| async { "here" }));
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve_within(head_within, listener, router, limits, async move { drop(stopped.await) }));
        (address, stop)
    }

    /// What comes until the node closes.
    async fn read(socket: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(DEADLINE, socket.read_to_end(&mut bytes)).await;
        // A socket that is closed with something unread is reset.
        let _ = read.expect("it is closed in time");
        bytes
    }

    #[tokio::test]
    async fn one_socket_more_than_there_is_room_for_is_closed_at_once() {
        let (address, _stop) = served(HEAD_WITHIN).await;
        let mut idle = Vec::new();
        for _ in 0..sockets_max(&LimitConfig { connections_max: 1, ..LimitConfig::default() }) {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        assert_eq!(read(&mut TcpStream::connect(address).await.unwrap()).await, b"", "I5 bounded");
        drop(idle);
        let again = async {
            loop {
                let mut socket = TcpStream::connect(address).await.unwrap();
                let asked = socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
                if asked.is_ok() && read(&mut socket).await.ends_with(b"here") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, again).await.expect("who has left makes room");
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_of_it_is_let_go_of() {
        let (address, _stop) = served(Duration::from_millis(100)).await;
        for said in [&b""[..], b"GET / HTTP/1.1\r\nhost:", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(said).await.unwrap();
            read(&mut socket).await;
        }
    }
}
