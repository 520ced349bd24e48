//! Every way to be somebody at a real server, and TLS.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfold_nats::testing::{LIMITS, Server};
use fanfold_nats::{ConnectError, Nats, NatsOptions, TlsOptions};
use nkeys::KeyPair;
use serde_json::{Value, json};

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Connects and says something that comes back.
async fn works(options: &NatsOptions) {
    let nats = Nats::connect(options, LIMITS).await.unwrap();
    let mut heard = nats.client().subscribe("hello").await.unwrap();
    nats.client().publish("hello", "world".into()).await.unwrap();
    let message = tokio::time::timeout(LIMITS.request_max, futures::StreamExt::next(&mut heard)).await.unwrap().unwrap();
    assert_eq!(message.payload, "world");
}

async fn is_refused(options: &NatsOptions) {
    let refused = Nats::connect(options, LIMITS).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn by_nkey() {
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let authorization = format!("authorization {{ users: [{{ nkey: {} }}] }}", user.public_key());
    let Some(server) = Server::start("a connection by nkey", &authorization) else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, key: &KeyPair| NatsOptions {
        nkey_seed_file: Some(file(folder.path(), name, &key.seed().unwrap())),
        ..server.options()
    };
    works(&with("user", &user)).await;
    is_refused(&with("other", &other)).await;
    is_refused(&server.options()).await;
}

/// A token as `nsc` makes it, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let claims = json!({ "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test",
        "nats": nats });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(&value).unwrap());
    let text = format!("{}.{}", encode(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[tokio::test]
async fn by_jwt_and_by_credentials() {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let unlimited = json!({ "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1,
        "wildcards": true });
    let of_operator = jwt(&operator, &operator, json!({ "type": "operator", "version": 2 }));
    let of_account = |key: &KeyPair| jwt(&operator, key, json!({ "type": "account", "version": 2, "limits": unlimited }));
    let of_user = jwt(&account, &user, json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }));
    let accounts = [&account, &system].map(|key| format!("{}: {}", key.public_key(), of_account(key))).join(", ");
    let config = format!(
        "operator: {of_operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {accounts} }}",
        system.public_key()
    );
    let Some(server) = Server::start("a connection by JWT", &config) else { return };
    let folder = tempfile::tempdir().unwrap();
    let seed = user.seed().unwrap();
    let jwt_file = Some(file(folder.path(), "jwt", &of_user));
    let nkey_seed_file = Some(file(folder.path(), "seed", &format!("{seed}\n")));
    works(&NatsOptions { jwt_file: jwt_file.clone(), nkey_seed_file, ..server.options() }).await;
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    works(&NatsOptions { creds_file: Some(file(folder.path(), "creds", &creds)), ..server.options() }).await;
    let other = Some(file(folder.path(), "other", &KeyPair::new_user().seed().unwrap()));
    is_refused(&NatsOptions { jwt_file, nkey_seed_file: other, ..server.options() }).await;
}

#[tokio::test]
async fn by_tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let identity = |name: &str| {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let cert = file(folder.path(), &format!("{name}.pem"), &certified.cert.pem());
        (cert, file(folder.path(), &format!("{name}.key"), &certified.signing_key.serialize_pem()))
    };
    let ((cert, key), (client_cert, client_key)) = (identity("server"), identity("client"));
    let show = |path: &Path| path.display().to_string();
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        show(&cert),
        show(&key),
        show(&client_cert)
    );
    let Some(server) = Server::start("a connection by TLS", &config) else { return };
    let tls = TlsOptions {
        required: true,
        handshake_first: false,
        ca_files: vec![cert],
        cert_file: Some(client_cert),
        key_file: Some(client_key),
    };
    let with = |tls: TlsOptions| NatsOptions { tls, ..server.options() };
    works(&with(tls.clone())).await;
    is_refused(&with(TlsOptions { ca_files: Vec::new(), ..tls.clone() })).await;
    is_refused(&with(TlsOptions { cert_file: None, key_file: None, ..tls })).await;
}
