//! TLS against a server with a certificate of its own: trusted where the system says so, refused everywhere else.
//!
//! What the system trusts is read from the environment, so the trusting half runs as a process of its own: this file again.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::Arc;

use fanfold_models::DialectName;
use fanfold_models::fault::{FaultServer, Reply, Say};
use support::{endpoint, line, question, read_answer, router};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Names the server to the process that trusts it.
const URL: &str = "FANFOLD_TEST_HTTPS_URL";

/// Takes TLS off in front of `server`. Gives the address, and the certificate as a file's text.
async fn guarded(server: &FaultServer) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let behind = server.address();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust us goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    (url, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_where_the_system_says_so() {
    let server = FaultServer::replies(vec![Reply::says(Say::words("Hello, world."))]).await.unwrap();
    let (url, certificate) = guarded(&server).await;

    let error = router(vec![endpoint(&url, DialectName::ChatCompletions)]).answer("m", &question(), &[]).await.err().unwrap();
    assert_eq!((error.why.code(), server.requests().len()), ("connect_failed", 0), "nobody vouches for it");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, certificate).unwrap();
    let mut trusting = std::process::Command::new(std::env::current_exe().unwrap());
    trusting.args(["--exact", "the_trusting_half", "--nocapture"]).env("SSL_CERT_FILE", file).env(URL, url);
    let done = tokio::task::spawn_blocking(move || trusting.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_trusting_half() {
    let Ok(url) = std::env::var(URL) else { return };
    let answer = router(vec![endpoint(&url, DialectName::Messages)]).answer("m", &question(), &[]).await.unwrap();
    let said: Vec<String> = read_answer(answer).await.iter().map(line).collect();
    assert_eq!(said, ["model pretended", "text Hello, ", "text world.", "finished stop"]);
}
