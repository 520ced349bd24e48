//! A CQL server that lets in only who has the password, over TLS only.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics is a test that fails")]

mod support;

use std::path::Path;
use std::process::Command;

use fanfold_fold::{SessionId, SessionKey, TenantId};
use fanfold_store::{ScyllaCompression, ScyllaConfig, ScyllaError, ScyllaStore, ScyllaTls, SessionIndex};

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
