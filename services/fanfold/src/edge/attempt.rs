//! One attempt at a run, written by a worker of its own over whatever transport.

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{Action, AttemptId, Command, Offset, Output, Refusal, Run, RunId, RunStarted, RunStatus, SessionKey, Verdict};
use fanfold_wire::convert::id;
use fanfold_wire::v1::append_reply::Reply;
use fanfold_wire::{ErrorCode, v1};

use super::{Edge, Failure};
use crate::auth::{Action as May, Caller};
use crate::clock;

/// Before a session that left memory is asked again whether the attempt counts.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Which attempt of which run, and who writes it.
pub(crate) struct Attempt {
    edge: Arc<Edge>,
    session: SessionKey,
    run: RunId,
    attempt: AttemptId,
    by: Option<String>,
}

impl Attempt {
    /// Starts the attempt, or goes on with it where it is current already.
    pub(crate) async fn start(
        edge: Arc<Edge>,
        caller: &Caller,
        start: v1::AppendStart,
    ) -> Result<(Self, v1::AppendStarted), Failure> {
        let session = edge.session(caller, May::Work, &start.session)?;
        let run: RunId = id(&start.run, "start.run")?;
        let attempt: AttemptId =
            if start.attempt.is_empty() { clock::new_attempt() } else { id(&start.attempt, "start.attempt")? };
        let by = (!caller.subject.is_empty()).then(|| caller.subject.to_string());
        let looked = edge.sessions.look(&session, Offset::NONE, 0).await?;
        let seq = looked.attempt.filter(|(current, _)| *current == attempt).map(|(_, seq)| seq);
        let cursor = match seq {
            Some(_) => looked.cursor,
            None => {
                let v1::AppendStart { worker, model, resume, .. } = start;
                let action = Action::StartRun(RunStarted { run: run.clone(), attempt: attempt.clone(), worker, model, resume });
                let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: by.clone(), action };
                let receipt = edge.sessions.submit(&session, command, None, Offset::NONE).await?;
                if let Verdict::Refused(refusal) = receipt.verdict {
                    return Err(ErrorCode::from(refusal).into());
                }
                receipt.cursor
            }
        };
        let started = v1::AppendStarted { attempt: attempt.to_string(), seq: seq.unwrap_or(0), cursor: cursor.to_string() };
        Ok((Self { edge, session, run, attempt, by }, started))
    }

    /// The run once this attempt no longer counts; `None` if its worker ended it itself, or the node goes away.
    pub(crate) async fn over(&self) -> Option<Run> {
        loop {
            match self.edge.sessions.attempt_over(&self.session, &self.run, &self.attempt).await {
                // That was acknowledged.
                Some(run) if ended_by_worker(&run) => return None,
                Some(run) => return Some(run),
                None if *self.edge.draining.borrow() => return None,
                None => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// The worker is alive, though it has nothing to say.
    pub(crate) fn alive(&self) {
        self.edge.desk.beats(&self.session, &self.run, &self.attempt);
    }

    /// Appends, and answers when the log has it.
    pub(crate) async fn say(&self, output: v1::Output) -> Reply {
        match self.try_say(output).await {
            Ok(reply) => reply,
            Err(failure) => self.failed(&failure),
        }
    }

    /// A failure as a reply.
    pub(crate) fn failed(&self, failure: &Failure) -> Reply {
        Reply::Error(failure.frame(self.session.session.as_str(), ""))
    }

    async fn try_say(&self, mut output: v1::Output) -> Result<Reply, Failure> {
        if output.attempt.is_empty() {
            output.attempt = self.attempt.to_string();
        }
        let output: Output = output.try_into()?;
        if output.said.is_empty() || output.seq == 0 {
            return Err(Failure::bad_request("output needs a sequence from 1 and something said"));
        }
        let seq = output.seq.saturating_add(output.said.len() as u64 - 1);
        let receipt = self.edge.sessions.produce(&self.session, output, clock::now_ms(), self.by.clone()).await?;
        match receipt.verdict {
            Verdict::Applied | Verdict::Repeated(_) => Ok(Reply::Ack(v1::AppendAck { seq, cursor: receipt.cursor.to_string() })),
            Verdict::Refused(refusal) => self.refused(refusal).await,
        }
    }

    /// Words that no longer count: the worker is told what became of the run, unless it ended it itself.
    async fn refused(&self, refusal: Refusal) -> Result<Reply, Failure> {
        // Once per attempt at most: its stream ends with it.
        let looked = self.edge.sessions.look(&self.session, Offset::NONE, usize::MAX).await?;
        let run = looked.view.run(&self.run).filter(|run| !ended_by_worker(run));
        Ok(match run {
            Some(run) => over(run),
            None => self.failed(&ErrorCode::from(refusal).into()),
        })
    }
}

/// The last reply.
pub(crate) fn over(run: &Run) -> Reply {
    Reply::Over(v1::AppendOver { run: Some(run.into()) })
}

fn ended_by_worker(run: &Run) -> bool {
    match run.status {
        RunStatus::Completed | RunStatus::Failed => true,
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Cancelled | RunStatus::Orphaned => false,
    }
}
