//! Runs: who answers them, and who sees to it that each one ends.
//!
//! queue → **desk** → worker → log → **keeper** → queue

mod book;
mod bridge;
pub mod budget;
pub mod desk;
pub mod graves;
pub mod hook;
pub mod keeper;
pub mod local;
pub mod model;
mod progress;
pub mod remote;
mod said;
mod title;
mod tools;
pub mod worker;

pub use book::Patience;
