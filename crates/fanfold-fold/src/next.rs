//! What the feature `next-fold` changes: a node of it stands for a later release in tests of upgrades.
//!
//! The same records lead to longer texts, so a delta of one version can't be taken for one of the other: its appends don't fit.

use std::borrow::Cow;

/// What the next version puts behind each piece that is written.
const MARK: &str = "\u{b7}";

/// The fold version of this build.
pub(crate) const fn raised(version: u16) -> u16 {
    if cfg!(feature = "next-fold") { version + 1 } else { version }
}

/// What a piece of a producer's text adds to its part.
pub(crate) fn written(text: &str) -> Cow<'_, str> {
    if cfg!(feature = "next-fold") { Cow::Owned([text, MARK].concat()) } else { Cow::Borrowed(text) }
}
