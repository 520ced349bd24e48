//! Names of streams, consumers and subjects, and what a message holds. Stored: never change what a function here returns.

use fanfold_fold::{AttemptId, RunId, SessionId, SessionKey, TenantId};
use serde::{Deserialize, Serialize};

use crate::port::{DeadLetter, Hint};

/// The version of everything here and in [`super::migrate`].
pub(crate) const LAYOUT_VERSION: u32 = 1;

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
    pub(crate) buckets: u32,
}

/// A prefix or number of buckets that can't be.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It becomes part of subjects.
    #[error("the prefix has 1-64 of [A-Za-z0-9_-]")]
    Prefix,
    /// None, or too many consumers.
    #[error("buckets are 1 to 256")]
    Buckets,
}

/// A hint or a dead letter as its message holds it; whose it is stands in the subject. Unknown fields are passed over.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buried: Option<Buried>,
}

#[derive(Serialize, Deserialize)]
struct Buried {
    reason: String,
    deliveries: u32,
    at_ms: u64,
}

impl Layout {
    pub(crate) fn new(prefix: &str, buckets: u32) -> Result<Self, LayoutError> {
        TenantId::new(prefix).map_err(|_| LayoutError::Prefix)?;
        match buckets {
            1..=256 => Ok(Self { prefix: prefix.to_owned(), buckets }),
            _ => Err(LayoutError::Buckets),
        }
    }

    /// The same for a tenant on every node and in every release.
    fn bucket(&self, tenant: &TenantId) -> u32 {
        crc32c::crc32c(tenant.as_str().as_bytes()) % self.buckets
    }

    pub(crate) fn stream(&self) -> String {
        format!("{}-runs", self.prefix)
    }

    pub(crate) fn dead_stream(&self) -> String {
        format!("{}-runs-dead", self.prefix)
    }

    pub(crate) fn consumer(bucket: u32) -> String {
        format!("bucket-{bucket}")
    }

    pub(crate) fn subjects(&self) -> String {
        format!("{}.runs.>", self.prefix)
    }

    pub(crate) fn bucket_subjects(&self, bucket: u32) -> String {
        format!("{}.runs.{bucket}.>", self.prefix)
    }

    pub(crate) fn dead_subjects(&self) -> String {
        format!("{}.dead.>", self.prefix)
    }

    /// All runs of a session.
    pub(crate) fn session(&self, session: &SessionKey) -> String {
        format!("{}.runs.{}.{}.{}.*", self.prefix, self.bucket(&session.tenant), session.tenant, session.session)
    }

    pub(crate) fn run(&self, session: &SessionKey, run: &RunId) -> String {
        format!("{}.runs.{}.{}.{}.{run}", self.prefix, self.bucket(&session.tenant), session.tenant, session.session)
    }

    pub(crate) fn dead(&self, session: &SessionKey, run: &RunId) -> String {
        format!("{}.dead.{}.{}.{run}", self.prefix, session.tenant, session.session)
    }

    /// All buried runs of a session.
    pub(crate) fn dead_of(&self, session: &SessionKey) -> String {
        format!("{}.dead.{}.{}.*", self.prefix, session.tenant, session.session)
    }

    /// What nodes tell each other when a session's first run may be another one than before.
    pub(crate) fn notice(&self, session: &SessionKey) -> String {
        format!("{}.runs-notice.{}.{}", self.prefix, session.tenant, session.session)
    }

    pub(crate) fn notices(&self) -> String {
        format!("{}.runs-notice.*.*", self.prefix)
    }
}

/// The session of a notice.
pub(crate) fn session_of(subject: &str) -> Option<SessionKey> {
    let mut tokens = subject.rsplit('.');
    let (session, tenant) = (tokens.next()?, tokens.next()?);
    Some(SessionKey::new(TenantId::new(tenant).ok()?, SessionId::new(session).ok()?))
}

fn run_of(subject: &str) -> Option<(SessionKey, RunId)> {
    let (session, run) = subject.rsplit_once('.')?;
    Some((session_of(session)?, RunId::new(run).ok()?))
}

/// A hint as it was offered. `None` if somebody else published it.
pub(crate) fn hint(subject: &str, payload: &[u8]) -> Option<Hint> {
    let (session, run) = run_of(subject)?;
    let Stored { attempt, not_before_ms, .. } = serde_json::from_slice(payload).ok()?;
    Some(Hint { session, run, attempt, not_before_ms })
}

/// A run as it was buried. `None` if somebody else published it.
pub(crate) fn letter(subject: &str, payload: &[u8]) -> Option<DeadLetter> {
    let (session, run) = run_of(subject)?;
    let Stored { attempt, not_before_ms, buried } = serde_json::from_slice(payload).ok()?;
    let Buried { reason, deliveries, at_ms } = buried?;
    let hint = Hint { session, run, attempt, not_before_ms };
    Some(DeadLetter { hint, reason, deliveries, buried_at_ms: at_ms })
}

impl From<&Hint> for Stored {
    fn from(hint: &Hint) -> Self {
        Self { attempt: hint.attempt.clone(), not_before_ms: hint.not_before_ms, buried: None }
    }
}

impl From<&DeadLetter> for Stored {
    fn from(letter: &DeadLetter) -> Self {
        let buried = Buried { reason: letter.reason.clone(), deliveries: letter.deliveries, at_ms: letter.buried_at_ms };
        Self { buried: Some(buried), ..Self::from(&letter.hint) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read back as written by an earlier release.
    #[test]
    fn messages_are_what_they_were() {
        let layout = Layout::new("f", 16).unwrap();
        let key = SessionKey::new(TenantId::new("acme").unwrap(), SessionId::new("s1").unwrap());
        let run = RunId::new("r1").unwrap();
        assert_eq!(layout.run(&key, &run), "f.runs.6.acme.s1.r1");
        assert_eq!(layout.dead(&key, &run), "f.dead.acme.s1.r1");
        let later =
            Hint { attempt: Some(AttemptId::new("a").unwrap()), not_before_ms: Some(7), ..Hint::new(key.clone(), run.clone()) };
        assert_eq!(hint("f.runs.6.acme.s1.r1", b"{}"), Some(Hint::new(key.clone(), run)));
        let text = br#"{"attempt":"a","not_before_ms":7,"unknown":{}}"#;
        assert_eq!(hint("f.runs.6.acme.s1.r1", text), Some(later.clone()));
        let dead = DeadLetter { hint: later, reason: "why".into(), deliveries: 3, buried_at_ms: 9 };
        let text = br#"{"attempt":"a","not_before_ms":7,"buried":{"reason":"why","deliveries":3,"at_ms":9}}"#;
        assert_eq!(serde_json::to_vec(&Stored::from(&dead)).unwrap(), text);
        assert_eq!(letter("f.dead.acme.s1.r1", text), Some(dead));
        assert_eq!(hint("f.runs.6.acme.s1.r1", b"nonsense"), None);
    }
}
