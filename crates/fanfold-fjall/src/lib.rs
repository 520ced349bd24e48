//! What the embedded log and the embedded store both know of the database under them, fjall 3: how a folder looks that was never
//! finished or has lost a part, and that damaged files can make the driver panic.

#[cfg(feature = "testing")]
pub mod damage;
mod guard;
mod unfinished;
mod whole;

pub use guard::{Panicked, guarded};
pub use unfinished::remove_unfinished;
pub use whole::missing_part;
