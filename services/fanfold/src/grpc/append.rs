//! A worker's stream: it starts an attempt, sends what the model says, and hears what counted and when it is over.

use std::sync::Arc;

use fanfold_fold::{Action, AttemptId, Command, Offset, Output, Refusal, Run, RunId, RunStarted, RunStatus, SessionKey, Verdict};
use fanfold_wire::convert::id;
use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::v1::append_request::Request;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::auth::{Action as May, Caller};
use crate::clock;
use crate::edge::{Edge, Failure};

/// Replies that wait for the worker to read them. Beyond it, nothing more is read from the worker.
const REPLIES_MAX: usize = 64;

pub(super) type ReplyStream = ReceiverStream<Result<v1::AppendReply, Status>>;

/// Which attempt of which run.
struct Attempt {
    session: SessionKey,
    run: RunId,
    attempt: AttemptId,
    by: Option<String>,
}

pub(super) async fn append(
    edge: Arc<Edge>,
    caller: Caller,
    mut requests: Streaming<v1::AppendRequest>,
) -> Result<ReplyStream, Failure> {
    let permit = edge.connection()?;
    let first = requests.message().await.map_err(|_| ErrorCode::BadRequest)?;
    let Some(Request::Start(start)) = first.and_then(|first| first.request) else {
        return Err(Failure::bad_request("the first message must be start"));
    };
    let (attempt, started) = start_attempt(&edge, &caller, start).await?;
    let attempt = Arc::new(attempt);
    let (sender, receiver) = mpsc::channel(REPLIES_MAX);
    tokio::spawn(async move {
        if send(&sender, Reply::Started(started)).await {
            follow(&edge, &attempt, requests, &sender).await;
        }
        drop(permit);
    });
    Ok(ReceiverStream::new(receiver))
}

/// Starts the attempt, or goes on with it where it is current already.
async fn start_attempt(edge: &Edge, caller: &Caller, start: v1::AppendStart) -> Result<(Attempt, v1::AppendStarted), Failure> {
    let session = edge.session(caller, May::Work, &start.session)?;
    let run: RunId = id(&start.run, "start.run")?;
    let attempt: AttemptId = if start.attempt.is_empty() { clock::new_attempt() } else { id(&start.attempt, "start.attempt")? };
    let by = (!caller.subject.is_empty()).then(|| caller.subject.to_string());
    let looked = edge.sessions.look(&session, Offset::NONE, 0).await?;
    let seq = looked.attempt.filter(|(current, _)| *current == attempt).map(|(_, seq)| seq);
    let cursor = match seq {
        Some(_) => looked.cursor,
        None => {
            let action = Action::StartRun(RunStarted {
                run: run.clone(),
                attempt: attempt.clone(),
                worker: start.worker,
                model: start.model,
            });
            let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: by.clone(), action };
            let receipt = edge.sessions.submit(&session, command, None, Offset::NONE).await?;
            if let Verdict::Refused(refusal) = receipt.verdict {
                return Err(ErrorCode::from(refusal).into());
            }
            receipt.cursor
        }
    };
    let started = v1::AppendStarted { attempt: attempt.to_string(), seq: seq.unwrap_or(0), cursor: cursor.to_string() };
    Ok((Attempt { session, run, attempt, by }, started))
}

/// Appends side by side, acknowledges in order, until the worker ends or the attempt is over.
async fn follow(
    edge: &Arc<Edge>,
    attempt: &Arc<Attempt>,
    mut requests: Streaming<v1::AppendRequest>,
    sender: &mpsc::Sender<Result<v1::AppendReply, Status>>,
) {
    let over = over(edge, attempt);
    tokio::pin!(over);
    let mut appends: FuturesOrdered<BoxFuture<'static, Reply>> = FuturesOrdered::new();
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            // What was appended is acknowledged before the end is told.
            Some(reply) = appends.next() => {
                let last = matches!(reply, Reply::Over(_));
                if !send(sender, reply).await || last {
                    return;
                }
            }
            run = &mut over, if appends.is_empty() => {
                if let Some(run) = run {
                    send(sender, Reply::Over(v1::AppendOver { run: Some((&run).into()) })).await;
                }
                return;
            }
            request = requests.message(), if !ended && appends.len() < REPLIES_MAX => match request {
                Ok(Some(v1::AppendRequest { request: Some(Request::Output(output)) })) => appends.push_back(produce(edge, attempt, output)),
                Ok(Some(_)) => {
                    send(sender, Reply::Error(ErrorCode::BadRequest.frame("", "", 0))).await;
                    return;
                }
                Ok(None) => ended = true,
                // The worker is gone. Leaving ends nothing: it may come back, or its silence is noticed.
                Err(_) => return,
            },
        }
        if ended && appends.is_empty() {
            return;
        }
    }
}

/// The run once this attempt no longer counts.
async fn over(edge: &Edge, attempt: &Attempt) -> Option<Run> {
    loop {
        match edge.sessions.attempt_over(&attempt.session, &attempt.run, &attempt.attempt).await {
            // The worker ended it itself: that was acknowledged.
            Some(run) if ended_by_worker(&run) => return None,
            Some(run) => return Some(run),
            None if *edge.draining.borrow() => return None,
            None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

fn produce(edge: &Arc<Edge>, attempt: &Arc<Attempt>, output: v1::Output) -> BoxFuture<'static, Reply> {
    let (edge, attempt) = (Arc::clone(edge), Arc::clone(attempt));
    Box::pin(async move {
        match produce_one(&edge, &attempt, output).await {
            Ok(reply) => reply,
            Err(failure) => Reply::Error(failure.frame(attempt.session.session.as_str(), "")),
        }
    })
}

async fn produce_one(edge: &Edge, attempt: &Attempt, mut output: v1::Output) -> Result<Reply, Failure> {
    if output.attempt.is_empty() {
        output.attempt = attempt.attempt.to_string();
    }
    let output: Output = output.try_into()?;
    if output.said.is_empty() || output.seq == 0 {
        return Err(Failure::bad_request("output needs a sequence from 1 and something said"));
    }
    let seq = output.seq.saturating_add(output.said.len() as u64 - 1);
    let receipt = edge.sessions.produce(&attempt.session, output, clock::now_ms(), attempt.by.clone()).await?;
    match receipt.verdict {
        Verdict::Applied | Verdict::Repeated(_) => Ok(Reply::Ack(v1::AppendAck { seq, cursor: receipt.cursor.to_string() })),
        Verdict::Refused(refusal) => refused(edge, attempt, refusal).await,
    }
}

/// Words that no longer count: the worker is told what became of the run, unless it ended it itself.
async fn refused(edge: &Edge, attempt: &Attempt, refusal: Refusal) -> Result<Reply, Failure> {
    // Once per attempt at most: the stream ends with it.
    let looked = edge.sessions.look(&attempt.session, Offset::NONE, usize::MAX).await?;
    let run = looked.view.run(&attempt.run).filter(|run| !ended_by_worker(run));
    Ok(match run {
        Some(run) => Reply::Over(v1::AppendOver { run: Some(run.into()) }),
        None => Reply::Error(ErrorCode::from(refusal).frame(attempt.session.session.as_str(), "", 0)),
    })
}

fn ended_by_worker(run: &Run) -> bool {
    match run.status {
        RunStatus::Completed | RunStatus::Failed => true,
        RunStatus::Queued | RunStatus::Running | RunStatus::Cancelled | RunStatus::Orphaned => false,
    }
}

async fn send(sender: &mpsc::Sender<Result<v1::AppendReply, Status>>, reply: Reply) -> bool {
    sender.send(Ok(v1::AppendReply { reply: Some(reply) })).await.is_ok()
}
