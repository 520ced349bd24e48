//! What is said of servers and streams that are not as they should be; and who may connect how.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info};
use fanfold_fold::Offset;
use fanfold_log::JetStreamLogConfig;
use fanfold_log::jetstream::{Finding, Report, Severity, inspect, migrate};
use fanfold_nats::testing::{Cluster, LIMITS, Server};
use fanfold_nats::{ConnectError, Nats, NatsOptions};

/// Users as operators would make them: the node can't forge records, the system can be asked.
const ACCOUNTS: &str = r#"
accounts {
  SYS { users: [{ user: system, password: "s" }] }
  FANFOLD {
    jetstream: enabled
    users: [
      { user: node, password: "n", permissions: { publish: { deny: ["*.live.>"] } } }
      { user: careless, password: "c" }
    ]
  }
}
system_account: SYS
"#;

struct Users {
    server: Server,
    folder: tempfile::TempDir,
}

impl Users {
    fn start(what: &str) -> Option<Self> {
        Some(Self { server: Server::start(what, ACCOUNTS)?, folder: tempfile::tempdir().unwrap() })
    }

    fn be(&self, user: &str, password: &str) -> NatsOptions {
        let file = self.folder.path().join(user);
        std::fs::write(&file, format!("{password}\n")).unwrap();
        NatsOptions { user: Some(user.into()), password_file: Some(file), ..self.server.options() }
    }
}

fn has(report: &Report, finding: impl Fn(&Finding) -> bool) -> bool {
    report.findings.iter().any(finding)
}

#[tokio::test]
async fn a_sound_server_has_nothing_dangerous_but_its_being_alone() {
    let Some(users) = Users::start("the report of a sound server") else { return };
    let config = support::config(users.be("node", "n"), 1);
    let report = inspect(&config, None).await.unwrap();
    assert_eq!(report.findings.iter().filter(|finding| finding.severity() == Severity::Broken).count(), 2, "both are missing");
    let epochs = migrate(&config, Offset::NONE).await.unwrap().epochs;
    let report = inspect(&config, Some(&users.be("system", "s"))).await.unwrap();
    assert_eq!(report.findings, [Finding::FewReplicas { replicas: 1 }]);
    assert_eq!(report.servers.len(), 1);
    assert!(report.servers[0].sync_always && report.servers[0].version.starts_with("2."), "{report:?}");
    assert_eq!(report.shards.iter().map(|shard| shard.epoch).collect::<Vec<_>>(), epochs);
    let report = inspect(&config, None).await.unwrap();
    assert!(has(&report, |finding| *finding == Finding::SyncUnknown), "{report:?}");
}

#[tokio::test]
async fn what_is_dangerous_is_said() {
    let Some(users) = Users::start("the report of a careless server") else { return };
    let config = support::config(users.be("careless", "c"), 1);
    migrate(&config, Offset::NONE).await.unwrap();
    let nats = Nats::connect(&config.nats, LIMITS).await.unwrap();
    let stream = format!("{}-log-0", config.prefix);
    let found = nats.api::<Info>(&format!("STREAM.INFO.{stream}"), &()).await.unwrap().config;
    let careless = Config { discard: DiscardPolicy::Old, max_age: std::time::Duration::from_secs(3600), ..found };
    nats.api::<Info>(&format!("STREAM.UPDATE.{stream}"), &careless).await.unwrap();
    let configured = JetStreamLogConfig { replicas: 3, ..config.clone() };
    let report = inspect(&configured, Some(&users.be("node", "n"))).await.unwrap();
    let forgets = report.findings.iter().filter(|finding| matches!(finding, Finding::Forgets { .. })).count();
    assert_eq!(forgets, 2, "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::MayForge { .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::Replicas { found: 1, wanted: 3, .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::OutOfDate { .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::Unasked { what, .. } if what == "servers")), "not the system's");
    assert!(report.findings.is_sorted_by_key(|finding| std::cmp::Reverse(finding.severity())), "the worst first");
    // And migrating mends what it can.
    migrate(&config, Offset::NONE).await.unwrap();
    let report = inspect(&config, None).await.unwrap();
    assert!(!has(&report, |finding| matches!(finding, Finding::Forgets { .. })), "{report:?}");
}

#[tokio::test]
async fn a_server_of_a_cluster_that_is_gone_is_named() {
    let Some(mut cluster) = Cluster::start("the report of a cluster").await else { return };
    let config = support::config(cluster.options(), 3);
    migrate(&config, Offset::NONE).await.unwrap();
    let report = inspect(&config, None).await.unwrap();
    assert!(!has(&report, |finding| matches!(finding, Finding::Behind { .. } | Finding::FewReplicas { .. })), "{report:?}");
    assert!(report.shards.iter().all(|shard| shard.leader.is_some() && shard.replicas == 3), "{report:?}");
    cluster.servers[2].kill();
    let named = async {
        loop {
            let report = inspect(&config, None).await.unwrap();
            if has(&report, |finding| matches!(finding, Finding::Behind { server, .. } if *server == "three")) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), named).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    let Some(users) = Users::start("a wrong password") else { return };
    let refused = Nats::connect(&users.be("node", "wrong"), LIMITS).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "{refused:?}");
    let refused = Nats::connect(&users.server.options(), LIMITS).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "{refused:?}");
}
