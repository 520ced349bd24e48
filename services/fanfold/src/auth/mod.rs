//! Who may: every request becomes one [`Caller`] and passes one [`authorize`].

mod caller;
mod jwt;

use std::sync::Arc;

use fanfold_fold::TenantId;

pub use caller::{Action, Caller, Denied, Grants, Role, authorize, authorize_some};
pub use jwt::{JwtKeys, KeyError, KeyFile, TokenError};

/// How callers are told apart.
#[derive(Clone)]
pub enum Authenticator {
    /// Everybody may everything. Only ever on loopback.
    Open,
    /// By a signed token.
    Jwt(Arc<JwtKeys>),
}

impl Authenticator {
    /// Who holds this token. `now_s`: seconds since 1970.
    pub fn caller(&self, token: Option<&str>, now_s: u64) -> Result<Caller, TokenError> {
        match (self, token) {
            (Self::Open, _) => Ok(Caller {
                tenant: TenantId::default(),
                subject: Arc::from("dev"),
                role: Role::Admin,
                grants: Grants::All,
                expires_at_s: None,
            }),
            (Self::Jwt(_), None) => Err(TokenError::Missing),
            (Self::Jwt(keys), Some(token)) => keys.caller(token, now_s),
        }
    }

    /// Whether nobody is asked who they are.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Jwt(_) => false,
        }
    }
}
