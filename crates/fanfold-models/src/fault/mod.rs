//! A model server on a real socket that misbehaves as it is told, for tests of whoever calls models.
//!
//! It takes requests at any path, notes them, and answers with a [`Reply`]. Without a library, so that it can break HTTP too.

mod reply;
mod say;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use self::reply::{Ending, Pieces, Reply};
pub use self::say::Say;
use crate::DialectName;

/// Bytes of a request's body. A longer one is no request of a test.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many came before it.
    pub number: usize,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// Its path, with the query.
    pub path: String,
    /// Its headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body; null if it is no JSON.
    pub body: Value,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The dialect that its path belongs to.
    pub fn dialect(&self) -> DialectName {
        match self.path.split('?').next() {
            Some(path) if path.ends_with("/responses") => DialectName::Responses,
            Some(path) if path.ends_with("/messages") => DialectName::Messages,
            Some(_) | None => DialectName::ChatCompletions,
        }
    }
}

/// The server. It ends when this is dropped.
pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    answer: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
}

impl FaultServer {
    /// Begins to listen on a free port of this machine.
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Shared { answer: Box::new(answer), requests: Mutex::default(), connections: AtomicUsize::new(0) };
        let shared = Arc::new(shared);
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// The same with these answers in turn; the last one for all that come after it.
    pub async fn replies(replies: Vec<Reply>) -> io::Result<Self> {
        Self::start(move |request| replies[request.number.min(replies.len() - 1)].clone()).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as an endpoint's `url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    let mut numbers = 0..;
    while let (Ok((stream, _)), Some(number)) = (listener.accept().await, numbers.next()) {
        let shared = Arc::clone(&shared);
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            // A client that goes away in the middle is part of the tests.
            let _ = serve(stream, number, &shared).await;
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream).await? {
        let reply = {
            let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
            (request.number, request.connection) = (requests.len(), connection);
            requests.push(request.clone());
            (shared.answer)(&request)
        };
        if !reply.write(&request, stream.get_mut()).await? {
            return Ok(());
        }
        if reply.stalls() {
            // Until the client has had enough.
            let mut rest = [0];
            while stream.read(&mut rest).await? > 0 {}
            return Ok(());
        }
    }
    stream.get_mut().shutdown().await
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { number: 0, connection: 0, path, headers, body: Value::Null };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; REQUEST_BYTES_MAX.min(length)];
    stream.read_exact(&mut body).await?;
    request.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(request))
}
