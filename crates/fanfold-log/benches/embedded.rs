//! Appends and reads of the embedded log, beside the store beneath it.

fn main() {}
