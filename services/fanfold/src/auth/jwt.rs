//! Tokens: JSON Web Tokens signed with HS256, RS256, ES256 or EdDSA, checked against keys from files.
//!
//! Claims: `tenant` (default `default`), `sub`, `role` (`viewer`, `user`, `worker`, `admin`; default `user`),
//! `sessions` (ids; absent means all of the tenant's), `exp` (required), `nbf`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfold_fold::{SessionId, TenantId};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::{Caller, Grants, Role};

/// Seconds that clocks may differ.
const LEEWAY_S: u64 = 30;

/// The keys that tokens may be signed with.
pub struct JwtKeys {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// One key, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The `kid` of tokens it is for; empty fits tokens without one.
    #[serde(default)]
    pub id: String,
    /// `HS256`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// The secret itself for HS256, a public key as PEM for the others.
    pub path: PathBuf,
}

/// A key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("key file {path} can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not one of the four.
    #[error("algorithm {0:?} is not one of HS256, RS256, ES256, EdDSA")]
    Algorithm(String),
    /// The file isn't a key of that algorithm.
    #[error("key file {path} holds no such key")]
    Format {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    /// An HS256 secret that can be guessed.
    #[error("secret in {path} has {bytes} bytes, at least 32 are needed")]
    Short {
        /// Which.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

/// A token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no token")]
    Missing,
    /// Its time is over; a new one helps.
    #[error("the token has expired")]
    Expired,
    /// Malformed, of an unknown key, or with a wrong signature or claims.
    #[error("the token is not valid")]
    Invalid,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    tenant: TenantId,
    #[serde(default)]
    sub: String,
    #[serde(default = "user")]
    role: Role,
    sessions: Option<Vec<SessionId>>,
    exp: u64,
    nbf: Option<u64>,
}

fn user() -> Role {
    Role::User
}

impl JwtKeys {
    /// Reads the keys.
    pub fn load(files: &[KeyFile]) -> Result<Self, KeyError> {
        let keys = files.iter().map(load_key).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Who holds this token. The key decides the algorithm, never the token.
    pub fn caller(&self, token: &str, now_s: u64) -> Result<Caller, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let fits = |key: &&Key| key.id == header.kid && key.algorithm == header.alg;
        let key = self.keys.iter().find(fits).ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(key.algorithm);
        // Times are checked below, against the node's clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp.saturating_add(LEEWAY_S) <= now_s {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now_s + LEEWAY_S) {
            return Err(TokenError::Invalid);
        }
        Ok(Caller {
            tenant: claims.tenant,
            subject: Arc::from(claims.sub),
            role: claims.role,
            grants: claims.sessions.map_or(Grants::All, Grants::Sessions),
            expires_at_s: Some(claims.exp),
        })
    }
}

fn load_key(file: &KeyFile) -> Result<Key, KeyError> {
    let path = &file.path;
    let bytes = std::fs::read(path).map_err(|source| KeyError::Read { path: path.clone(), source })?;
    let (algorithm, key) = match file.algorithm.as_str() {
        "HS256" => (Algorithm::HS256, secret(path, &bytes)?),
        "RS256" => (Algorithm::RS256, pem(path, DecodingKey::from_rsa_pem(&bytes))?),
        "ES256" => (Algorithm::ES256, pem(path, DecodingKey::from_ec_pem(&bytes))?),
        "EdDSA" => (Algorithm::EdDSA, pem(path, DecodingKey::from_ed_pem(&bytes))?),
        other => return Err(KeyError::Algorithm(other.to_owned())),
    };
    Ok(Key { id: (!file.id.is_empty()).then(|| file.id.clone()), algorithm, key })
}

fn secret(path: &Path, bytes: &[u8]) -> Result<DecodingKey, KeyError> {
    let secret = bytes.trim_ascii_end();
    if secret.len() < 32 {
        return Err(KeyError::Short { path: path.to_owned(), bytes: secret.len() });
    }
    Ok(DecodingKey::from_secret(secret))
}

fn pem(path: &Path, key: Result<DecodingKey, jsonwebtoken::errors::Error>) -> Result<DecodingKey, KeyError> {
    key.map_err(|source| KeyError::Format { path: path.to_owned(), source })
}
