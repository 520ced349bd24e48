//! Which incarnation a store is of, and which records its operators have given up.

use fanfold_fold::{Epoch, Offset};

use super::layout::{DamagedBytes, FORMAT, Fields, IDENTITY_KEY, seal, unseal};

/// Offsets that were issued and whose records are gone: both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostRange {
    /// The first one.
    pub from: Offset,
    /// The last one.
    pub upto: Offset,
}

impl LostRange {
    /// How many offsets it covers.
    pub fn records(&self) -> u64 {
        self.upto.0 - self.from.0 + 1
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        (self.from..=self.upto).contains(&offset)
    }
}

impl std::fmt::Display for LostRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.from, self.upto)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) epoch: Epoch,
    /// The first offset of this epoch.
    pub(crate) first: Offset,
    /// What [`crate::EmbeddedLog::accept_loss`] was told to live without. Readers look for it in the archive.
    pub(crate) given_up: Vec<LostRange>,
}

impl Identity {
    /// A new incarnation, never seen before.
    pub(crate) fn mint(first: Offset, given_up: Vec<LostRange>) -> Self {
        Self { epoch: Epoch(uuid::Uuid::new_v4()), first, given_up }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        value.extend_from_slice(self.epoch.0.as_bytes());
        value.extend_from_slice(&self.first.0.to_be_bytes());
        for range in &self.given_up {
            value.extend_from_slice(&range.from.0.to_be_bytes());
            value.extend_from_slice(&range.upto.0.to_be_bytes());
        }
        seal(IDENTITY_KEY, value)
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, DamagedBytes> {
        let mut fields = Fields(unseal(IDENTITY_KEY, value)?);
        if fields.u8()? != FORMAT {
            return Err(DamagedBytes);
        }
        let epoch = Epoch(uuid::Uuid::from_bytes(fields.array()?));
        let first = Offset(fields.u64()?);
        let mut given_up = Vec::new();
        while !fields.0.is_empty() {
            given_up.push(LostRange { from: Offset(fields.u64()?), upto: Offset(fields.u64()?) });
        }
        Ok(Self { epoch, first, given_up })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_bytes() {
        let range = LostRange { from: Offset(3), upto: Offset(9) };
        let identity = Identity::mint(Offset(10), vec![range]);
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity.clone()));
        assert_eq!(identity.epoch.0.get_version_num(), 4);
        assert!(range.contains(Offset(3)) && range.contains(Offset(9)) && !range.contains(Offset(10)));
    }
}
