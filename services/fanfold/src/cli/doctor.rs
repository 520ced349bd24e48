//! `doctor`: what of the servers behind a node is missing or dangerous.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fanfold_log::jetstream::{self, Severity, ShardReport};
use fanfold_store::ScyllaStore;
use serde::Serialize;

use super::Output;
use crate::backend::queue_config;
use crate::clock;
use crate::config::{Config, LogBackend};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The configuration file; without one, the defaults and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A user of NATS' system account, whom servers tell whether they sync what they acknowledge.
    #[arg(long, value_name = "NAME", requires = "nats_system_password_file", conflicts_with = "nats_system_creds_file")]
    nats_system_user: Option<String>,
    /// The file with that user's password.
    #[arg(long, value_name = "FILE", requires = "nats_system_user")]
    nats_system_password_file: Option<PathBuf>,
    /// Instead, a file with such a user's JWT and seed.
    #[arg(long, value_name = "FILE")]
    nats_system_creds_file: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Line {
    part: &'static str,
    /// `ok`, `note`, `danger` or `broken`.
    severity: &'static str,
    what: String,
}

/// Prints what it finds. Fails if something is dangerous or broken, so that a deployment can wait for it.
pub(super) async fn doctor(output: Output, options: Doctor) -> anyhow::Result<ExitCode> {
    let config = Config::load(options.config.as_deref())?;
    config.check()?;
    let lines = match config.log.backend {
        LogBackend::Embedded => vec![ok("node", "log and store are embedded: what matters is the disk of this machine".into())],
        LogBackend::Jetstream => {
            let (mut lines, shards) = log(&config, &options).await?;
            lines.extend(queue(&config).await?);
            lines.extend(store(&config).await?);
            lines.extend(epochs(&config, &shards).await);
            lines
        }
    };
    for line in &lines {
        output.line(line, || format!("{}\t{}\t{}", line.part, line.severity, line.what))?;
    }
    let bad = lines.iter().any(|line| ["danger", "broken"].contains(&line.severity));
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn ok(part: &'static str, what: String) -> Line {
    Line { part, severity: "ok", what }
}

async fn log(config: &Config, options: &Doctor) -> anyhow::Result<(Vec<Line>, Vec<ShardReport>)> {
    let mut system = config.log.jetstream.nats.clone();
    (system.nkey_seed_file, system.jwt_file) = (None, None);
    system.creds_file.clone_from(&options.nats_system_creds_file);
    system.user.clone_from(&options.nats_system_user);
    system.password_file.clone_from(&options.nats_system_password_file);
    let is_told = system.creds_file.is_some() || system.user.is_some();
    let report = jetstream::inspect(&config.log.jetstream, is_told.then_some(&system), clock::now_ms).await;
    let report = report.context("the log can't be inspected")?;
    let servers = report.servers.iter().map(|server| {
        let synced =
            if server.sync_always { "before it acknowledges".into() } else { format!("every {:?}", server.sync_interval) };
        ok("log", format!("server {}: {}, syncs {synced}", server.name, server.version))
    });
    let shards = report.shards.iter().map(|shard| {
        let leader = shard.leader.as_deref().unwrap_or("a server of its own");
        let ShardReport { stream, records, bytes, first, last, unarchived, .. } = shard;
        ok(
            "log",
            format!("{stream}: {records} records, {bytes} bytes, {first} to {last}, {unarchived} to archive, led by {leader}"),
        )
    });
    let findings = report.findings.iter().map(|finding| {
        let severity = match finding.severity() {
            Severity::Note => "note",
            Severity::Dangerous => "danger",
            Severity::Broken => "broken",
        };
        Line { part: "log", severity, what: finding.to_string() }
    });
    Ok((servers.chain(shards).chain(findings).collect(), report.shards))
}

async fn queue(config: &Config) -> anyhow::Result<Vec<Line>> {
    let report = fanfold_runs::jetstream::inspect(&queue_config(config)).await.context("the run queue can't be inspected")?;
    let state = ok("queue", format!("{} runs wait or are worked on, {} were given up", report.hints, report.letters));
    let findings = report.findings.iter().map(|finding| {
        let severity = if finding.is_broken() { "broken" } else { "danger" };
        Line { part: "queue", severity, what: finding.to_string() }
    });
    Ok(std::iter::once(state).chain(findings).collect())
}

async fn store(config: &Config) -> anyhow::Result<Vec<Line>> {
    let report = ScyllaStore::doctor(&config.store.scylla, clock::now_ms).await.context("the store can't be inspected")?;
    let servers = report.servers.iter().map(|server| {
        let version = server.version.as_deref().unwrap_or("does not answer");
        let place = [&server.datacenter, &server.rack].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/");
        ok("store", format!("{} {place}: {version}", server.address))
    });
    let findings = report.findings.iter().map(|finding| {
        let severity = if finding.is_danger { "danger" } else { "note" };
        Line { part: "store", severity, what: finding.what.clone() }
    });
    Ok(servers.chain(findings).collect())
}

/// Whether log and store belong together: a node whose store knows another epoch doesn't start.
async fn epochs(config: &Config, shards: &[ShardReport]) -> Vec<Line> {
    // One that is missing was found missing, and the others can't be told by their place.
    if u32::try_from(shards.len()) != Ok(config.log.jetstream.shards) {
        return Vec::new();
    }
    // What keeps it from opening is among what was found.
    let Ok(store) = ScyllaStore::open(&config.store.scylla).await else { return Vec::new() };
    let mut lines = Vec::new();
    for (number, ShardReport { stream, epoch, .. }) in (0..).zip(shards) {
        let what = match store.epochs(number).await {
            Ok(known) if known.first().is_some_and(|known| known.epoch == *epoch) => continue,
            Ok(known) => match known.first() {
                Some(known) => format!("{stream} has epoch {epoch}, the store knows {}: run `fanfold epoch new`", known.epoch),
                None => format!("the store knows no epoch of {stream}: run `fanfold migrate`"),
            },
            Err(error) => format!("the store can't be asked for the epoch of {stream}: {error}"),
        };
        lines.push(Line { part: "epoch", severity: "broken", what });
    }
    lines
}
