//! Names of streams and subjects. Stored: never change what a function here returns.

use fanfold_fold::{SessionKey, TenantId};

/// The version of everything here and in [`super::migrate`].
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// More streams than servers carry without noticing.
pub(crate) const SHARDS_MAX: u32 = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
    pub(crate) shards: u32,
}

/// A prefix or number of shards that can't be.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It becomes part of subjects.
    #[error("the prefix has 1-64 of [A-Za-z0-9_-]")]
    Prefix,
    /// None, or too many.
    #[error("shards are 1 to {SHARDS_MAX}")]
    Shards,
}

impl Layout {
    pub(crate) fn new(prefix: &str, shards: u32) -> Result<Self, LayoutError> {
        TenantId::new(prefix).map_err(|_| LayoutError::Prefix)?;
        match shards {
            1..=SHARDS_MAX => Ok(Self { prefix: prefix.to_owned(), shards }),
            _ => Err(LayoutError::Shards),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The same on every node and in every release.
    pub(crate) fn shard(&self, session: &SessionKey) -> u32 {
        let tenant = crc32c::crc32c(session.tenant.as_str().as_bytes());
        // An id has no dot, so no two sessions are the same bytes.
        let both = crc32c::crc32c_append(crc32c::crc32c_append(tenant, b"."), session.session.as_str().as_bytes());
        both % self.shards
    }

    pub(crate) fn stream(&self, shard: u32) -> String {
        format!("{}-log-{shard}", self.prefix)
    }

    /// What records are published to and stored under.
    pub(crate) fn subject(&self, session: &SessionKey) -> String {
        format!("{}.log.{}.{}.{}", self.prefix, self.shard(session), session.tenant, session.session)
    }

    /// What stored records are published to again.
    pub(crate) fn live(&self, session: &SessionKey) -> String {
        format!("{}.live.{}.{}.{}", self.prefix, self.shard(session), session.tenant, session.session)
    }

    /// Where nodes say that they run.
    pub(crate) fn alive(&self) -> String {
        format!("{}.alive", self.prefix)
    }

    /// All subjects of a shard, and all of its live subjects.
    pub(crate) fn subjects(&self, shard: u32) -> (String, String) {
        (format!("{}.log.{shard}.>", self.prefix), format!("{}.live.{shard}.>", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use fanfold_fold::SessionId;

    use super::*;

    #[test]
    fn names_are_what_they_were() {
        let layout = Layout::new("fanfold", 64).unwrap();
        let session =
            |tenant: &str, session: &str| SessionKey::new(TenantId::new(tenant).unwrap(), SessionId::new(session).unwrap());
        let names = |key: SessionKey| (layout.stream(layout.shard(&key)), layout.subject(&key), layout.live(&key));
        let expected = [("default", "s1", 30), ("default", "s2", 42), ("acme", "5f0c1c6e-7a7e-4e0e-9a52-1f7c9f1c2d3e", 30)];
        for (tenant, id, shard) in expected {
            let (stream, subject, live) = names(session(tenant, id));
            assert_eq!(stream, format!("fanfold-log-{shard}"), "{tenant}.{id}");
            assert_eq!(subject, format!("fanfold.log.{shard}.{tenant}.{id}"));
            assert_eq!(live, format!("fanfold.live.{shard}.{tenant}.{id}"));
        }
    }

    #[test]
    fn sessions_spread_over_all_shards() {
        let layout = Layout::new("f", 16).unwrap();
        let mut counts = [0_u32; 16];
        for n in 0..16_000 {
            let key = SessionKey::new(TenantId::default(), SessionId::new(&format!("s{n}")).unwrap());
            counts[layout.shard(&key) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_prefix_is_one_token() {
        assert!(matches!(Layout::new("a.b", 1), Err(LayoutError::Prefix)));
        assert!(matches!(Layout::new("", 1), Err(LayoutError::Prefix)));
        assert!(matches!(Layout::new("a", 0), Err(LayoutError::Shards)));
        assert!(matches!(Layout::new("a", SHARDS_MAX + 1), Err(LayoutError::Shards)));
    }
}
