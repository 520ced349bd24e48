//! From a configuration to a session with the servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::{Session, TlsContext};
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::Consistency;

use super::config::{ScyllaCompression, ScyllaConfig, ScyllaConsistency, ScyllaTls};
use super::error::ScyllaError;

/// A server that has not answered for this long is not waited for alone: another one is asked, too. It may hang.
const SECOND_OPINION: Duration = Duration::from_millis(400);

/// A connection is tried this often, and given up when nothing comes back for as long.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Least time between two tries to find a server.
const AGAIN: Duration = Duration::from_millis(200);

/// Looks for a server until one answers, or for as long as the configuration says.
pub(crate) async fn connect(config: &ScyllaConfig) -> Result<Session, ScyllaError> {
    check(config)?;
    let tls = config.tls.as_ref().map(tls).transpose()?;
    let password = config.password_file.as_deref().map(password).transpose()?.unwrap_or_default();
    let profile = profile(config);
    let mut last = None;
    let search = async {
        loop {
            let mut builder = SessionBuilder::new()
                .known_nodes(&config.nodes)
                .compression(compression(config.compression))
                .connection_timeout(Duration::from_millis(config.connect_ms_max))
                .pool_size(PoolSize::default())
                // What routing to the right server needs.
                .keyspaces_to_fetch([&config.keyspace])
                .fetch_full_schema_metadata(false)
                .keepalive_interval(KEEP_ALIVE)
                .keepalive_timeout(KEEP_ALIVE)
                .tls_context(tls.clone())
                .default_execution_profile_handle(profile.clone().into_handle());
            if !config.user.is_empty() {
                builder = builder.user(&config.user, &password);
            }
            match builder.build().await {
                Ok(session) => return session,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_millis(config.connect_ms_max), search).await;
    found.map_err(|_| last.map_or(ScyllaError::Silent(config.connect_ms_max), |error| ScyllaError::Connect(Box::new(error))))
}

fn check(config: &ScyllaConfig) -> Result<(), ScyllaError> {
    let letters = config.keyspace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !letters || !(1..=48).contains(&config.keyspace.len()) || config.keyspace.starts_with(|first: char| !first.is_alphabetic())
    {
        return Err(ScyllaError::Config("keyspace: 1 to 48 of a-z, 0-9 and _, a letter first"));
    }
    if config.nodes.is_empty() {
        return Err(ScyllaError::Config("nodes: at least one address"));
    }
    if config.replicas == 0 {
        return Err(ScyllaError::Config("replicas: at least one"));
    }
    if config.user.is_empty() != config.password_file.is_none() {
        return Err(ScyllaError::Config("user and password_file: both or neither"));
    }
    Ok(())
}

fn profile(config: &ScyllaConfig) -> ExecutionProfile {
    let policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    let policy = match config.datacenter.as_str() {
        "" => policy,
        datacenter => policy.prefer_datacenter(datacenter.to_owned()),
    };
    ExecutionProfile::builder()
        .consistency(consistency(config.consistency))
        .request_timeout(Some(Duration::from_millis(config.request_ms_max)))
        .load_balancing_policy(policy.build())
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: SECOND_OPINION,
        })))
        // The driver never repeats a write that timed out, and never waits between two tries: see `Call`.
        .retry_policy(Arc::new(FallthroughRetryPolicy))
        .build()
}

pub(crate) fn consistency(consistency: ScyllaConsistency) -> Consistency {
    match consistency {
        ScyllaConsistency::LocalQuorum => Consistency::LocalQuorum,
        ScyllaConsistency::Quorum => Consistency::Quorum,
        ScyllaConsistency::LocalOne => Consistency::LocalOne,
    }
}

fn compression(compression: ScyllaCompression) -> Option<Compression> {
    match compression {
        ScyllaCompression::None => None,
        ScyllaCompression::Lz4 => Some(Compression::Lz4),
        ScyllaCompression::Snappy => Some(Compression::Snappy),
    }
}

fn password(file: &Path) -> Result<String, ScyllaError> {
    let text = std::fs::read_to_string(file).map_err(|error| unusable(file, error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn tls(config: &ScyllaTls) -> Result<TlsContext, ScyllaError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&config.ca_file)? {
        roots.add(certificate).map_err(|error| unusable(&config.ca_file, error))?;
    }
    // The one that the driver brings; a process with two has no default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| unusable(&config.ca_file, error))?.with_root_certificates(roots);
    let client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(certificates(certificate)?, private).map_err(|error| unusable(key, error))?
        }
        (Some(_), None) | (None, Some(_)) => return Err(ScyllaError::Config("tls: cert_file and key_file, both or neither")),
    };
    Ok(Arc::new(client).into())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ScyllaError> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unusable(file, error))?;
    found.map(|certificate| certificate.map_err(|error| unusable(file, error))).collect()
}

fn unusable(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> ScyllaError {
    ScyllaError::File { file: file.to_owned(), source: Box::new(error) }
}
