//! What answers a run: a recorded stream, or the built-in generator, at a pace.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfold_fold::Said;
use fanfold_models::{Recording, RecordingError, Scribe};

use crate::run::said::said;

/// Pieces of an answer that are appended together when there is no pace.
const UNPACED_PIECES: usize = 16;

/// How fast a person reads along.
const HUMAN_PACE: Duration = Duration::from_millis(30);

/// Something that answers.
pub trait Model: Send + Sync + 'static {
    /// Its name, as the run shows it.
    fn name(&self) -> &str;

    /// Begins to answer.
    fn answer(&self, prompt: &str) -> Answer;
}

/// An answer as it comes.
pub struct Answer {
    pieces: Box<dyn Iterator<Item = Vec<Said>> + Send>,
    pace: Duration,
}

impl Answer {
    /// The next piece, when its time has come.
    pub async fn next(&mut self) -> Option<Vec<Said>> {
        if self.pace.is_zero() {
            let pieces: Vec<Vec<Said>> = self.pieces.by_ref().take(UNPACED_PIECES).collect();
            return (!pieces.is_empty()).then(|| pieces.concat());
        }
        let piece = self.pieces.next()?;
        tokio::time::sleep(self.pace).await;
        Some(piece)
    }
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

    fn answer(&self, _prompt: &str) -> Answer {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.recordings.len();
        let pieces: Vec<Vec<Said>> = self.recordings[at].play().map(said).collect();
        Answer { pieces: Box::new(pieces.into_iter()), pace: self.pace }
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

    fn answer(&self, prompt: &str) -> Answer {
        let pieces = Scribe::new(prompt).map(|event| said(vec![event]));
        Answer { pieces: Box::new(pieces), pace: self.pace }
    }
}
