//! Names: who owns a session, which session, which message, run, attempt and command.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest id in characters. Every id is 1 to 64 of `[A-Za-z0-9_-]`: nothing else ever becomes
/// a subject token, a key or a path segment.
pub const ID_CHARS_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than [`ID_CHARS_MAX`].
    #[error("an id has 1 to 64 characters, this has {0}")]
    Length(usize),
    /// A character outside `[A-Za-z0-9_-]`.
    #[error("an id consists of A-Z, a-z, 0-9, '_' and '-', this has {0:?}")]
    Character(char),
}

fn validate(text: &str) -> Result<(), IdError> {
    if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        return Err(IdError::Character(odd));
    }
    match text.len() {
        1..=ID_CHARS_MAX => Ok(()),
        other => Err(IdError::Length(other)),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` against the one rule for ids.
            pub fn new(text: &str) -> Result<Self, IdError> {
                validate(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text that [`Self::new`] accepted.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

id!(
    /// Who owns sessions. Part of every key and subject; [`TenantId::default`] where nobody says.
    TenantId
);
id!(
    /// One conversation within a tenant.
    SessionId
);
id!(
    /// A message within a session, minted by whoever writes it.
    MessageId
);
id!(
    /// One generation: asked for, started, streamed, ended exactly once.
    RunId
);
id!(
    /// One worker's try at a run, minted by whoever appends `run_started`.
    AttemptId
);
id!(
    /// A command, minted by its sender; sending it again asks what became of the first.
    CommandId
);

impl Default for TenantId {
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

/// A tenant and a session: what names a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Who owns it.
    pub tenant: TenantId,
    /// Which one.
    pub session: SessionId,
}

impl SessionKey {
    /// Puts the two together.
    pub fn new(tenant: TenantId, session: SessionId) -> Self {
        Self { tenant, session }
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.session)
    }
}
