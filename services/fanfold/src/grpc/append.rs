//! A worker's stream: it starts an attempt, sends what the model says, and hears what counted and when it is over.

use std::sync::Arc;

use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::v1::append_request::Request;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::status::unread;
use crate::auth::Caller;
use crate::edge::{Attempt, Edge, Failure, over};

/// Replies that wait for the worker to read them. Beyond it, nothing more is read from the worker.
const REPLIES_MAX: usize = 64;

pub(super) type ReplyStream = ReceiverStream<Result<v1::AppendReply, Status>>;

pub(super) async fn append(
    edge: Arc<Edge>,
    caller: Caller,
    mut requests: Streaming<v1::AppendRequest>,
) -> Result<ReplyStream, Failure> {
    let permit = edge.connection()?;
    let first = requests.message().await.map_err(|status| unread(&status).unwrap_or(ErrorCode::BadRequest))?;
    let Some(Request::Start(start)) = first.and_then(|first| first.request) else {
        return Err(Failure::bad_request("the first message must be start"));
    };
    let (attempt, started) = Attempt::start(edge, &caller, start).await?;
    let (sender, receiver) = mpsc::channel(REPLIES_MAX);
    tokio::spawn(async move {
        if send(&sender, Reply::Started(started)).await {
            follow(&Arc::new(attempt), requests, &sender).await;
        }
        drop(permit);
    });
    Ok(ReceiverStream::new(receiver))
}

/// Appends side by side, acknowledges in order, until the worker ends or the attempt is over.
async fn follow(
    attempt: &Arc<Attempt>,
    mut requests: Streaming<v1::AppendRequest>,
    sender: &mpsc::Sender<Result<v1::AppendReply, Status>>,
) {
    let mut ending = std::pin::pin!(attempt.over());
    let mut appends: FuturesOrdered<BoxFuture<'static, Reply>> = FuturesOrdered::new();
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            // What was appended is acknowledged before the end is told.
            Some(reply) = appends.next() => {
                // Behind what was not taken nothing is: the worker begins there again.
                let last = matches!(reply, Reply::Over(_) | Reply::Error(_));
                if !send(sender, reply).await || last {
                    return;
                }
            }
            run = &mut ending, if appends.is_empty() => {
                if let Some(run) = run {
                    send(sender, over(&run)).await;
                }
                return;
            }
            request = requests.message(), if !ended && appends.len() < REPLIES_MAX => match request {
                Ok(Some(v1::AppendRequest { request: Some(Request::Output(output)) })) if output.said.is_empty() => attempt.alive(),
                Ok(Some(v1::AppendRequest { request: Some(Request::Output(output)) })) => {
                    let attempt = Arc::clone(attempt);
                    appends.push_back(Box::pin(async move { attempt.say(output).await }));
                }
                Ok(Some(_)) => {
                    send(sender, attempt.failed(&ErrorCode::BadRequest.into())).await;
                    return;
                }
                Ok(None) => ended = true,
                Err(status) => {
                    // Where the worker is gone, that ends nothing: it may come back, or its silence is noticed.
                    if let Some(code) = unread(&status) {
                        send(sender, attempt.failed(&code.into())).await;
                    }
                    return;
                }
            },
        }
        if ended && appends.is_empty() {
            return;
        }
    }
}

async fn send(sender: &mpsc::Sender<Result<v1::AppendReply, Status>>, reply: Reply) -> bool {
    sender.send(Ok(v1::AppendReply { reply: Some(reply) })).await.is_ok()
}
