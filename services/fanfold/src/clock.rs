//! The one place where wall-clock time and new ids come from.

use fanfold_fold::{AttemptId, CommandId, MessageId, RunId, SessionId};
use uuid::Uuid;

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    now_ms() / 1000
}

macro_rules! minted {
    ($($(#[$doc:meta])* $name:ident -> $id:ty;)+) => {
        $($(#[$doc])*
        pub fn $name() -> $id {
            match <$id>::new(&Uuid::now_v7().simple().to_string()) {
                Ok(id) => id,
                Err(error) => unreachable!("32 hexadecimal digits are an id: {error}"),
            }
        })+
    };
}

minted! {
    /// A new session's id; ids sort by the time they were minted.
    new_session -> SessionId;
    /// A new message's id.
    new_message -> MessageId;
    /// A new run's id.
    new_run -> RunId;
    /// A new attempt's id.
    new_attempt -> AttemptId;
    /// A new command's id.
    new_command -> CommandId;
}
