//! The browser client of `clients/typescript`: built from what its lock names, tested against real nodes and in a real browser,
//! and held to its size.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::missing;

/// Everything, in the order in which it fails fastest. The tests need the node's binary.
pub(crate) fn check(root: &Path) -> ExitCode {
    npm(root, &[&["ci"], &["run", "build"], &["run", "size"], &["test"]])
}

/// What applying a delta costs. It fails where that grows with the session.
pub(crate) fn bench(root: &Path) -> ExitCode {
    npm(root, &[&["ci"], &["run", "bench"]])
}

fn npm(root: &Path, steps: &[&[&str]]) -> ExitCode {
    let source = root.join("clients/typescript");
    if Command::new("npm").arg("--version").output().is_err() {
        return missing("clients/typescript: there is no npm");
    }
    let step = |arguments: &&[&str]| {
        eprintln!("-- npm {}", arguments.join(" "));
        Command::new("npm").args(*arguments).current_dir(&source).status().is_ok_and(|status| status.success())
    };
    if steps.iter().all(step) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
