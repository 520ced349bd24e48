//! What a session is, as a pure function of its records.

mod id;
mod position;

pub use id::{AttemptId, CommandId, ID_CHARS_MAX, IdError, MessageId, RunId, SessionId, SessionKey, TenantId};
pub use position::{CURSOR_CHARS, Cursor, CursorError, Epoch, FoldVersion, Offset};
