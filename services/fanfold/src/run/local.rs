//! What the worker in the node's own process works with: the desk and the sessions, without a connection between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfold_fold::{
    Action, AttemptId, Command, Custom, Offset, Output, Run, RunStarted, Said, SessionId, SessionTitled, Verdict, View,
};
use fanfold_session::{Receipt, Sessions, SubmitError};

use crate::clock;
use crate::run::desk::{Desk, Taken, Taker};
use crate::run::worker::{Job, Runs, Started};

/// How runs name the worker in a node.
pub fn name_in(node: &str) -> String {
    format!("embedded@{node}")
}

/// Times that an append is repeated when its fate is unknown or the log is busy.
const APPEND_TRIES: u32 = 20;

/// Before a run that could not be started is given to the next worker.
const GIVE_BACK_DELAY: Duration = Duration::from_millis(200);

/// The runs of this node.
pub struct LocalRuns {
    /// Where they are taken.
    pub desk: Arc<Desk>,
    /// Where they are written.
    pub sessions: Sessions,
    /// How runs name this worker.
    pub name: String,
}

#[async_trait::async_trait]
impl Runs for LocalRuns {
    async fn take(&self, wait: Duration) -> anyhow::Result<Option<Box<dyn Job>>> {
        let Some(mut taken) = self.desk.take(Taker::Inner, wait).await? else { return Ok(None) };
        taken.claim();
        let (desk, sessions, name) = (Arc::clone(&self.desk), self.sessions.clone(), self.name.clone());
        Ok(Some(Box::new(LocalJob { desk, sessions, name, taken, attempt: clock::new_attempt(), next_seq: AtomicU64::new(1) })))
    }
}

struct LocalJob {
    desk: Arc<Desk>,
    sessions: Sessions,
    name: String,
    taken: Taken,
    attempt: AttemptId,
    next_seq: AtomicU64,
}

impl LocalJob {
    /// Something beside the run's words.
    async fn command(&self, action: Action) {
        let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action };
        let session = &self.taken.lease.session;
        if let Err(error) = self.sessions.submit(session, command, None, Offset::NONE).await {
            tracing::debug!(%session, error = &error as &dyn std::error::Error, "something about a run was not kept");
        }
    }
}

#[async_trait::async_trait]
impl Job for LocalJob {
    fn session(&self) -> &SessionId {
        &self.taken.lease.session.session
    }

    fn run(&self) -> &Run {
        &self.taken.run
    }

    fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    async fn look(&self) -> anyhow::Result<View> {
        // What was said here is folded here before it is acknowledged.
        Ok(self.sessions.look(&self.taken.lease.session, Offset::NONE, usize::MAX).await?.view)
    }

    fn beat_interval(&self) -> Duration {
        self.desk.lease() / 3
    }

    async fn start(&self, model: &str, resume: bool) -> Started {
        let started = RunStarted {
            run: self.taken.run.id.clone(),
            attempt: self.attempt.clone(),
            worker: self.name.clone(),
            model: Some(model.to_owned()),
            resume,
        };
        let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action: Action::StartRun(started) };
        match self.sessions.submit(&self.taken.lease.session, command, None, Offset::NONE).await {
            Ok(Receipt { verdict: Verdict::Applied, .. }) => Started::Yes,
            Ok(_) => Started::No,
            Err(_) => Started::NotNow,
        }
    }

    async fn say(&self, said: Vec<Said>) -> bool {
        let seq = self.next_seq.fetch_add(said.len() as u64, Ordering::Relaxed);
        let output = Output { attempt: self.attempt.clone(), seq, said };
        let session = &self.taken.lease.session;
        for tried in 0..APPEND_TRIES {
            match self.sessions.produce(session, output.clone(), clock::now_ms(), None).await {
                Ok(Receipt { verdict: Verdict::Applied | Verdict::Repeated(_), .. }) => return true,
                Ok(Receipt { verdict: Verdict::Refused(_), .. }) => return false,
                // The same sequence again: the fold takes it once.
                Err(SubmitError::Unknown | SubmitError::Overloaded | SubmitError::Host(_)) => {
                    tokio::time::sleep(Duration::from_millis(50 * u64::from(tried + 1))).await;
                }
                Err(error @ (SubmitError::TooLarge { .. } | SubmitError::Conflict { .. })) => {
                    tracing::error!(%session, error = &error as &dyn std::error::Error, "output can't be appended");
                    return false;
                }
            }
        }
        tracing::error!(%session, "the log took no output for too long; the run is attempted again");
        false
    }

    async fn note(&self, fact: Custom) {
        self.command(Action::Custom(fact)).await;
    }

    async fn title(&self, title: String) {
        self.command(Action::SetTitle(SessionTitled { title, automatic: true })).await;
    }

    async fn over(&self) {
        let lease = &self.taken.lease;
        // `None`: the session left memory, and is asked again.
        while self.sessions.attempt_over(&lease.session, &lease.run, &self.attempt).await.is_none() {
            tokio::time::sleep(GIVE_BACK_DELAY).await;
        }
    }

    async fn beat(&self) {
        self.desk.beats(&self.taken.lease.session, &self.taken.lease.run, &self.attempt);
    }

    async fn give_back(&self) {
        // Where the run has ended, so has the lease.
        let _ = self.desk.give_back(&self.taken.lease, GIVE_BACK_DELAY);
    }
}
