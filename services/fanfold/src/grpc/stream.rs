//! Streams of frames over gRPC: bytes that were encoded once, taken apart into messages.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{ErrorCode, RawFrame, v1};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::status::{status, unread};
use crate::auth::Caller;
use crate::edge::{Connection, Edge, End, Failure, Framing, STALLED_LEAVES_WITHIN, Talk};

/// What a reader gets: one buffer waits while another is being sent, so the reader sets the pace.
pub(super) struct FrameStream {
    receiver: mpsc::Receiver<Result<Bytes, Status>>,
    frames: VecDeque<RawFrame>,
}

impl tokio_stream::Stream for FrameStream {
    type Item = Result<RawFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some(Ok(block))) => self.frames = split(block),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Takes a block of messages with their lengths apart, without copying.
fn split(mut block: Bytes) -> VecDeque<RawFrame> {
    let mut frames = VecDeque::new();
    while block.len() >= 4 {
        let length = usize::try_from(block.get_u32()).unwrap_or(usize::MAX);
        frames.push_back(RawFrame(block.split_to(length.min(block.len()))));
    }
    frames
}

/// One session.
pub(super) async fn subscribe(edge: Arc<Edge>, caller: Caller, request: v1::Subscribe) -> Result<FrameStream, Failure> {
    let permit = edge.connection()?;
    let mut talk = Talk::new(Arc::clone(&edge), Framing::Grpc, Some(caller.clone()), Arc::default());
    let mut first = Vec::new();
    talk.subscribe(&caller, &request, &mut first).await?;
    Ok(spawn(edge, talk, None, first, permit))
}

/// Many sessions, and commands.
pub(super) fn attach(
    edge: Arc<Edge>,
    caller: Option<Caller>,
    frames: Streaming<v1::ClientFrame>,
) -> Result<FrameStream, Failure> {
    let permit = edge.connection()?;
    let talk = Talk::new(Arc::clone(&edge), Framing::Grpc, caller, Arc::default());
    Ok(spawn(edge, talk, Some(frames), Vec::new(), permit))
}

fn spawn(
    edge: Arc<Edge>,
    talk: Talk,
    frames: Option<Streaming<v1::ClientFrame>>,
    first: Vec<u8>,
    permit: Connection,
) -> FrameStream {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        converse(&edge, talk, frames, first, sender).await;
        drop(permit);
    });
    FrameStream { receiver, frames: VecDeque::new() }
}

async fn converse(
    edge: &Edge,
    mut talk: Talk,
    mut frames: Option<Streaming<v1::ClientFrame>>,
    first: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, Status>>,
) {
    let stall_max = Duration::from_millis(edge.limits.stall_ms_max);
    let over_at = Instant::now() + lifetime(edge.limits.grpc_stream_ms_max);
    let single = frames.is_none();
    let mut out = first;
    loop {
        if !out.is_empty() {
            let block = Bytes::from(std::mem::take(&mut out));
            match tokio::time::timeout(stall_max, sender.reserve()).await {
                Ok(Ok(place)) => place.send(Ok(block)),
                Ok(Err(_)) => return,
                Err(_) => {
                    metrics::counter!("fanfold_slow_consumers_total").increment(1);
                    // Where it is, is said of one that has been sent all of that.
                    if !matches!(tokio::time::timeout(STALLED_LEAVES_WITHIN, sender.send(Ok(block))).await, Ok(Ok(()))) {
                        return;
                    }
                    return end(&sender, talk.position(), ErrorCode::SlowConsumer).await;
                }
            }
        }
        // A single session's stream ends with it.
        if single && talk.is_idle() {
            return;
        }
        let done = tokio::select! {
            frame = receive(&mut frames), if talk.may_receive() => match frame {
                Some(Ok(frame)) => talk.receive(frame, &mut out).await,
                // The client sends no more; it still reads.
                None => {
                    frames = None;
                    Ok(())
                }
                Some(Err(status)) => match unread(&status) {
                    Some(code) => Err(End(code)),
                    None => return,
                },
            },
            event = talk.next() => talk.handle(event, &mut out).await,
            () = tokio::time::sleep_until(over_at) => Err(End(ErrorCode::Expired)),
            () = sender.closed() => return,
        };
        if let Err(End(code)) = done {
            if !out.is_empty() && sender.send(Ok(Bytes::from(out))).await.is_err() {
                return;
            }
            return end(&sender, talk.position(), code).await;
        }
    }
}

async fn receive(frames: &mut Option<Streaming<v1::ClientFrame>>) -> Option<Result<v1::ClientFrame, Status>> {
    match frames {
        Some(frames) => frames.message().await.transpose(),
        None => std::future::pending().await,
    }
}

/// Ends the stream with where its reader can go on, in a last frame and in the trailers.
async fn end(sender: &mpsc::Sender<Result<Bytes, Status>>, ping: v1::Ping, code: ErrorCode) {
    let mut last = Vec::new();
    let mut status = status(&code.into());
    for position in &ping.positions {
        if let Ok(value) = format!("{}={}", position.session, position.cursor).parse() {
            status.metadata_mut().append("fanfold-cursor", value);
        }
    }
    Framing::Grpc.write(&Frame::Ping(ping).into(), &mut last);
    // The client may be gone.
    let _ = tokio::time::timeout(Duration::from_secs(1), sender.send(Ok(last.into()))).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), sender.send(Err(status))).await;
}

/// About the limit: a tenth less at most, so that streams made together don't end together.
fn lifetime(max_ms: u64) -> Duration {
    let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0]);
    Duration::from_millis(max_ms - max_ms / 10 * spread / 255)
}
