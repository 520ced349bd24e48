//! What a session does, told as scripts.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod limits;
mod runs;
mod script;
mod sessions;
