//! Runs: who answers them, and who sees to it that each one ends.

pub mod keeper;
pub mod model;
mod said;
pub mod worker;
