//! What is said of servers and streams that are not as they should be; and who may connect how.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info};
use fanfold_fold::{Offset, SessionKey, TenantId};
use fanfold_log::jetstream::{Finding, Report, Severity, ShardReport, inspect, migrate};
use fanfold_log::{Consumer as _, EventLog as _, Expect, JetStreamLog, JetStreamLogConfig};
use fanfold_nats::testing::{Cluster, LIMITS, Server};
use fanfold_nats::{ConnectError, Nats, NatsOptions};
use tokio::sync::Notify;

/// For what must come.
const DEADLINE: Duration = Duration::from_secs(60);

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

/// What is shipped for users of the account, for a prefix of a test's own.
fn permissions(prefix: &str) -> String {
    include_str!("../../../deploy/nats/permissions.conf").replace("fanfold", prefix)
}

#[allow(clippy::disallowed_methods, reason = "a test's clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

struct Users {
    server: Server,
    folder: tempfile::TempDir,
}

impl Users {
    fn start(what: &str) -> Option<Self> {
        Self::start_with(what, ACCOUNTS)
    }

    fn start_with(what: &str, accounts: &str) -> Option<Self> {
        Some(Self { server: Server::start(what, accounts)?, folder: tempfile::tempdir().unwrap() })
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
    let report = inspect(&config, None, now).await.unwrap();
    assert_eq!(report.findings.iter().filter(|finding| finding.severity() == Severity::Broken).count(), 2, "both are missing");
    let epochs = migrate(&config, Offset::NONE).await.unwrap().epochs;
    let report = inspect(&config, Some(&users.be("system", "s")), now).await.unwrap();
    assert_eq!(report.findings, [Finding::FewReplicas { replicas: 1 }]);
    assert_eq!(report.servers.len(), 1);
    assert!(report.servers[0].sync_always && report.servers[0].version.starts_with("2."), "{report:?}");
    assert_eq!(report.shards.iter().map(|shard| shard.epoch).collect::<Vec<_>>(), epochs);
    let report = inspect(&config, None, now).await.unwrap();
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
    let report = inspect(&configured, Some(&users.be("node", "n")), now).await.unwrap();
    let forgets = report.findings.iter().filter(|finding| matches!(finding, Finding::Forgets { .. })).count();
    assert_eq!(forgets, 2, "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::MayForge { .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::Replicas { found: 1, wanted: 3, .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::OutOfDate { .. })), "{report:?}");
    assert!(has(&report, |finding| matches!(finding, Finding::Unasked { what, .. } if what == "servers")), "not the system's");
    assert!(report.findings.is_sorted_by_key(|finding| std::cmp::Reverse(finding.severity())), "the worst first");
    // And migrating mends what it can.
    migrate(&config, Offset::NONE).await.unwrap();
    let report = inspect(&config, None, now).await.unwrap();
    assert!(!has(&report, |finding| matches!(finding, Finding::Forgets { .. })), "{report:?}");
}

#[tokio::test]
async fn servers_and_streams_that_refuse_or_lose_records_are_named() {
    // Less than a record may have, and no word on when to sync.
    let more = format!("max_payload: 100000\n{ACCOUNTS}");
    let Some(server) = Server::start_unsynced("the report of a server as it comes", &more) else { return };
    let users = Users { server, folder: tempfile::tempdir().unwrap() };
    let config = JetStreamLogConfig { shard_bytes_max: 20_000, ..support::config(users.be("node", "n"), 1) };
    migrate(&config, Offset::NONE).await.unwrap();
    let log = JetStreamLog::open(&config).await.unwrap();
    let session = SessionKey::new(TenantId::default(), "s".parse().unwrap());
    let (stream, other) = match log.shard_of(&session) {
        0 => (format!("{}-log-0", config.prefix), format!("{}-log-1", config.prefix)),
        _ => (format!("{}-log-1", config.prefix), format!("{}-log-0", config.prefix)),
    };
    log.append(&session, vec![b'x'; 17_000].into(), Expect::Any, None).await.unwrap();
    // As after an epoch was begun by hand.
    let nats = Nats::connect(&config.nats, LIMITS).await.unwrap();
    let mut found = nats.api::<Info>(&format!("STREAM.INFO.{other}"), &()).await.unwrap().config;
    found.metadata.insert("fanfold.epoch".into(), uuid::Uuid::new_v4().to_string());
    nats.api::<Info>(&format!("STREAM.UPDATE.{other}"), &found).await.unwrap();
    let report = inspect(&config, Some(&users.be("system", "s")), now).await.unwrap();
    let full = |f: &Finding| matches!(f, Finding::Full { stream: full, percent: 80..=99 } if *full == stream);
    assert!(has(&report, full), "{report:?}");
    let unsynced = |f: &Finding| matches!(f, Finding::Sync { server, interval } if server == "one" && interval.as_secs() > 1);
    assert!(has(&report, unsynced), "{report:?}");
    assert!(has(&report, |f| matches!(f, Finding::Payload { found: 100_000, .. })), "{report:?}");
    assert!(has(&report, |f| matches!(f, Finding::Epochs)), "{report:?}");
    assert!(!has(&report, |f| matches!(f, Finding::Unusable { .. } | Finding::Version { .. })), "{report:?}");
    // A node with another number of shards would look for sessions in the wrong places.
    let report = inspect(&JetStreamLogConfig { shards: 1, ..config }, None, now).await.unwrap();
    assert!(has(&report, |f| matches!(f, Finding::Unusable { why, .. } if why.contains("2 shards"))), "{report:?}");
}

#[tokio::test]
async fn the_shipped_permissions_are_enough_and_each_of_them_is_needed() {
    let prefix = "ff";
    let shipped = permissions(prefix);
    let (node, _) = shipped.split_once("MIGRATE:").unwrap();
    let allowed: Vec<&str> = node.lines().map(str::trim).filter(|line| line.starts_with('"')).collect();
    assert!(allowed.len() > 10, "{allowed:?}");
    let lacking = |line: &str| node.replacen(line, "", 1).replacen("NODE", "", 1).trim_start().trim_start_matches(':').to_owned();
    let block = |text: &str| text[text.find("{\n  publish").unwrap()..].to_owned();
    let users: Vec<String> = allowed
        .iter()
        .enumerate()
        .map(|(number, line)| format!("{{ user: lacks{number}, password: \"x\", permissions: {} }}", block(&lacking(line))))
        .collect();
    let accounts = format!(
        "{shipped}\naccounts {{ FANFOLD {{ jetstream: enabled, users: [\n\
         {{ user: node, password: \"x\", permissions: $NODE }}\n{{ user: migrate, password: \"x\", permissions: $MIGRATE }}\n{}\n] }} }}\n",
        users.join("\n")
    );
    let Some(users) = Users::start_with("the shipped permissions", &accounts) else { return };
    let config =
        |user: &str| JetStreamLogConfig { prefix: prefix.into(), read_ms_max: 2_000, ..support::config(users.be(user, "x"), 1) };
    migrate(&config("migrate"), Offset::NONE).await.unwrap();
    let log = JetStreamLog::open(&config("node")).await.unwrap();
    let session = SessionKey::new(TenantId::default(), "s".parse().unwrap());
    let heard = Arc::new(Notify::new());
    let wake = Arc::clone(&heard);
    let tail = log.tail(&session, Arc::new(move || wake.notify_one())).await.unwrap();
    let consumer = log.consumer().await.unwrap();
    log.append(&session, "record".into(), Expect::Any, Some("id")).await.unwrap();
    tokio::time::timeout(DEADLINE, heard.notified()).await.unwrap();
    assert_eq!(tail.take().len(), 1);
    let notices = consumer.take(16, DEADLINE).await.unwrap();
    consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
    let report = inspect(&config("node"), None, now).await.unwrap();
    let more: Vec<_> =
        report.findings.iter().filter(|f| !matches!(f, Finding::FewReplicas { .. } | Finding::SyncUnknown)).collect();
    assert!(more.is_empty(), "{more:?}");
    assert_eq!(report.shards.iter().map(|shard| shard.records).sum::<u64>(), 1, "what was tried is stored nowhere");
    for (number, line) in allowed.iter().enumerate() {
        // The queue's and the nodes' own; they are tried by who uses them.
        if ["runs", "dead", "presence"].iter().any(|other| line.contains(other)) {
            continue;
        }
        let report = inspect(&config(&format!("lacks{number}")), None, now).await.unwrap();
        let subject = line.trim_matches('"').trim_end_matches(['*', '>', '.']);
        let subject = subject.split_once(".*").map_or(subject, |(before, _)| before);
        let named = |f: &Finding| matches!(f, Finding::MayNotPublish { subject: named } if named.starts_with(subject));
        assert!(has(&report, named), "{line}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn subscriptions_that_are_refused_are_named() {
    let accounts = r#"accounts { FANFOLD { jetstream: enabled, users: [
        { user: deaf, password: "x", permissions: { subscribe: { deny: ["*.live.>"] }, publish: { deny: ["*.live.>"] } } }
    ] } }"#;
    let Some(users) = Users::start_with("refused subscriptions", accounts) else { return };
    let config = support::config(users.be("deaf", "x"), 1);
    migrate(&config, Offset::NONE).await.unwrap();
    let report = inspect(&config, None, now).await.unwrap();
    let subject = format!("{}.live.0.", config.prefix);
    assert!(
        has(&report, |f| matches!(f, Finding::MayNotSubscribe { subject: named } if named.starts_with(&subject))),
        "{report:?}"
    );
}

#[tokio::test]
async fn an_archive_that_is_behind_and_a_clock_that_is_wrong_are_named() {
    let Some(users) = Users::start("a late archive") else { return };
    let config = support::config(users.be("node", "n"), 1);
    migrate(&config, Offset::NONE).await.unwrap();
    let log = JetStreamLog::open(&config).await.unwrap();
    let session = SessionKey::new(TenantId::default(), "s".parse().unwrap());
    for _ in 0..3 {
        log.append(&session, "record".into(), Expect::Any, None).await.unwrap();
    }
    let report = inspect(&config, None, now).await.unwrap();
    assert!(has(&report, |finding| matches!(finding, Finding::NoArchiver { .. })), "{report:?}");
    let consumer = log.consumer().await.unwrap();
    let report = inspect(&config, None, now).await.unwrap();
    assert_eq!(report.shards.iter().map(|shard| shard.unarchived).sum::<u64>(), 3);
    assert!(
        !has(&report, |f| matches!(f, Finding::Unarchived { .. } | Finding::NoArchiver { .. } | Finding::Clock { .. })),
        "{report:?}"
    );
    // Seen from twenty minutes later, they have waited for so long; and the server's clock is behind by that.
    let later = || now() + 1_200_000;
    let report = inspect(&config, None, later).await.unwrap();
    let waits = |f: &Finding| matches!(f, Finding::Unarchived { records: 3, oldest, .. } if oldest.as_secs() >= 1200);
    assert!(has(&report, waits), "{report:?}");
    let clocks: Vec<_> = report.findings.iter().filter(|finding| matches!(finding, Finding::Clock { .. })).collect();
    assert!(matches!(clocks[..], [Finding::Clock { ahead_ms: -1_210_000..=-1_190_000, .. }]), "once for a server: {clocks:?}");
    let mut notices = Vec::new();
    while notices.len() < 3 {
        let more = consumer.take(16, DEADLINE).await.unwrap();
        assert!(!more.is_empty(), "only {} of 3", notices.len());
        notices.extend(more);
    }
    consumer.done(notices.into_iter().map(|notice| notice.ticket).collect()).await.unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while has(&inspect(&config, None, later).await.unwrap(), |finding| matches!(finding, Finding::Unarchived { .. })) {
        assert!(std::time::Instant::now() < deadline, "all is archived");
    }
}

async fn until(config: &JetStreamLogConfig, is_so: impl Fn(&Report) -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let report = inspect(config, None, now).await;
        if report.as_ref().is_ok_and(&is_so) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{report:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has one server lead all streams, as after the others were started again one by one; until that is said.
async fn all_led_by(config: &JetStreamLogConfig, server: &str) {
    let nats = Nats::connect(&config.nats, LIMITS).await.unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let report = inspect(config, None, now).await.unwrap();
        if has(&report, |f| matches!(f, Finding::Uneven { server: uneven, leads: 4, of: 4 } if uneven == server)) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{report:?}");
        for shard in report.shards.iter().filter(|shard| shard.leader.as_deref() != Some(server)) {
            let wanted = serde_json::json!({ "placement": { "preferred": server } });
            // One that has no leader now is asked again.
            let _ = nats.api::<serde_json::Value>(&format!("STREAM.LEADER.STEPDOWN.{}", shard.stream), &wanted).await;
        }
    }
}

#[tokio::test]
async fn a_server_of_a_cluster_that_is_gone_is_named() {
    let Some(mut cluster) = Cluster::start("the report of a cluster").await else { return };
    let config = JetStreamLogConfig { shards: 4, ..support::config(cluster.options(), 3) };
    migrate(&config, Offset::NONE).await.unwrap();
    // New streams first find their leaders, and those their replicas.
    until(&config, |report| {
        let amiss = |f: &Finding| matches!(f, Finding::Behind { .. } | Finding::FewReplicas { .. } | Finding::Leaderless { .. });
        let whole = |shard: &ShardReport| shard.leader.is_some() && shard.replicas == 3;
        report.shards.len() == 4 && !has(report, amiss) && report.shards.iter().all(whole)
    })
    .await;
    all_led_by(&config, "one").await;
    cluster.servers[2].kill();
    until(&config, |report| has(report, |f| matches!(f, Finding::Behind { server, .. } if *server == "three"))).await;
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    let Some(users) = Users::start("a wrong password") else { return };
    let refused = Nats::connect(&users.be("node", "wrong"), LIMITS).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "{refused:?}");
    let refused = Nats::connect(&users.server.options(), LIMITS).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "{refused:?}");
}
