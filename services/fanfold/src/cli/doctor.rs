//! `doctor`: what of the servers behind a node is missing or dangerous.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fanfold_log::jetstream::{self, Severity};
use fanfold_store::ScyllaStore;
use serde::Serialize;

use super::Output;
use crate::clock;
use crate::config::{Config, LogBackend};

/// One thing that was looked at.
#[derive(Serialize)]
struct Line {
    part: &'static str,
    /// `ok`, `note`, `danger` or `broken`.
    severity: &'static str,
    what: String,
}

/// Prints what it finds. Fails if something is dangerous or broken, so that a deployment can wait for it.
pub(super) async fn doctor(output: Output, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = Config::load(config.as_deref())?;
    config.check()?;
    let lines = match config.log.backend {
        LogBackend::Embedded => vec![ok("node", "log and store are embedded: what matters is the disk of this machine".into())],
        LogBackend::Jetstream => {
            let mut lines = log(&config).await?;
            lines.extend(store(&config).await?);
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

async fn log(config: &Config) -> anyhow::Result<Vec<Line>> {
    let report = jetstream::inspect(&config.log.jetstream, None).await.context("the log can't be inspected")?;
    let shards = report.shards.iter().map(|shard| {
        let leader = shard.leader.as_deref().unwrap_or("a server of its own");
        let (stream, records, bytes) = (&shard.stream, shard.records, shard.bytes);
        ok("log", format!("{stream}: {records} records, {bytes} bytes, {} to {}, led by {leader}", shard.first, shard.last))
    });
    let findings = report.findings.iter().map(|finding| {
        let severity = match finding.severity() {
            Severity::Note => "note",
            Severity::Dangerous => "danger",
            Severity::Broken => "broken",
        };
        Line { part: "log", severity, what: finding.to_string() }
    });
    Ok(shards.chain(findings).collect())
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
