//! What an operator gets: the chart of `helm/fanfold` and the files of `deploy/`, read by the Go modules that Helm, Kubernetes and
//! Compose are made of, by the servers that they configure, and by the node. The checks are `xtask/deploy`.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::missing;

/// The tests need the node's binary.
pub(crate) fn check(root: &Path) -> ExitCode {
    if Command::new("go").arg("version").output().is_err() {
        return missing("helm/ and deploy/: there is no go");
    }
    let go = |arguments: &[&str]| {
        eprintln!("-- go {}", arguments.join(" "));
        let mut command = Command::new("go");
        command.args(arguments).current_dir(root.join("xtask/deploy")).env("FANFOLD_BIN", root.join("target/debug/fanfold"));
        command.status().is_ok_and(|status| status.success())
    };
    if go(&["vet", "./..."]) && go(&["test", "-count=1", "./..."]) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
