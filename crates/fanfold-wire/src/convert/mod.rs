//! Between the fold's types and the wire's. From the fold everything can be said; from the wire it is checked.
//!
//! What a client asks for must be known here. What it is shown need not be: a part or an event of a later release keeps its
//! place, since parts are told apart by their number.

mod content;
mod delta;
mod event;
mod stored;

pub use delta::delta;

use fanfold_fold::IdError;

/// A field of a message from outside doesn't hold what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {problem}")]
pub struct FieldError {
    /// Which.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// See [`FieldError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// Not one of the enum's values.
    #[error("is not a known value")]
    Value,
    /// Not an id.
    #[error("{0}")]
    Id(IdError),
    /// Its bytes are not what they must be.
    #[error("can't be read")]
    Unreadable,
}

/// Parses an id; `field` names it in the error.
pub fn id<T: std::str::FromStr<Err = IdError>>(text: &str, field: &'static str) -> Result<T, FieldError> {
    text.parse().map_err(|error| FieldError { field, problem: Problem::Id(error) })
}

pub(crate) fn optional_id<T: std::str::FromStr<Err = IdError>>(
    text: Option<&str>,
    field: &'static str,
) -> Result<Option<T>, FieldError> {
    text.filter(|text| !text.is_empty()).map(|text| id(text, field)).transpose()
}

pub(crate) fn present<T>(value: Option<T>, field: &'static str) -> Result<T, FieldError> {
    value.ok_or(FieldError { field, problem: Problem::Missing })
}

pub(crate) fn value<T>(value: Option<T>, field: &'static str) -> Result<T, FieldError> {
    value.ok_or(FieldError { field, problem: Problem::Value })
}
