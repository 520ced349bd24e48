//! What the session layer asks of an encoding for readers. It never names one.

use fanfold_fold::{Cursor, Delta, Offset, SessionId, View};

/// Which of the node's formats; an index into the list that the node was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FormatId(pub usize);

/// A delta as sent. Holds nothing of one connection: it is encoded once and shared (DESIGN's encode-once).
#[derive(Debug)]
pub struct DeltaFrame<'a> {
    /// Whose.
    pub session: &'a SessionId,
    /// The cursor it applies to.
    pub after: Cursor,
    /// The cursor it leads to.
    pub cursor: Cursor,
    /// The change.
    pub delta: &'a Delta,
    /// The state it leads to, where this node holds it: for formats that show more than the change.
    pub view: Option<&'a View>,
    /// The reader comes back and may have had a part of what followed `after`. Only where [`FrameCodec::tells_again`].
    pub again: bool,
}

/// A snapshot as sent.
#[derive(Debug)]
pub struct SnapshotFrame<'a> {
    /// Whose.
    pub session: &'a SessionId,
    /// What the reader has seen with it.
    pub cursor: Cursor,
    /// The state, or its newest messages.
    pub view: &'a View,
    /// Older messages that were left out.
    pub older: usize,
}

/// Who is there, as sent: always the whole list, so that a lost one does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub who: String,
    /// What they do: `present`, `typing` or a word of the application's.
    pub doing: String,
}

/// One encoding for readers, framing included.
pub trait FrameCodec: Send + Sync + 'static {
    /// Its name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Whether who comes back is told at once, by one delta with `again`, what they lack. Of use where a reader that was cut can't say
    /// how much of a frame it has had.
    fn tells_again(&self) -> bool {
        false
    }

    /// Appends one delta frame.
    fn delta(&self, frame: &DeltaFrame<'_>, out: &mut Vec<u8>);

    /// Appends one snapshot frame.
    fn snapshot(&self, frame: &SnapshotFrame<'_>, out: &mut Vec<u8>);

    /// Appends one presence frame.
    fn presence(&self, session: &SessionId, offset: Offset, present: &[Present], out: &mut Vec<u8>);
}
