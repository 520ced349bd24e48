//! What servers tell the system's account of themselves.

use std::time::Duration;

use async_nats::StatusCode;
use fanfold_nats::{Nats, VERSION_MIN};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::time::Instant;

use super::inspect::{Finding, Report, ServerReport};

/// How long more servers are waited for that may not be there.
const SILENCE: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct ToldOfServer {
    server: ToldServer,
    data: ToldData,
}

#[derive(Deserialize)]
struct ToldServer {
    name: String,
    ver: String,
}

#[derive(Deserialize, Default)]
struct ToldData {
    #[serde(default)]
    config: ToldConfig,
    meta_cluster: Option<ToldCluster>,
}

#[derive(Deserialize)]
struct ToldCluster {
    #[serde(default)]
    cluster_size: usize,
}

#[derive(Deserialize, Default)]
struct ToldConfig {
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

/// All servers answer, and each knows how many share JetStream: these are waited for, and then others for as long as some come.
pub(super) async fn inspect(system: &Nats, max: Duration, report: &mut Report) {
    let unasked = |why: String| Finding::Unasked { what: "servers".into(), why };
    let inbox = system.client().new_inbox();
    let mut answers = match system.client().subscribe(inbox.clone()).await {
        Ok(answers) => answers,
        Err(error) => return report.findings.push(unasked(error.to_string())),
    };
    let asked = system.client().publish_with_reply("$SYS.REQ.SERVER.PING.JSZ", inbox, r#"{"config":true}"#.into()).await;
    if let Err(error) = asked {
        return report.findings.push(unasked(error.to_string()));
    }
    let (begun, mut known) = (Instant::now(), 1);
    let patience = |answered: usize, known: usize| match answered < known {
        true => max.saturating_sub(begun.elapsed()).max(SILENCE),
        false => SILENCE,
    };
    while let Ok(Some(answer)) = tokio::time::timeout(patience(report.servers.len(), known), answers.next()).await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            break;
        }
        let Ok(told) = serde_json::from_slice(&answer.payload) else {
            continue;
        };
        let ToldOfServer { server: ToldServer { name, ver: version }, data } = told;
        let sync_interval = Duration::from_nanos(data.config.sync_interval);
        known = known.max(data.meta_cluster.map_or(1, |meta| meta.cluster_size));
        let server = ServerReport { name, version, sync_always: data.config.sync_always, sync_interval };
        report.findings.extend(findings(&server));
        report.servers.push(server);
    }
    if report.servers.is_empty() {
        report.findings.push(unasked("none answers to this account".into()));
    }
}

fn findings(server: &ServerReport) -> impl Iterator<Item = Finding> {
    let ServerReport { name, version, sync_always, sync_interval } = server.clone();
    let old = is_too_old(&version).then(|| Finding::Version { server: name.clone(), version });
    let unsynced = (!sync_always).then_some(Finding::Sync { server: name, interval: sync_interval });
    old.into_iter().chain(unsynced)
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<i64>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (VERSION_MIN.0, VERSION_MIN.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_loses_what_it_acknowledged_is_named() {
        let interval = Duration::from_secs(120);
        let check = |version: &str, sync_always: bool, expected: &[Finding]| {
            let server = ServerReport { name: "one".into(), version: version.into(), sync_always, sync_interval: interval };
            assert_eq!(findings(&server).collect::<Vec<_>>(), expected, "{version}");
        };
        let old = |version: &str| Finding::Version { server: "one".into(), version: version.into() };
        check("2.12.0", true, &[]);
        check("2.15.1-RC.2", true, &[]);
        check("3.0.0", true, &[]);
        check("2.11.9", true, &[old("2.11.9")]);
        check("2.9.10", false, &[old("2.9.10"), Finding::Sync { server: "one".into(), interval }]);
    }
}
