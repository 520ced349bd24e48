//! The port of tools that move or keep all that a log has.

use fanfold_fold::{Offset, SessionKey};

use crate::ReadError;

/// What a log holds, and how it takes in sessions that began elsewhere.
#[async_trait::async_trait]
pub trait Inventory: Send + Sync + 'static {
    /// Sessions that have records here. One whose records have all been trimmed is in the archive only.
    async fn sessions(&self) -> Result<Vec<SessionKey>, ReadError>;

    /// The last offset below which a session may end whose history was put into the archive from elsewhere: this log has let go of
    /// everything up to here, or has issued it to others, and issues only what lies above.
    async fn room(&self, session: &SessionKey) -> Result<Offset, ReadError>;

    /// The session's history up to `upto` is in the archive, and nothing of it is here: it goes on above. Again changes nothing.
    ///
    /// # Panics
    ///
    /// If `upto` lies above [`Self::room`]: offsets would be issued a second time.
    async fn adopt(&self, session: &SessionKey, upto: Offset) -> Result<(), ReadError>;
}
