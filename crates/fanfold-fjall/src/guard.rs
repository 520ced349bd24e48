//! A driver that panics on damaged files is told like one that refuses them.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The driver panicked, with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the driver panicked: {0}")]
pub struct Panicked(String);

/// Runs what touches files that may be damaged. What it left half done must not be used again.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Panicked(text.unwrap_or("without a text").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        assert_eq!(guarded(|| 1), Ok(1));
        let number = 7;
        assert_eq!(guarded(|| panic!("block {number}")), Err::<(), _>(Panicked("block 7".into())));
        assert_eq!(guarded(|| panic!("block")), Err::<(), _>(Panicked("block".into())));
    }
}
