//! The worker: takes runs, has its model answer them, and writes what that says into the log. The same inside a node and as a process of
//! its own; what lies between it and the node is [`Runs`] and [`Job`].

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{AttemptId, Custom, Failed, Run, Said, SessionId, View};
use tokio::sync::{Semaphore, watch};

use crate::run::model::Model;

/// How long one request for a run waits.
const TAKE_WAIT: Duration = Duration::from_secs(20);

/// After a request for a run that failed, before the next; doubled with each, up to the other.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Titles that are made at a time, beside the answers.
const TITLES_MAX: usize = 8;

/// Where a worker gets its runs.
#[async_trait::async_trait]
pub trait Runs: Send + Sync + 'static {
    /// A run, once there is one; `None` if none came in time. A caller that goes away takes none with it.
    async fn take(&self, wait: Duration) -> anyhow::Result<Option<Box<dyn Job>>>;
}

/// A run in a worker's hands. Its methods may be called side by side.
#[async_trait::async_trait]
pub trait Job: Send + Sync {
    /// The run's session.
    fn session(&self) -> &SessionId;

    /// The run when it was taken.
    fn run(&self) -> &Run;

    /// Which attempt at it this is.
    fn attempt(&self) -> &AttemptId;

    /// Its session now, with everything in it that this attempt has said.
    async fn look(&self) -> anyhow::Result<View>;

    /// How often to say that the worker is alive.
    fn beat_interval(&self) -> Duration;

    /// Begins the attempt, anew or after the last step that the one before it has finished.
    async fn start(&self, model: &str, resume: bool) -> Started;

    /// Appends, and returns when the log has it. False when it doesn't count or can't be appended.
    async fn say(&self, said: Vec<Said>) -> bool;

    /// Keeps a fact about the run beside its words. It is of no consequence when that fails.
    async fn note(&self, fact: Custom);

    /// Gives the session a title, unless a person has. It is of no consequence when that fails.
    async fn title(&self, title: String);

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
    let titles = Arc::new(Semaphore::new(TITLES_MAX));
    let mut retry_after = RETRY_AFTER_MIN;
    while let Some(permit) = until(&phase, Phase::Draining, Arc::clone(&permits).acquire_owned()).await {
        match until(&phase, Phase::Draining, runs.take(TAKE_WAIT)).await {
            Some(Ok(Some(job))) => {
                let (model, titles, phase) = (Arc::clone(&model), Arc::clone(&titles), phase.clone());
                retry_after = RETRY_AFTER_MIN;
                tokio::spawn(async move {
                    attempt(&*job, &*model, &phase).await;
                    drop(permit);
                    // One too many is not made: the session has its first words.
                    let Ok(_title) = titles.try_acquire() else { return };
                    until(&phase, Phase::Draining, model.title(&*job)).await;
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
    match job.start(model.name(job.run()), model.resumes()).await {
        Started::Yes => {}
        Started::No | Started::NotNow => return job.give_back().await,
    }
    tokio::select! {
        () = answer(job, model, phase) => {}
        // Nothing more would count.
        () = job.over() => {}
        () = beat(job) => {}
    }
}

async fn answer(job: &dyn Job, model: &dyn Model, phase: &watch::Receiver<Phase>) {
    if until(phase, Phase::Stopping, model.answer(job)).await.is_none() {
        // Where it no longer counts, nothing is to be done.
        let _ = job.say(vec![failed("worker_stopped", "The worker of this attempt was stopped.")]).await;
    }
}

async fn beat(job: &dyn Job) {
    loop {
        tokio::time::sleep(job.beat_interval()).await;
        job.beat().await;
    }
}

/// An attempt's last word, where another attempt may go better.
pub(super) fn failed(code: &str, message: &str) -> Said {
    Failed { code: code.into(), message: message.into(), retryable: true }.into()
}
