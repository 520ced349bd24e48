//! The worker: takes runs, calls its model, and writes what that says into the log. The same inside a node and as a process of its own;
//! what lies between it and the node is [`Runs`] and [`Job`].

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{Completed, Failed, Run, Said, View};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, watch};

use crate::run::model::{Answer, Model};
use crate::run::said::groups;

/// How long one request for a run waits.
const TAKE_WAIT: Duration = Duration::from_secs(20);

/// After a request for a run that failed, before the next; doubled with each, up to the other.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Pieces of an answer that are appended together when they are there together.
const PIECES_MAX: usize = 16;

/// Where a worker gets its runs.
#[async_trait::async_trait]
pub trait Runs: Send + Sync + 'static {
    /// A run, once there is one; `None` if none came in time. A caller that goes away takes none with it.
    async fn take(&self, wait: Duration) -> anyhow::Result<Option<Box<dyn Job>>>;
}

/// A run in a worker's hands. Its methods may be called side by side.
#[async_trait::async_trait]
pub trait Job: Send + Sync {
    /// The run when it was taken.
    fn run(&self) -> &Run;

    /// Its session when it was taken.
    fn view(&self) -> &View;

    /// How often to say that the worker is alive.
    fn beat_interval(&self) -> Duration;

    /// Begins the attempt.
    async fn start(&self, model: &str) -> Started;

    /// Appends, and returns when the log has it. False when it doesn't count or can't be appended.
    async fn say(&self, said: Vec<Said>) -> bool;

    /// Resolves when the attempt no longer counts: the run was cancelled, or the attempt taken for lost.
    async fn over(&self);

    /// The worker is alive, though it may have nothing to say.
    async fn beat(&self);

    /// The worker won't start the run.
    async fn give_back(&self);
}

/// What became of the wish to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// The attempt is current.
    Yes,
    /// The run has ended, or is another worker's.
    No,
    /// The node could not be asked.
    NotNow,
}

/// How much longer a worker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes runs.
    Working,
    /// It takes no more, and ends those it has.
    Draining,
    /// It ends those it has at once, as failed: another worker tries again.
    Stopping,
}

/// Answers runs with a model, `slots` at a time. Returns after the phase has changed, when every run it had is out of its hands.
pub async fn work(runs: Arc<dyn Runs>, model: Arc<dyn Model>, slots: usize, phase: watch::Receiver<Phase>) {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let permits = Arc::new(Semaphore::new(slots as usize));
    let mut retry_after = RETRY_AFTER_MIN;
    while let Some(permit) = until(&phase, Phase::Draining, Arc::clone(&permits).acquire_owned()).await {
        match until(&phase, Phase::Draining, runs.take(TAKE_WAIT)).await {
            Some(Ok(Some(job))) => {
                let (model, phase) = (Arc::clone(&model), phase.clone());
                retry_after = RETRY_AFTER_MIN;
                tokio::spawn(async move {
                    attempt(&*job, &*model, &phase).await;
                    drop(permit);
                });
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "no run can be taken");
                until(&phase, Phase::Draining, tokio::time::sleep(retry_after)).await;
                retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
            }
            None => {}
        }
    }
    // All are back: nothing is in its hands.
    let _ = permits.acquire_many(slots).await;
}

/// What comes of `work`, or `None` once the phase is reached.
async fn until<T>(phase: &watch::Receiver<Phase>, reached: Phase, work: impl Future<Output = T>) -> Option<T> {
    let mut phase = phase.clone();
    tokio::select! {
        biased;
        // Nobody left to say it means the same.
        _ = phase.wait_for(|phase| *phase >= reached) => None,
        done = work => Some(done),
    }
}

/// One attempt at a run.
async fn attempt(job: &dyn Job, model: &dyn Model, phase: &watch::Receiver<Phase>) {
    match job.start(model.name()).await {
        Started::Yes => {}
        Started::No | Started::NotNow => return job.give_back().await,
    }
    let answer = model.answer(job.view(), job.run());
    tokio::select! {
        () = write(job, answer, phase) => {}
        // Nothing more would count.
        () = job.over() => {}
        () = beat(job) => {}
    }
}

async fn beat(job: &dyn Job) {
    loop {
        tokio::time::sleep(job.beat_interval()).await;
        job.beat().await;
    }
}

/// Appends the answer at the model's pace. What the model says while an append is under way goes into the next.
async fn write(job: &dyn Job, answer: Answer, phase: &watch::Receiver<Phase>) {
    let mut pieces = answer.ready_chunks(PIECES_MAX);
    let mut ended = false;
    loop {
        let said = match until(phase, Phase::Stopping, pieces.next()).await {
            Some(Some(pieces)) => pieces.concat(),
            Some(None) if ended => return,
            Some(None) => vec![failed("stream_ended", "The model stopped in mid-answer.")],
            None if ended => return,
            None => vec![failed("worker_stopped", "The worker of this attempt was stopped.")],
        };
        ended |= said.iter().any(|said| matches!(said, Said::Completed(Completed { .. }) | Said::Failed(_)));
        for said in groups(said) {
            if !job.say(said).await {
                return;
            }
        }
    }
}

fn failed(code: &str, message: &str) -> Said {
    Failed { code: code.into(), message: message.into(), retryable: true }.into()
}
