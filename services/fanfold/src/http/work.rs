//! Runs for the simplest workers: take one with a request, and write its answer as lines of one request's body.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use bytes::{Buf as _, BytesMut};
use fanfold_fold::Said;
use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::{ErrorCode, v1};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::asked::Asked;
use super::problem::Problem;
use super::rest::{body, caller};
use crate::edge::{Attempt, Edge, Failure, over};

/// Bytes of one line. A longer one is `too_large`, as what it says would not fit into a record.
const LINE_BYTES_MAX: usize = fanfold_fold::RECORD_BYTES_MAX;

/// Bytes of lines that are appended together. What arrives meanwhile waits in the connection.
const GROUP_BYTES_MAX: usize = 128 * 1024;

/// `POST /v1/runs/take`
pub(super) async fn take(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<v1::TakeRunReply>, Problem> {
    let caller = caller(&edge, &headers)?;
    Ok(Json(edge.take_run(&caller, &body(&bytes)?).await?))
}

/// `POST /v1/runs/extend`
pub(super) async fn extend(State(edge): State<Arc<Edge>>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, Problem> {
    edge.extend_lease(&caller(&edge, &headers)?, &body(&bytes)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/runs/give-back`
pub(super) async fn give_back(State(edge): State<Arc<Edge>>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, Problem> {
    edge.give_back_run(&caller(&edge, &headers)?, &body(&bytes)?)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct OutputAsk {
    /// Minted by the worker, so that it can come back to it; minted here if none is given.
    #[serde(default)]
    attempt: String,
    #[serde(default)]
    worker: String,
    model: Option<String>,
    /// Whether to go on after the last step that the attempt before has finished.
    #[serde(default)]
    resume: bool,
    /// The number of the first line; without it, the one after the last that counted.
    seq: Option<u64>,
}

/// `POST /v1/sessions/{session}/runs/{run}/output`
pub(super) async fn output(
    State(edge): State<Arc<Edge>>,
    Path((session, run)): Path<(String, String)>,
    Asked(ask): Asked<OutputAsk>,
    headers: HeaderMap,
    lines: Body,
) -> Result<Json<v1::AppendReply>, Problem> {
    let caller = caller(&edge, &headers)?;
    let _permit = edge.connection()?;
    let OutputAsk { attempt, worker, model, resume, .. } = ask;
    let start = v1::AppendStart { session, run, attempt, worker, model, resume };
    let (attempt, started) = Attempt::start(edge, &caller, start).await?;
    let mut writing = Writing {
        attempt: Arc::new(attempt),
        next_seq: ask.seq.unwrap_or(started.seq + 1),
        last: Reply::Ack(v1::AppendAck { seq: started.seq, cursor: started.cursor }),
        rest: BytesMut::new(),
        looked_at: 0,
        lines: 0,
    };
    match writing.read(lines).await? {
        // What is durable is told by the error's caller asking again with the attempt.
        Reply::Error(error) => {
            let code = ErrorCode::from_name(&error.code).unwrap_or(ErrorCode::Internal);
            let detail = Some(format!("line {} or one before it in the same write", writing.lines));
            Err(Problem(Failure { detail, ..Failure::new(code) }))
        }
        reply => Ok(Json(v1::AppendReply { reply: Some(reply) })),
    }
}

/// One piece said, as far as can be told without a session.
fn read(line: &[u8]) -> Result<v1::Said, String> {
    let said: v1::Said = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match Said::try_from(said.clone()) {
        Ok(_) => Ok(said),
        Err(error) => Err(error.to_string()),
    }
}

/// An attempt as its lines come in.
struct Writing {
    attempt: Arc<Attempt>,
    next_seq: u64,
    /// The last acknowledgement.
    last: Reply,
    /// A line that isn't whole yet.
    rest: BytesMut,
    /// How much of it is known to hold no end of a line.
    looked_at: usize,
    lines: usize,
}

impl Writing {
    /// Appends line after line until the body or the attempt is over. The answer is the last verdict.
    async fn read(&mut self, body: Body) -> Result<Reply, Failure> {
        let attempt = Arc::clone(&self.attempt);
        let mut ending = std::pin::pin!(attempt.over());
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::select! {
                biased;
                run = &mut ending => {
                    return Ok(run.map_or_else(|| self.last.clone(), |run| over(&run)));
                }
                chunk = chunks.next() => chunk,
            };
            match chunk {
                Some(Ok(chunk)) => self.rest.extend_from_slice(&chunk),
                // The worker is gone. Leaving ends nothing: it may come back, or its silence is noticed.
                Some(Err(_)) => return Err(ErrorCode::BadRequest.into()),
                None => {
                    // The last line may end with the body.
                    self.rest.extend_from_slice(b"\n");
                    return self.append_lines().await;
                }
            }
            match self.append_lines().await? {
                Reply::Ack(_) => {}
                reply @ (Reply::Started(_) | Reply::Over(_) | Reply::Error(_)) => return Ok(reply),
            }
        }
    }

    /// Appends the whole lines there are.
    async fn append_lines(&mut self) -> Result<Reply, Failure> {
        let (mut said, mut bytes) = (Vec::new(), 0);
        while let Some(line) = self.next_line() {
            if line.trim_ascii().is_empty() {
                self.attempt.alive();
                continue;
            }
            match read(&line) {
                Ok(one) => said.push(one),
                Err(what) => {
                    let bad = Failure::bad_request(format!("line {}: {what}", self.lines));
                    return self.end_before(said, bad).await;
                }
            }
            bytes += line.len();
            if bytes >= GROUP_BYTES_MAX {
                bytes = 0;
                match self.append(std::mem::take(&mut said)).await {
                    Reply::Ack(_) => {}
                    reply @ (Reply::Started(_) | Reply::Over(_) | Reply::Error(_)) => return Ok(reply),
                }
            }
        }
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(ErrorCode::TooLarge.into());
        }
        if said.is_empty() { Ok(self.last.clone()) } else { Ok(self.append(said).await) }
    }

    /// What stands before a line that can't be taken is appended; then that is said.
    async fn end_before(&mut self, said: Vec<v1::Said>, bad: Failure) -> Result<Reply, Failure> {
        if said.is_empty() {
            return Err(bad);
        }
        match self.append(said).await {
            Reply::Ack(_) => Err(bad),
            reply @ (Reply::Started(_) | Reply::Over(_) | Reply::Error(_)) => Ok(reply),
        }
    }

    fn next_line(&mut self) -> Option<BytesMut> {
        let Some(length) = self.rest[self.looked_at..].iter().position(|byte| *byte == b'\n') else {
            self.looked_at = self.rest.len();
            return None;
        };
        let line = self.rest.split_to(self.looked_at + length);
        self.rest.advance(1);
        self.looked_at = 0;
        self.lines += 1;
        Some(line)
    }

    async fn append(&mut self, said: Vec<v1::Said>) -> Reply {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(said.len() as u64);
        let reply = self.attempt.say(v1::Output { attempt: String::new(), seq, said }).await;
        if let Reply::Ack(_) = &reply {
            self.last = reply.clone();
        }
        reply
    }
}
