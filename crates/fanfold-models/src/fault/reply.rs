//! An answer, and how it goes wrong.

use std::io;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Request, Say};
use crate::DialectName;

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 16 << 10;

/// What is answered to one request, byte for byte.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    pieces: Pieces,
    ending: Ending,
    /// Whether the body's length is told, in chunks; else the end of the connection is its end.
    framed: bool,
    head_after: Duration,
    pause: Duration,
}

#[derive(Debug, Clone)]
enum Body {
    Bytes(Vec<u8>),
    /// Made when the request says in which dialect.
    Said(Vec<Say>),
}

/// In which pieces a body is sent, each as a chunk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// All at once.
    Whole,
    /// An event each, up to its blank line.
    Events,
    /// So many bytes each.
    Of(usize),
    /// From 1 to so many bytes, by this seed.
    Random {
        /// Seeds the sizes.
        seed: u64,
        /// Bytes of the longest.
        bytes_max: usize,
    },
}

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Well,
    /// The connection breaks.
    Cut,
    /// Nothing more comes, and the connection stays.
    Stall,
}

impl Reply {
    /// A success with this body.
    pub fn body(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".into(), content_type.into())],
            body: Body::Bytes(body.into()),
            pieces: Pieces::Whole,
            ending: Ending::Well,
            framed: true,
            head_after: Duration::ZERO,
            pause: Duration::ZERO,
        }
    }

    /// A stream of events, in the dialect that the request asks for. Finish reason and `[DONE]` follow by themselves.
    pub fn says(said: Vec<Say>) -> Self {
        Self { body: Body::Said(said), ..Self::events("") }
    }

    /// A stream of events, written as they stand here.
    pub fn events(text: impl Into<Vec<u8>>) -> Self {
        Self::body("text/event-stream", text)
    }

    /// A stream of events with these data, with `[DONE]` behind them where the dialect has it.
    pub fn chunks<'a>(dialect: DialectName, chunks: impl IntoIterator<Item = &'a str>) -> Self {
        Self::events(stream(dialect, chunks))
    }

    /// A refusal.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, ..Self::body("application/json", body) }
    }

    /// With a further header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sent in such pieces.
    pub fn in_pieces(self, pieces: Pieces) -> Self {
        Self { pieces, ..self }
    }

    /// Ended in such a way.
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// With the end of the connection as the end of the body.
    pub fn unframed(self) -> Self {
        Self { framed: false, ..self }
    }

    /// Begun only after so long; [`Duration::MAX`] for never.
    pub fn after(self, head_after: Duration) -> Self {
        Self { head_after, ..self }
    }

    /// With so long between two pieces.
    pub fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    pub(super) fn stalls(&self) -> bool {
        self.ending == Ending::Stall || self.head_after == Duration::MAX
    }

    /// Writes it. Says whether the connection goes on.
    pub(super) async fn write(&self, request: &Request, stream: &mut TcpStream) -> io::Result<bool> {
        if self.head_after == Duration::MAX {
            return Ok(true);
        }
        tokio::time::sleep(self.head_after).await;
        let mut head = format!("HTTP/1.1 {} Test\r\n", self.status);
        self.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += if self.framed { "transfer-encoding: chunked\r\n\r\n" } else { "connection: close\r\n\r\n" };
        stream.write_all(head.as_bytes()).await?;
        let body = match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Said(said) => {
                let chunks = super::say::chunks(request.dialect(), said);
                stream_of(request.dialect(), &chunks)
            }
        };
        // Many small pieces go in one write: they are told apart by their frames.
        let mut written = Vec::new();
        for piece in pieces(&body, self.pieces) {
            let framed =
                if self.framed { [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat() } else { piece.to_vec() };
            written.extend(framed);
            if !self.framed || !self.pause.is_zero() || written.len() >= WRITE_BYTES {
                stream.write_all(&std::mem::take(&mut written)).await?;
            }
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        stream.write_all(&written).await?;
        match self.ending {
            Ending::Well if self.framed => stream.write_all(b"0\r\n\r\n").await.map(|()| true),
            Ending::Well | Ending::Cut => Ok(false),
            Ending::Stall => Ok(true),
        }
    }
}

fn stream_of(dialect: DialectName, chunks: &[String]) -> Vec<u8> {
    stream(dialect, chunks.iter().map(String::as_str))
}

/// Chunks as server-sent events.
fn stream<'a>(dialect: DialectName, chunks: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut text = String::new();
    for chunk in chunks {
        let kind = serde_json::from_str(chunk).ok().map(|chunk: serde_json::Value| crate::json::text(&chunk, "type").to_owned());
        match (dialect, kind) {
            (DialectName::Responses | DialectName::Messages, Some(kind)) => text += &format!("event: {kind}\ndata: {chunk}\n\n"),
            (DialectName::ChatCompletions, _) | (_, None) => text += &format!("data: {chunk}\n\n"),
        }
    }
    if dialect == DialectName::ChatCompletions {
        text += "data: [DONE]\n\n";
    }
    text.into_bytes()
}

fn pieces(body: &[u8], pieces: Pieces) -> Vec<&[u8]> {
    let (mut random, bytes_max) = match pieces {
        Pieces::Whole => return Some(body).filter(|body| !body.is_empty()).into_iter().collect(),
        Pieces::Events => return events(body),
        Pieces::Of(bytes) => return body.chunks(bytes).collect(),
        Pieces::Random { seed, bytes_max } => (StdRng::seed_from_u64(seed), bytes_max),
    };
    let mut rest = body;
    let next = || {
        let (piece, left) = rest.split_at(random.random_range(1..=bytes_max).min(rest.len()));
        rest = left;
        Some(piece).filter(|piece| !piece.is_empty())
    };
    std::iter::from_fn(next).collect()
}

fn events(body: &[u8]) -> Vec<&[u8]> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split_inclusive("\n\n").map(str::as_bytes).collect()
}
