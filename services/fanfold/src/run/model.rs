//! What answers a run: models of providers, a recorded stream, or the built-in generator at a pace.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fanfold_fold::{Run, Said};
use fanfold_models::{ModelsConfig, Recording, RecordingError, Scribe};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::config::RunConfig;
use crate::run::bridge::Bridge;
use crate::run::said::{groups, is_terminal, said};
use crate::run::worker::{Job, failed};

/// Pieces of an answer that are appended together when they are there together.
pub(super) const PIECES_MAX: usize = 16;

/// How fast a person reads along.
const HUMAN_PACE: Duration = Duration::from_millis(30);

/// An answer as it comes, piece by piece. The last piece holds the terminal event; a stream that ends without one has failed.
type Pieces = BoxStream<'static, Vec<Said>>;

/// Something that answers.
#[async_trait::async_trait]
pub trait Model: Send + Sync + 'static {
    /// Its name, as the run shows it.
    fn name<'a>(&'a self, run: &'a Run) -> &'a str;

    /// Answers a run: says everything, up to and including how the attempt ends, or as much as counts. Dropping it ends the work on it.
    async fn answer(&self, job: &dyn Job);

    /// Whether it goes on after the last step that an earlier attempt has finished. Else it begins anew.
    fn resumes(&self) -> bool {
        false
    }

    /// Finds a title for the session after its first answer, where it can.
    async fn title(&self, _job: &dyn Job) {}
}

/// The model that the configuration names.
pub fn open(runs: &RunConfig, models: &ModelsConfig) -> anyhow::Result<Arc<dyn Model>> {
    let pace = runs.model_pace_ms.map(Duration::from_millis);
    let recordings = &runs.model_recordings;
    if !models.endpoints.is_empty() {
        ensure!(recordings.is_empty(), "models.endpoints and runs.model_recordings can't both answer: leave one of them out");
        return Ok(Arc::new(Bridge::open(runs, models).context("[models] can't be used")?));
    }
    if !recordings.is_empty() {
        return Ok(Arc::new(Recorded::open(recordings, pace).context("the recording can't be played")?));
    }
    ensure!(models.tools.is_empty(), "models.tools without models.endpoints: nobody would call them");
    ensure!(models.title.is_none(), "models.title without models.endpoints: nobody would find any");
    Ok(Arc::new(Generator::new(pace)))
}

/// Says an answer at its own pace. What comes while an append is under way goes into the next.
async fn play(job: &dyn Job, pieces: Pieces) {
    let mut pieces = pieces.ready_chunks(PIECES_MAX);
    loop {
        let said = match pieces.next().await {
            Some(pieces) => pieces.concat(),
            None => vec![failed("stream_ended", "The model stopped in mid-answer.")],
        };
        let ended = said.iter().any(is_terminal);
        for said in groups(said) {
            if !job.say(said).await {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

/// The same pieces with a pause before each.
fn paced(pieces: impl Iterator<Item = Vec<Said>> + Send + 'static, pace: Duration) -> Pieces {
    let pieces = futures::stream::iter(pieces);
    if pace.is_zero() {
        return pieces.boxed();
    }
    let pause = move |piece| async move {
        tokio::time::sleep(pace).await;
        piece
    };
    pieces.then(pause).boxed()
}

/// Recorded answers, played in turn.
pub struct Recorded {
    recordings: Vec<Recording>,
    next: AtomicUsize,
    pace: Duration,
}

impl Recorded {
    /// Reads and checks the files. `pace`: between two chunks; a human pace if none is given.
    pub fn open(files: &[PathBuf], pace: Option<Duration>) -> Result<Self, RecordingError> {
        let open = |file: &PathBuf| Recording::open(Path::new(file));
        let recordings = files.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { recordings, next: AtomicUsize::new(0), pace: pace.unwrap_or(HUMAN_PACE) })
    }
}

#[async_trait::async_trait]
impl Model for Recorded {
    fn name<'a>(&'a self, _run: &'a Run) -> &'a str {
        "recording"
    }

    async fn answer(&self, job: &dyn Job) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.recordings.len();
        let pieces: Vec<Vec<Said>> = self.recordings[at].play().map(said).collect();
        play(job, paced(pieces.into_iter(), self.pace)).await;
    }
}

/// The built-in generator: a text of our own, offline.
pub struct Generator {
    pace: Duration,
}

impl Generator {
    /// `pace`: between two words; a human pace if none is given.
    pub fn new(pace: Option<Duration>) -> Self {
        Self { pace: pace.unwrap_or(HUMAN_PACE) }
    }
}

#[async_trait::async_trait]
impl Model for Generator {
    fn name<'a>(&'a self, _run: &'a Run) -> &'a str {
        "scribe"
    }

    async fn answer(&self, job: &dyn Job) {
        let Ok(view) = job.look().await else {
            job.say(vec![unreadable()]).await;
            return;
        };
        let parts = view.messages.get(&job.run().prompt).map(|message| message.parts.as_slice()).unwrap_or_default();
        let prompt: String = parts.iter().filter_map(|part| part.stream()).collect();
        play(job, paced(Scribe::new(&prompt).map(|event| said(vec![event])), self.pace)).await;
    }
}

/// The end of an attempt that doesn't know what to answer.
pub(super) fn unreadable() -> Said {
    failed("session_unreadable", "The session could not be read.")
}
