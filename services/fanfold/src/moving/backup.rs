//! A backup is a folder: one file with everything, and a manifest that comes last and vouches for it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fanfold_fold::{Epoch, Offset};
use fanfold_log::{EmbeddedLog, jetstream};
use fanfold_store::{LogEpoch, NoteKind, ScyllaStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::check::verify;
use super::import::{Imported, Taken, import};
use super::source::{Source, ensure_stopped};
use crate::backend;
use crate::clock;
use crate::config::{Config, LogBackend};

/// What the manifest is called.
const MANIFEST: &str = "manifest.json";

/// What the file with everything is called.
const SESSIONS: &str = "sessions.fanfold";

/// The version of the folder.
const FORMAT: u32 = 1;

/// What a backup holds, and what its file must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// The release that made it.
    made_by: String,
    /// What was acknowledged before this, by the clock of whoever made it, is in it.
    pub(crate) began_at_ms: u64,
    ended_at_ms: u64,
    file: String,
    bytes: u64,
    sha256: String,
    pub(crate) sessions: u64,
    pub(crate) records: u64,
    /// The highest offset in it.
    last: u64,
    /// Sessions that could not be read, and why.
    pub(crate) left_out: Vec<String>,
}

/// A backup can't be put back. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error("{0} is no backup, or one that was cut short: it has no manifest")]
    NoManifest(PathBuf),
    #[error("{0} is damaged")]
    Manifest(PathBuf, #[source] serde_json::Error),
    #[error("the backup has format {0}, this build reads {FORMAT}")]
    Newer(u32),
    #[error("{file} has {found} bytes, not {bytes}")]
    Size { file: PathBuf, found: u64, bytes: u64 },
    #[error("{0} isn't what its manifest says: its checksum differs")]
    Checksum(PathBuf),
    #[error("{0} is not empty: a backup is put back into nothing only")]
    NotEmpty(String),
}

/// Where a backup's file goes: into a folder that is new or empty.
pub(crate) fn create(folder: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let is_empty = std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?.next().is_none();
    anyhow::ensure!(is_empty, "{} is not empty", folder.display());
    Ok(File::create_new(folder.join(SESSIONS))?)
}

/// Reads what was written, and vouches for it. From here on the folder is a backup.
pub(crate) fn write_manifest(folder: &Path, began_at_ms: u64) -> anyhow::Result<Manifest> {
    let path = folder.join(SESSIONS);
    File::open(&path)?.sync_all()?;
    let checked = verify(&path, |_, _| {}).context("what was written can't be read")?;
    let (bytes, sha256) = digest(&path)?;
    let manifest = Manifest {
        format: FORMAT,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        began_at_ms,
        ended_at_ms: clock::now_ms(),
        file: SESSIONS.to_owned(),
        bytes,
        sha256,
        sessions: checked.sessions,
        records: checked.records,
        last: checked.last.0,
        left_out: checked.left_out.iter().map(|(session, why)| format!("{session}: {why}")).collect(),
    };
    let aside = folder.join("manifest.new");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, folder.join(MANIFEST))?;
    File::open(folder)?.sync_all()?;
    Ok(manifest)
}

/// A backup that is whole, with its file.
pub(crate) fn read_manifest(folder: &Path) -> anyhow::Result<(Manifest, PathBuf)> {
    let path = folder.join(MANIFEST);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(RestoreError::NoManifest(folder.to_owned()).into());
        }
        Err(error) => return Err(error.into()),
    };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| RestoreError::Manifest(path, error))?;
    if manifest.format != FORMAT {
        return Err(RestoreError::Newer(manifest.format).into());
    }
    let file = folder.join(SESSIONS);
    let (found, sha256) = digest(&file).with_context(|| format!("{} can't be read", file.display()))?;
    if found != manifest.bytes {
        return Err(RestoreError::Size { file, found, bytes: manifest.bytes }.into());
    }
    if sha256 != manifest.sha256 {
        return Err(RestoreError::Checksum(file).into());
    }
    let checked = verify(&file, |_, _| {})?;
    let says = (manifest.sessions, manifest.records, manifest.last);
    if says != (checked.sessions, checked.records, checked.last.0) {
        return Err(RestoreError::Checksum(file).into());
    }
    Ok((manifest, file))
}

fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            got => {
                bytes += got as u64;
                hash.update(&buffer[..got]);
            }
        }
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, hex))
}

/// Puts a whole backup back into nothing, in an epoch of its own. Says which one that is.
pub(crate) async fn restore(
    folder: &Path,
    config: &Config,
    told: impl FnMut(&Imported, u64),
) -> anyhow::Result<(Imported, Epoch)> {
    let (manifest, file) = read_manifest(folder)?;
    let above = Offset(manifest.last);
    match config.log.backend {
        LogBackend::Embedded => embedded(&file, above, config, told).await,
        LogBackend::Jetstream => shared(&file, above, config, told).await,
    }
}

/// Under another name until all of it is there.
async fn embedded(
    file: &Path,
    above: Offset,
    config: &Config,
    told: impl FnMut(&Imported, u64),
) -> anyhow::Result<(Imported, Epoch)> {
    let data = &config.node.data;
    if std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RestoreError::NotEmpty(data.display().to_string()).into());
    }
    let name = data.file_name().with_context(|| format!("{} can't be made", data.display()))?.to_string_lossy();
    let aside = data.with_file_name(format!("{name}.restoring"));
    // What an interrupted restore has left. It was never served.
    if aside.try_exists()? {
        std::fs::remove_dir_all(&aside)?;
    }
    let mut config = config.clone();
    config.node.data.clone_from(&aside);
    let begun = EmbeddedLog::new_epoch(&backend::embedded_log(&config), above).context("no new epoch was begun")?;
    let source = Source::open_or_make(&config).await?;
    let log = source.log.clone();
    let imported = import(source, &config, file, Taken::Everything, told).await?;
    log.close().await;
    if data.try_exists()? {
        // A mount point can't be replaced: a folder within it can.
        std::fs::remove_dir(data)
            .with_context(|| format!("{} can't be replaced: name a folder that isn't there", data.display()))?;
    }
    std::fs::rename(&aside, data)?;
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok((imported, begun.epoch))
}

async fn shared(
    file: &Path,
    above: Offset,
    config: &Config,
    told: impl FnMut(&Imported, u64),
) -> anyhow::Result<(Imported, Epoch)> {
    backend::migrate(config).await?;
    let store = ScyllaStore::open(&config.store.scylla).await.context("the store does not open")?;
    let log = fanfold_log::JetStreamLog::open(&config.log.jetstream).await.context("the log does not open")?;
    ensure_empty(&log, &store).await?;
    ensure_stopped(&log).await?;
    let epoch = begin_epoch(config, &store, above).await?;
    let source = Source::open(config).await?;
    Ok((import(source, config, file, Taken::Everything, told).await?, epoch))
}

async fn ensure_empty(log: &impl fanfold_log::Inventory, store: &impl backend::Store) -> anyhow::Result<()> {
    if !log.sessions().await.context("the log can't be read")?.is_empty() {
        return Err(RestoreError::NotEmpty("the log".to_owned()).into());
    }
    let has_notes = |kind| async move { Ok::<_, fanfold_store::StoreError>(!store.notes(kind, None, 1).await?.is_empty()) };
    let has_sessions = !store.sessions(None, 1).await?.is_empty();
    if has_sessions || has_notes(NoteKind::Hook).await? || has_notes(NoteKind::Usage).await? {
        return Err(RestoreError::NotEmpty("the store".to_owned()).into());
    }
    Ok(())
}

/// A new epoch of all shards, in log and store. Nodes are started afterwards.
pub(crate) async fn begin_epoch(config: &Config, store: &ScyllaStore, above: Offset) -> anyhow::Result<Epoch> {
    let begun = jetstream::new_epoch(&config.log.jetstream, above).await.context("no new epoch was begun")?;
    for (shard, first) in (0..).zip(begun.first) {
        let epoch = LogEpoch { shard, epoch: begun.epoch, first, begun_at_ms: clock::now_ms() };
        store.put_epoch(&epoch).await.context("the store doesn't take the log's epoch: run it again")?;
    }
    Ok(begun.epoch)
}
