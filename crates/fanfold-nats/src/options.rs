//! How to reach NATS, and who to be there.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use serde::{Deserialize, Serialize};

/// A connection as an operator configures it. Secrets are in files, never here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsOptions {
    /// Servers to begin with, as `nats://host:4222` or `tls://host:4222`. The others of their cluster are learned from them.
    pub urls: Vec<String>,
    /// What the connection is called on the server's pages.
    pub name: String,
    /// A file with a JWT and its seed, as `nsc` writes it.
    pub creds_file: Option<PathBuf>,
    /// A file with the seed of an nkey: alone, or of the JWT in `jwt_file`.
    pub nkey_seed_file: Option<PathBuf>,
    /// A file with a user's JWT. Needs `nkey_seed_file`.
    pub jwt_file: Option<PathBuf>,
    /// A user of the server's configuration. Needs `password_file`.
    pub user: Option<String>,
    /// A file with that user's password. White space at its end doesn't count.
    pub password_file: Option<PathBuf>,
    /// What answers are sent to. Another one lets the server tell users' answers apart by permission.
    pub inbox_prefix: String,
    /// TLS.
    pub tls: TlsOptions,
}

/// TLS to NATS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// Refuse servers without TLS.
    pub required: bool,
    /// Begin with TLS instead of asking for it, for servers with `handshake_first`.
    pub handshake_first: bool,
    /// Files of certificates to trust instead of the system's.
    pub ca_files: Vec<PathBuf>,
    /// The certificate to show. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// More than one identity, or half of one.
    #[error("give one of: creds_file; nkey_seed_file, with or without jwt_file; user with password_file")]
    Identity,
    /// One without the other.
    #[error("tls.cert_file and tls.key_file go together")]
    Certificate,
    /// A file of a secret can't be read.
    #[error("{} can't be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file doesn't hold what it should.
    #[error("{} doesn't hold credentials", path.display())]
    Credentials {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            name: "fanfold".into(),
            creds_file: None,
            nkey_seed_file: None,
            jwt_file: None,
            user: None,
            password_file: None,
            inbox_prefix: "_INBOX".into(),
            tls: TlsOptions::default(),
        }
    }
}

impl NatsOptions {
    /// Who to be and how to be sure of the other.
    pub(crate) fn driver(&self) -> Result<ConnectOptions, OptionsError> {
        let identity = (&self.creds_file, &self.nkey_seed_file, &self.jwt_file, &self.user, &self.password_file);
        let options = match identity {
            (None, None, None, None, None) => ConnectOptions::new(),
            // Its last line has an end, which the driver wants to see.
            (Some(creds), None, None, None, None) => credentials(creds, &format!("{}\n", secret(creds)?))?,
            (None, Some(seed), None, None, None) => ConnectOptions::with_nkey(secret(seed)?),
            (None, Some(seed), Some(jwt), None, None) => credentials(jwt, &creds(&secret(jwt)?, &secret(seed)?))?,
            (None, None, None, Some(user), Some(password)) => {
                ConnectOptions::with_user_and_password(user.clone(), secret(password)?)
            }
            _ => return Err(OptionsError::Identity),
        };
        let options = options.name(&self.name).custom_inbox_prefix(&self.inbox_prefix);
        self.tls.apply(options)
    }
}

impl TlsOptions {
    fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, OptionsError> {
        for file in &self.ca_files {
            options = options.add_root_certificates(file.clone());
        }
        options = match (&self.cert_file, &self.key_file) {
            (None, None) => options,
            (Some(cert), Some(key)) => options.add_client_certificate(cert.clone(), key.clone()),
            (Some(_), None) | (None, Some(_)) => return Err(OptionsError::Certificate),
        };
        if self.handshake_first {
            options = options.tls_first();
        }
        Ok(options.require_tls(self.required))
    }
}

fn secret(path: &Path) -> Result<String, OptionsError> {
    let text = std::fs::read_to_string(path).map_err(|source| OptionsError::File { path: path.into(), source })?;
    Ok(text.trim_end().to_owned())
}

fn credentials(path: &Path, text: &str) -> Result<ConnectOptions, OptionsError> {
    ConnectOptions::with_credentials(text).map_err(|source| OptionsError::Credentials { path: path.into(), source })
}

/// The form in which `nsc` writes the two.
fn creds(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt.trim(),
        seed.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_identity_is_refused() {
        let refused = [
            r#"user = "me""#,
            r#"jwt_file = "jwt""#,
            "creds_file = \"a\"\nuser = \"me\"\npassword_file = \"b\"",
            r#"password_file = "b""#,
        ];
        for text in refused {
            let options: NatsOptions = toml::from_str(text).unwrap();
            assert!(matches!(options.driver(), Err(OptionsError::Identity)), "{text}");
        }
        let options: NatsOptions = toml::from_str("tls.cert_file = \"c\"").unwrap();
        assert!(matches!(options.driver(), Err(OptionsError::Certificate)));
        assert!(toml::from_str::<NatsOptions>("password = \"secret\"").is_err(), "secrets are in files");
    }
}
