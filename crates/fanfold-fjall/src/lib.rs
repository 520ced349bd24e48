//! What the embedded log and the embedded store both know of the database under them, fjall 3: how a folder looks that was never
//! finished or has lost a part, that damaged files can make the driver panic, and what has its journals go.

#[cfg(feature = "testing")]
pub mod damage;
mod filler;
mod guard;
mod unfinished;
mod whole;

pub use filler::filler;
pub use guard::{Panicked, guarded};
pub use unfinished::remove_unfinished;
pub use whole::missing_part;
