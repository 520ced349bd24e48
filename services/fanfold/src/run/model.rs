//! What answers a run: a recorded stream, or the built-in generator, at a pace.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use fanfold_fold::{Run, Said, View};
use fanfold_models::{Recording, RecordingError, Scribe};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::config::RunConfig;
use crate::run::said::said;

/// How fast a person reads along.
const HUMAN_PACE: Duration = Duration::from_millis(30);

/// An answer as it comes, piece by piece. The last piece holds the terminal event; a stream that ends without one has failed.
pub type Answer = BoxStream<'static, Vec<Said>>;

/// Something that answers.
pub trait Model: Send + Sync + 'static {
    /// Its name, as the run shows it.
    fn name(&self) -> &str;

    /// Begins to answer a run of a session. Dropping the answer ends the work on it.
    fn answer(&self, view: &View, run: &Run) -> Answer;
}

/// The model that the configuration names.
pub fn open(config: &RunConfig) -> anyhow::Result<Arc<dyn Model>> {
    let pace = config.model_pace_ms.map(Duration::from_millis);
    if config.model_recordings.is_empty() {
        return Ok(Arc::new(Generator::new(pace)));
    }
    Ok(Arc::new(Recorded::open(&config.model_recordings, pace).context("the recording can't be played")?))
}

/// The same pieces with a pause before each.
fn paced(pieces: impl Iterator<Item = Vec<Said>> + Send + 'static, pace: Duration) -> Answer {
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

impl Model for Recorded {
    fn name(&self) -> &str {
        "recording"
    }

    fn answer(&self, _view: &View, _run: &Run) -> Answer {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.recordings.len();
        let pieces: Vec<Vec<Said>> = self.recordings[at].play().map(said).collect();
        paced(pieces.into_iter(), self.pace)
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

impl Model for Generator {
    fn name(&self) -> &str {
        "scribe"
    }

    fn answer(&self, view: &View, run: &Run) -> Answer {
        let parts = view.messages.get(&run.prompt).map(|message| message.parts.as_slice()).unwrap_or_default();
        let prompt: String = parts.iter().filter_map(|part| part.stream()).collect();
        paced(Scribe::new(&prompt).map(|event| said(vec![event])), self.pace)
    }
}
