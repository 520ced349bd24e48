//! What a worker in a process of its own works with: a node over gRPC. A connection that is lost is made again, with the same attempt and
//! after its last sequence, for as long as a lease lasts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_client::{Append, AppendEnd, AppendError, Backoff, Client};
use fanfold_fold::{AttemptId, Custom, Run, Said, SessionId, View};
use fanfold_wire::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::clock;
use crate::run::worker::{Job, Runs, Started};

/// Before a run that could not be started is given to the next worker.
const GIVE_BACK_DELAY_MS: u32 = 200;

/// The runs of a node elsewhere.
pub struct RemoteRuns {
    /// The node.
    pub client: Client,
    /// How runs name this worker.
    pub name: String,
}

#[async_trait::async_trait]
impl Runs for RemoteRuns {
    async fn take(&self, wait: Duration) -> anyhow::Result<Option<Box<dyn Job>>> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let taken = self.client.take_run(v1::TakeRunRequest { wait_ms }).await?;
        let Some(lease) = taken.lease.clone() else { return Ok(None) };
        match self.job(taken, lease.clone()).await {
            Ok(job) => Ok(Some(Box::new(job))),
            Err(error) => {
                give_back(&self.client, lease).await;
                Err(error)
            }
        }
    }
}

impl RemoteRuns {
    async fn job(&self, taken: v1::TakeRunReply, lease: v1::Lease) -> anyhow::Result<RemoteJob> {
        let run = Run::try_from(taken.run.unwrap_or_default())?;
        let lease_lasts = Duration::from_millis(taken.lease_ms.into());
        let attempt = clock::new_attempt();
        let start = v1::AppendStart {
            session: lease.session.clone(),
            run: lease.run.clone(),
            attempt: attempt.to_string(),
            worker: self.name.clone(),
            model: None,
            resume: false,
        };
        let pen = Pen { client: self.client.clone(), start, patience: lease_lasts, append: None, next_seq: 1, ended: false };
        let (asks, asked) = mpsc::channel(1);
        let (over, is_over) = watch::channel(false);
        tokio::spawn(pen.write(asked, over));
        let cursor = Mutex::new(taken.cursor);
        let session = lease.session.parse()?;
        Ok(RemoteJob { client: self.client.clone(), session, lease, lease_lasts, run, attempt, cursor, asks, over: is_over })
    }
}

struct RemoteJob {
    client: Client,
    session: SessionId,
    lease: v1::Lease,
    lease_lasts: Duration,
    run: Run,
    attempt: AttemptId,
    /// Up to where the node has what this attempt has said.
    cursor: Mutex<String>,
    asks: mpsc::Sender<Ask>,
    over: watch::Receiver<bool>,
}

/// What the pen is asked.
enum Ask {
    Start(String, bool, oneshot::Sender<Result<String, Started>>),
    Say(Vec<Said>, oneshot::Sender<Option<String>>),
    Beat,
}

impl RemoteJob {
    /// Something beside the run's words.
    async fn command(&self, action: v1::command::Action) {
        let command = v1::Command { session: self.lease.session.clone(), action: Some(action), ..v1::Command::default() };
        if let Err(error) = self.client.submit(command).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "something about a run was not kept");
        }
    }

    fn cursor(&self) -> MutexGuard<'_, String> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Job for RemoteJob {
    fn session(&self) -> &SessionId {
        &self.session
    }

    fn run(&self) -> &Run {
        &self.run
    }

    fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    async fn look(&self) -> anyhow::Result<View> {
        let at_least = Some(self.cursor().clone());
        let request = v1::GetStateRequest { session: self.lease.session.clone(), at: None, at_least, window: u32::MAX };
        let mut backoff = Backoff::default();
        let until = Instant::now() + self.lease_lasts;
        loop {
            let wait = backoff.wait();
            match self.client.state(request.clone()).await {
                Ok(snapshot) => return Ok(View::try_from(snapshot.view.unwrap_or_default())?),
                Err(error) if Instant::now() + wait >= until => return Err(error.into()),
                Err(_) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn beat_interval(&self) -> Duration {
        self.lease_lasts / 3
    }

    async fn start(&self, model: &str, resume: bool) -> Started {
        let (reply, answer) = oneshot::channel();
        // The pen lives as long as the job.
        let _ = self.asks.send(Ask::Start(model.to_owned(), resume, reply)).await;
        match answer.await {
            Ok(Ok(cursor)) => {
                *self.cursor() = cursor;
                Started::Yes
            }
            Ok(Err(started)) => started,
            Err(_) => Started::NotNow,
        }
    }

    async fn say(&self, said: Vec<Said>) -> bool {
        let (reply, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Say(said, reply)).await;
        let Ok(Some(cursor)) = answer.await else { return false };
        *self.cursor() = cursor;
        true
    }

    async fn note(&self, fact: Custom) {
        let Custom { kind, content_type, payload } = fact;
        self.command(v1::command::Action::Custom(v1::Custom { kind, content_type, payload })).await;
    }

    async fn title(&self, title: String) {
        self.command(v1::command::Action::SetTitle(v1::SessionTitled { title, automatic: true })).await;
    }

    async fn over(&self) {
        // A pen that is gone means the same.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }

    async fn beat(&self) {
        // Where the attempt is written, and not where the lease was given: that node may have gone, or be another one.
        let _ = self.asks.send(Ask::Beat).await;
    }

    async fn give_back(&self) {
        give_back(&self.client, self.lease.clone()).await;
    }
}

async fn give_back(client: &Client, lease: v1::Lease) {
    let request = v1::GiveBackRunRequest { lease: Some(lease), delay_ms: GIVE_BACK_DELAY_MS };
    // Where the run has ended, so has the lease; where the node is away, the lease ends by itself.
    if let Err(error) = client.give_back_run(request).await {
        tracing::debug!(%error, "the run was not given back");
    }
}

/// Writes one attempt.
struct Pen {
    client: Client,
    start: v1::AppendStart,
    /// How long it tries to come back after a lost connection: afterwards the attempt is another worker's.
    patience: Duration,
    append: Option<Append>,
    next_seq: u64,
    /// Its last words are in the log.
    ended: bool,
}

impl Pen {
    async fn write(mut self, mut asks: mpsc::Receiver<Ask>, over: watch::Sender<bool>) {
        loop {
            let ask = match &mut self.append {
                Some(append) => tokio::select! {
                    ask = asks.recv() => ask,
                    end = append.over() => match end {
                        Ok(_) => break,
                        Err(error) if self.lost(&error) && self.connect().await == Started::Yes => continue,
                        Err(_) => break,
                    },
                },
                None => asks.recv().await,
            };
            match ask {
                Some(Ask::Start(model, resume, reply)) => {
                    self.start.model = Some(model);
                    self.start.resume = resume;
                    let started = self.connect().await;
                    let _ = reply.send(if started == Started::Yes { Ok(self.cursor()) } else { Err(started) });
                }
                Some(Ask::Say(said, reply)) => {
                    let counts = self.say(&said).await;
                    let _ = reply.send(counts.then(|| self.cursor()));
                    if !counts || self.ended {
                        break;
                    }
                }
                Some(Ask::Beat) => {
                    if !self.beat().await {
                        break;
                    }
                }
                None => return,
            }
        }
        over.send_replace(true);
    }

    /// Up to where the node has what was said.
    fn cursor(&self) -> String {
        self.append.as_ref().map(|append| append.cursor().to_owned()).unwrap_or_default()
    }

    /// Starts the attempt, or goes on with it.
    async fn connect(&mut self) -> Started {
        let mut backoff = Backoff::default();
        let until = Instant::now() + self.patience;
        loop {
            match self.client.append(self.start.clone()).await {
                Ok(append) => {
                    self.append = Some(append);
                    return Started::Yes;
                }
                Err(error) if !is_passing(&error) => return Started::No,
                Err(error) => {
                    let wait = backoff.wait();
                    if Instant::now() + wait >= until {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the node can't be reached");
                        return Started::NotNow;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Whether an error is one after which to connect again.
    fn lost(&mut self, error: &AppendError) -> bool {
        self.append = None;
        is_passing(error)
    }

    /// Says nothing, which says that the worker lives. False when the attempt is over or the node stays away.
    async fn beat(&mut self) -> bool {
        let Some(append) = &mut self.append else { return true };
        match append.say(Vec::new()).await {
            Ok(end) => end.is_none(),
            Err(error) => self.lost(&error) && self.connect().await == Started::Yes,
        }
    }

    /// Appends until the log has it. False when it doesn't count or the node stays away.
    async fn say(&mut self, said: &[Said]) -> bool {
        let first = self.next_seq;
        self.next_seq += said.len() as u64;
        loop {
            if self.append.is_none() && self.connect().await != Started::Yes {
                return false;
            }
            let Some(append) = &mut self.append else { return false };
            // What was appended before the connection was lost isn't said again.
            let known = usize::try_from((append.acked() + 1).saturating_sub(first)).unwrap_or(usize::MAX).min(said.len());
            let rest = said[known..].iter().map(Into::into).collect::<Vec<v1::Said>>();
            let end = match rest.is_empty() {
                true => Ok(AppendEnd::Done),
                false => append.say_all(rest).await,
            };
            match end {
                Ok(AppendEnd::Done) => {
                    // Where the end of an answer turns out to be that of a step, there is more to say.
                    self.ended |= said.iter().any(|said| match said {
                        Said::Completed(completed) => completed.steered.is_none(),
                        said => matches!(said, Said::Failed(_)),
                    });
                    return true;
                }
                Ok(AppendEnd::Over(_)) => return false,
                Err(error) if self.lost(&error) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "output was refused");
                    return false;
                }
            }
        }
    }
}

/// Whether trying again with the same attempt may help.
fn is_passing(error: &AppendError) -> bool {
    match error {
        // The transport's own statuses have no details.
        AppendError::Status(status) => {
            status.details().is_empty() || matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
        }
        AppendError::Refused(error) => error.retry_after_ms > 0,
        AppendError::Ended => true,
    }
}
