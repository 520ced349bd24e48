//! The browser client of `clients/typescript`: built from what its lock names, tested against real nodes and in a real browser,
//! and held to its size.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::missing;

/// Everything, in the order in which it fails fastest. The tests need the node's binary.
pub(crate) fn check(root: &Path) -> ExitCode {
    let source = root.join("clients/typescript");
    if Command::new("npm").arg("--version").output().is_err() {
        return missing("clients/typescript: there is no npm");
    }
    let steps: [&[&str]; 4] = [&["ci"], &["run", "build"], &["run", "size"], &["test"]];
    let npm = |arguments: &[&str]| {
        eprintln!("-- npm {}", arguments.join(" "));
        Command::new("npm").args(arguments).current_dir(&source).status().is_ok_and(|status| status.success())
    };
    if steps.into_iter().all(npm) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
