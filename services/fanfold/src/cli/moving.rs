//! `export`, `import`, `backup`, `restore`: sessions out of a log and a store, and into another one.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fanfold_log::OpenError;
use serde::Serialize;
use tokio::io::BufWriter;

use super::{Output, REFUSED, Where};
use crate::clock;
use crate::config::{Config, LogBackend};
use crate::moving::{self, Checked, Imported, Source, Summary, Taken, Wanted};

/// Between two lines that tell how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Which sessions, as `session` or `tenant/session`.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    sessions: Vec<String>,
    /// Every session of every tenant.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Where,
}

/// Options of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// What `export` wrote.
    file: PathBuf,
    #[command(flatten)]
    place: Where,
}

/// Options of `backup` and `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The folder of the backup.
    folder: PathBuf,
    #[command(flatten)]
    place: Where,
}

/// What a file holds.
#[derive(Debug, Serialize)]
struct Written {
    sessions: u64,
    records: u64,
    left_out: Vec<String>,
}

impl Written {
    /// Everything that was asked for is in it.
    fn code(&self) -> ExitCode {
        match self.left_out.iter().all(|left| left.ends_with(moving::ERASED)) {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(REFUSED),
        }
    }

    fn text(&self) -> String {
        let left_out = self.left_out.iter().map(|left| format!("\nleft out  {left}")).collect::<String>();
        format!("{} sessions, {} records{left_out}", self.sessions, self.records)
    }
}

impl From<Summary> for Written {
    fn from(summary: Summary) -> Self {
        let Summary { sessions, records, left_out, .. } = summary;
        Self { sessions, records, left_out }
    }
}

impl From<Checked> for Written {
    fn from(checked: Checked) -> Self {
        let left_out = checked.left_out.iter().map(|(session, why)| format!("{session}: {why}")).collect();
        Self { sessions: checked.sessions, records: checked.records, left_out }
    }
}

/// Tells on standard error how far it is, now and then.
struct Progress {
    output: Output,
    told_at: Instant,
}

impl Progress {
    fn new(output: Output) -> Self {
        Self { output, told_at: now() }
    }

    fn tell(&mut self, value: impl Serialize, text: impl FnOnce() -> String) {
        if self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        self.told_at = now();
        match self.output {
            Output::Text => eprintln!("# {}", text()),
            Output::Json => eprintln!("{}", serde_json::to_string(&value).unwrap_or_default()),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how long a command line has been silent is nobody's state")]
fn now() -> Instant {
    Instant::now()
}

pub(super) async fn export(output: Output, export: Export) -> anyhow::Result<ExitCode> {
    let config = export.place.load()?;
    let stdout = std::io::stdout();
    anyhow::ensure!(!stdout.is_terminal(), "the export goes to standard output, which is a terminal: write it into a file");
    let file = File::from(stdout.as_fd().try_clone_to_owned()?);
    let wanted = if export.all { Wanted::All } else { Wanted::These(export.sessions) };
    let written = write(output, &config, &wanted, file).await?;
    // Standard output is the file.
    match output {
        Output::Text => eprintln!("# {}", written.text()),
        Output::Json => eprintln!("{}", serde_json::to_string(&written)?),
    }
    Ok(written.code())
}

pub(super) async fn backup(output: Output, backup: Backup) -> anyhow::Result<ExitCode> {
    let config = backup.place.load()?;
    let began_at_ms = clock::now_ms();
    let file = moving::create(&backup.folder)?;
    write(output, &config, &Wanted::Backup, file).await?;
    let manifest = moving::write_manifest(&backup.folder, began_at_ms)?;
    let written = Written { sessions: manifest.sessions, records: manifest.records, left_out: manifest.left_out.clone() };
    output.line(&manifest, || written.text())?;
    Ok(written.code())
}

/// Of a node's servers or folder; where a node has the folder open, it is asked.
async fn write(output: Output, config: &Config, wanted: &Wanted, file: File) -> anyhow::Result<Written> {
    let mut progress = Progress::new(output);
    let source = match Source::open(config).await {
        Ok(source) => source,
        Err(error) if is_busy(&error) && config.log.backend == LogBackend::Embedded => {
            let (mut sessions, data) = (0, config.node.data.clone());
            let each = move |_: &_, _| {
                sessions += 1;
                progress.tell(serde_json::json!({ "sessions": sessions }), || format!("{sessions} sessions"));
            };
            let exported = moving::export_from_node(&data, wanted, file, each).await?;
            return exported
                .map(Into::into)
                .with_context(|| format!("{} is in use, and by no node that can be asked: stop what uses it", data.display()));
        }
        Err(error) => return Err(error),
    };
    let exporter = source.exporter(config).await?;
    let mut out = BufWriter::new(tokio::fs::File::from_std(file));
    let told = |summary: &Summary| {
        progress.tell(summary, || format!("{} of {} sessions, {} records", summary.sessions, summary.of, summary.records));
    };
    let summary = exporter.export(wanted, &mut out, told).await?;
    source.log.close().await;
    Ok(summary.into())
}

fn is_busy(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Busy))
}

pub(super) async fn import(output: Output, import: Import) -> anyhow::Result<ExitCode> {
    let config = import.place.load()?;
    moving::verify_file(&import.file)?;
    let source = Source::open_or_make(&config).await?;
    let mut progress = Progress::new(output);
    let imported =
        moving::import(source, &config, &import.file, Taken::Sessions, |done, of| tell(&mut progress, done, of)).await?;
    output.line(&imported, || text(&imported))?;
    Ok(if imported.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn tell(progress: &mut Progress, done: &Imported, of: u64) {
    progress.tell(done, || format!("{} of {of} sessions", done.sessions));
}

fn text(imported: &Imported) -> String {
    let Imported { imported, already, refused, records, .. } = imported;
    let refused = refused.iter().map(|why| format!("\nrefused   {why}")).collect::<String>();
    format!("{imported} sessions came in with {records} records, {already} were there{refused}")
}

#[derive(Serialize)]
struct Restored {
    epoch: String,
    #[serde(flatten)]
    imported: Imported,
}

pub(super) async fn restore(output: Output, restore: Backup) -> anyhow::Result<ExitCode> {
    let config = restore.place.load()?;
    let mut progress = Progress::new(output);
    let restored = moving::restore(Path::new(&restore.folder), &config, |done, of| tell(&mut progress, done, of)).await;
    let (imported, epoch) = restored?;
    let restored = Restored { epoch: epoch.to_string(), imported };
    output.line(&restored, || format!("epoch {}\n{}", restored.epoch, text(&restored.imported)))?;
    Ok(ExitCode::SUCCESS)
}
