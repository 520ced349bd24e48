//! A CQL server that lets in only who has the password, over TLS only.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{Eraser, Erasure, ScyllaCompression, ScyllaConfig, ScyllaError, ScyllaStore, ScyllaTls, SessionIndex};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use support::cluster::Cluster;

/// What a fresh Cassandra lets in.
const USER: &str = "cassandra";

/// A key with a certificate for 127.0.0.1, as Java keeps them, and the certificate as others do.
fn certify(home: &Path) {
    let keytool = |args: &[&str]| {
        let store = ["-keystore", "node.p12", "-storepass", "changeit", "-alias", "node"];
        let output = Command::new("keytool").args(args).args(store).current_dir(home).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    keytool(&["-genkeypair", "-keyalg", "EC", "-dname", "CN=node", "-ext", "san=ip:127.0.0.1", "-storetype", "PKCS12"]);
    keytool(&["-exportcert", "-rfc", "-file", "node.pem"]);
}

fn configuration(home: &Path) -> String {
    certify(home);
    format!(
        "authenticator: PasswordAuthenticator\n\
        client_encryption_options:\n  enabled: true\n  optional: false\n  keystore: {}\n  keystore_password: changeit\n  store_type: PKCS12\n",
        home.join("node.p12").display()
    )
}

#[tokio::test]
async fn a_password_and_tls_are_spoken() {
    let Some(cluster) = Cluster::start("TLS and passwords of CQL servers", 1, configuration).await else { return };
    let home = cluster.nodes[0].home.clone();
    let (password, wrong) = (home.join("password"), home.join("wrong"));
    std::fs::write(&password, "cassandra\n").unwrap();
    std::fs::write(&wrong, "guess").unwrap();
    let tls = ScyllaTls { ca_file: home.join("node.pem"), cert_file: None, key_file: None };
    let config = ScyllaConfig {
        tls: Some(tls.clone()),
        user: USER.into(),
        password_file: Some(password),
        compression: ScyllaCompression::Lz4,
        connect_ms_max: 60_000,
        ..cluster.config("a")
    };
    ScyllaStore::migrate(&config).await.unwrap();
    let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
    for compression in [ScyllaCompression::Lz4, ScyllaCompression::Snappy, ScyllaCompression::None] {
        let store = ScyllaStore::open(&ScyllaConfig { compression, ..config.clone() }).await.unwrap();
        assert_eq!(store.row(&session).await.unwrap(), None);
    }
    let short = ScyllaConfig { connect_ms_max: 2_000, ..config.clone() };
    let refused = [
        ("no TLS", ScyllaConfig { tls: None, ..short.clone() }),
        ("a wrong password", ScyllaConfig { password_file: Some(wrong), ..short.clone() }),
        ("nobody", ScyllaConfig { user: String::new(), password_file: None, ..short.clone() }),
    ];
    for (what, config) in refused {
        match ScyllaStore::open(&config).await {
            Err(ScyllaError::Connect(_) | ScyllaError::Silent(_)) => {}
            Err(other) => panic!("{what}: {other:?}"),
            Ok(_) => panic!("{what}: let in"),
        }
    }
    let other = tempfile::tempdir().unwrap();
    certify(other.path());
    let stranger = ScyllaTls { ca_file: other.path().join("node.pem"), ..tls };
    let stranger = ScyllaStore::open(&ScyllaConfig { tls: Some(stranger), ..short.clone() }).await;
    assert!(matches!(stranger, Err(ScyllaError::Connect(_))), "signed by somebody else");
    let missing = ScyllaConfig { password_file: Some(home.join("nowhere")), ..short };
    assert!(matches!(ScyllaStore::open(&missing).await, Err(ScyllaError::File { .. })));
}

/// What nodes and migrations are at a cluster that is set up as shipped.
#[tokio::test]
async fn the_shipped_roles_may_what_they_need_and_no_more() {
    let authorized = |_: &Path| "authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\n".to_owned();
    let Some(cluster) = Cluster::start("the roles of CQL servers", 1, authorized).await else { return };
    let config = cluster.config("r");
    let password = |name: &str, text: &str| {
        let file = cluster.nodes[0].home.join(name);
        std::fs::write(&file, text).unwrap();
        Some(file)
    };
    let be = |user: &str, word: &str| ScyllaConfig { user: user.into(), password_file: password(user, word), ..config.clone() };
    let deadline = Instant::now() + Duration::from_secs(120);
    // Made by the server a moment after it serves.
    let admin = loop {
        if let Some(admin) = logged_in(&cluster, USER, "cassandra").await {
            break admin;
        }
        assert!(Instant::now() < deadline, "the first role is there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let shipped = include_str!("../../../deploy/cluster/role.sh").lines().filter(|line| line.ends_with(';'));
    let shipped = shipped.map(|line| {
        let line = ["$node", "$migrate", "$admin"].iter().fold(line.to_owned(), |line, name| line.replace(name, &name[1..]));
        line.replace("fanfold TO", &format!("{} TO", config.keyspace))
            .replace("EXISTS fanfold WITH replication", &format!("EXISTS {} WITH replication", config.keyspace))
            .replace("'replication_factor': 3", "'replication_factor': 1")
    });
    let shipped = shipped.collect::<Vec<_>>();
    assert!(
        shipped.len() > 8 && shipped[shipped.len() - 1].contains("ROLE cassandra"),
        "the last one says that all is done: {shipped:?}"
    );
    // As after it was interrupted, once more.
    for statement in shipped[..4].iter().chain(&shipped) {
        admin.query_unpaged(statement.as_str(), ()).await.unwrap();
    }
    ScyllaStore::migrate(&be("migrate", "migrate")).await.unwrap();
    let store = ScyllaStore::open(&be("fanfold", "node")).await.unwrap();
    let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
    store.erase(&Erasure { session: session.clone(), offset: Offset(1), erased_at_ms: 1 }).await.unwrap();
    store.erase_done(&session).await.unwrap();
    assert_eq!(store.row(&session).await.unwrap().unwrap().status, "erased");
    let grants = [
        "CREATE ROLE reader WITH PASSWORD = 'reader' AND LOGIN = true",
        "GRANT SELECT ON KEYSPACE $K TO reader",
        "GRANT MODIFY ON TABLE $K.notes TO reader",
    ];
    for grant in grants {
        admin.query_unpaged(grant.replace("$K", &config.keyspace), ()).await.unwrap();
    }
    let forbidden = async |config: &ScyllaConfig| {
        let findings = ScyllaStore::doctor(config, now_ms).await.unwrap().findings;
        let dangers = findings.into_iter().filter(|finding| finding.is_danger && finding.what.contains("this user may not"));
        dangers.map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert_eq!(forbidden(&be("fanfold", "node")).await, Vec::<String>::new());
    let said = forbidden(&be("reader", "reader")).await;
    assert!(said.iter().all(|what| what.contains("may not write")), "{said:?}");
    let names = |table: &str| said.iter().any(|what| what.contains(&format!("table {table}:")));
    assert!(names("sessions") && names("segments") && names("session_words") && !names("notes"), "{said:?}");
    let node = logged_in(&cluster, "fanfold", "node").await.unwrap();
    for refused in
        ["CREATE TABLE $K.more (key int PRIMARY KEY)", "DROP TABLE $K.sessions", "ALTER TABLE $K.sessions ADD more int"]
    {
        let refused = node.query_unpaged(refused.replace("$K", &config.keyspace), ()).await;
        assert!(
            matches!(refused, Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _)))),
            "{refused:?}"
        );
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    // Servers remember passwords for a moment.
    while logged_in(&cluster, USER, "cassandra").await.is_some() {
        assert!(Instant::now() < deadline, "not everybody is let in any more");
    }
    assert!(logged_in(&cluster, USER, "admin").await.is_some());
}

#[allow(clippy::disallowed_methods, reason = "a test's clock")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Past the store; `None` for who isn't let in.
async fn logged_in(cluster: &Cluster, user: &str, password: &str) -> Option<Session> {
    let builder = SessionBuilder::new().known_node(cluster.address(0)).user(user, password);
    builder.default_execution_profile_handle(support::patient()).build().await.ok()
}
