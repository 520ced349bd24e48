//! Sessions on the move: out of a log and a store into one file, and from there into another log and store, of either side.
//!
//! A file holds records as they were stored and nothing that follows from them: the state is folded anew where they arrive, and must be
//! what it was, byte by byte. Offsets stay. So a backup, which is a file with everything in it, can be put back on either side, too.

mod backup;
mod carry;
mod check;
mod control;
mod export;
mod format;
mod import;
mod renew;
mod room;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use backup::{create, restore, write_manifest};
pub(crate) use check::{Checked, verify_file};
pub(crate) use control::{export_from_node, serve};
pub(crate) use export::{ERASED, Exporter, Summary, Wanted, named};
pub(crate) use import::{Imported, Taken, import};
pub(crate) use renew::{Renewed, highest, renew, what_is};
pub(crate) use source::Source;
