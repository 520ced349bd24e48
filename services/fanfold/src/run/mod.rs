//! Runs: who answers them, and who sees to it that each one ends.
//!
//! queue → **desk** → worker → log → **keeper** → queue

mod book;
pub mod budget;
pub mod desk;
pub mod graves;
pub mod hook;
pub mod keeper;
pub mod local;
pub mod model;
pub mod remote;
mod said;
pub mod worker;

pub use book::Patience;
