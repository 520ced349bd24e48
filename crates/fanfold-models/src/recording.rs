//! Recorded streams, checked when they are opened, so that playing them can't fail.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{ChunkError, DialectName, ModelEvent};

/// Bytes of a recording's file. A bigger one is refused before it is read.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of one line, hence of one chunk. A recording with a longer one is refused.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// A stream as it once came, to be played any number of times.
///
/// The file has one chunk of JSON per line, or is a stream of server-sent events as it came over the wire: the prefix `data:`,
/// other fields, comments, blank lines and `[DONE]` are tolerated. It may hold several responses after one another; between
/// them stands [`ModelEvent::StepFinished`]. One that breaks off is fine and plays to [`ModelEvent::Failed`].
#[derive(Debug, Clone)]
pub struct Recording {
    path: PathBuf,
    dialect: DialectName,
    chunks: Vec<Vec<ModelEvent>>,
    ignored: u64,
}

/// Why a recording can't be played. Each names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file can't be read.
    #[error("{}: can't be read", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("{}: longer than {FILE_BYTES_MAX} bytes", path.display())]
    FileTooLong {
        /// Which file.
        path: PathBuf,
    },
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("{}:{line}: line longer than {LINE_BYTES_MAX} bytes", path.display())]
    LineTooLong {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A line is no text.
    #[error("{}:{line}: not UTF-8", path.display())]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A line is no JSON, or cut off.
    #[error("{}:{line}: not JSON: {reason}", path.display())]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong, and at which column. Part of the sentence, hence no source.
        reason: serde_json::Error,
    },
    /// A line is JSON and can't be read as a chunk.
    #[error("{}:{line}: broken chunk", path.display())]
    Chunk {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: ChunkError,
    },
    /// It is JSON, but of no dialect known here.
    #[error(
        "{}:{line}: unknown format: neither chat completions nor responses nor messages",
        path.display()
    )]
    UnknownFormat {
        /// Which file.
        path: PathBuf,
        /// The first line with a chunk, from 1.
        line: usize,
    },
    /// A line is of another dialect than those before it.
    #[error("{}:{line}: {found} in a recording of {dialect}", path.display())]
    Mixed {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The file's dialect.
        dialect: DialectName,
        /// The line's.
        found: DialectName,
    },
    /// There is no chunk in it.
    #[error("{}: no chunk in it", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Recording {
    /// Reads a file and plays it once, to be sure of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|source| RecordingError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// The same for content that is in memory; `path` only names it in errors.
    pub fn parse(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<Self, RecordingError> {
        let path = path.into();
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(RecordingError::FileTooLong { path });
        }
        let lines = lines(&path, bytes)?;
        let dialect = detect(&path, &lines)?;
        let mut parser = dialect.parser();
        let mut chunks = Vec::new();
        for line in &lines {
            if let Some(found) = line.dialect.filter(|found| *found != dialect) {
                return Err(RecordingError::Mixed { path, line: line.number, dialect, found });
            }
            let mut said = Vec::new();
            parser.chunk(line.json, &mut said).map_err(|error| broken(&path, line.number, error))?;
            chunks.push(said);
        }
        let mut said = Vec::new();
        parser.end(&mut said);
        chunks.push(said);
        chunks.retain(|said| !said.is_empty());
        let ignored = parser.ignored();
        tracing::debug!(path = %path.display(), %dialect, lines = lines.len(), ignored, "recording read");
        Ok(Self { path, dialect, chunks, ignored })
    }

    /// What the model says, chunk by chunk as it came, so that a player can pace it. Chunks that say nothing are left out; the
    /// last piece is the one with the terminal event.
    pub fn play(&self) -> impl Iterator<Item = Vec<ModelEvent>> {
        self.chunks.iter().cloned()
    }

    /// Where it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// In which dialect it is.
    pub fn dialect(&self) -> DialectName {
        self.dialect
    }

    /// Events in it that were passed over because their kind is not known.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// A line with a chunk in it.
struct Line<'a> {
    /// From 1, as editors count.
    number: usize,
    json: &'a str,
    dialect: Option<DialectName>,
}

fn lines<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<Line<'a>>, RecordingError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut lines = Vec::new();
    for (bytes, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(RecordingError::LineTooLong { path: path.to_owned(), line: number });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RecordingError::NotUtf8 { path: path.to_owned(), line: number })?;
        let json = payload(text);
        if !json.is_empty() {
            lines.push(Line { number, json, dialect: serde_json::from_str(json).ok().as_ref().and_then(DialectName::detect) });
        }
    }
    Ok(lines)
}

/// The chunk in a line; empty if the line is only part of the transport.
fn payload(line: &str) -> &str {
    let line = line.trim();
    let json = line.strip_prefix("data:").map_or(line, str::trim);
    let transport = ["event:", "id:", "retry:", ":"].iter().any(|field| json.starts_with(field));
    if transport || json == "[DONE]" { "" } else { json }
}

fn detect(path: &Path, lines: &[Line<'_>]) -> Result<DialectName, RecordingError> {
    let Some(first) = lines.first() else { return Err(RecordingError::Empty { path: path.to_owned() }) };
    if let Some(dialect) = lines.iter().find_map(|line| line.dialect) {
        return Ok(dialect);
    }
    let chunk: Value =
        serde_json::from_str(first.json).map_err(|error| broken(path, first.number, ChunkError::NotJson(error)))?;
    if !chunk.is_object() {
        return Err(broken(path, first.number, ChunkError::NotObject));
    }
    DialectName::guess_error(&chunk).ok_or_else(|| RecordingError::UnknownFormat { path: path.to_owned(), line: first.number })
}

fn broken(path: &Path, line: usize, error: ChunkError) -> RecordingError {
    let path = path.to_owned();
    match error {
        ChunkError::NotJson(reason) => RecordingError::NotJson { path, line, reason },
        source @ (ChunkError::NotObject | ChunkError::HalfCharacter | ChunkError::TooMany { .. }) => {
            RecordingError::Chunk { path, line, source }
        }
    }
}
