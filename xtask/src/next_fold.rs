//! The node as a later release whose fold differs, for tests of upgrades: `fanfold` with the feature `next-fold`, laid aside.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where it is laid, and where `FANFOLD_TEST_NEXT` tells the tests to look.
pub(crate) fn binary(root: &Path) -> PathBuf {
    root.join("target/next-fold/fanfold")
}

/// Builds it where everything is built, so that only the workspace's crates are compiled again. It takes the node's own place for a
/// moment: whoever needs that builds it afterwards.
pub(crate) fn build(root: &Path) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--package", "fanfold", "--bin", "fanfold", "--features", "next-fold"];
    if !Command::new(cargo).args(arguments).current_dir(root).status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    match lay_aside(&root.join("target/debug/fanfold"), &binary(root)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("-- {}: {error}", binary(root).display());
            ExitCode::FAILURE
        }
    }
}

/// Under another name first: a test of an earlier run may still have it open.
fn lay_aside(built: &Path, aside: &Path) -> std::io::Result<()> {
    let part = aside.with_extension("part");
    aside.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::copy(built, &part)?;
    std::fs::rename(&part, aside)
}
