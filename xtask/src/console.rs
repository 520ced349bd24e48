//! The console of `services/console`: its own checks, whether what is committed of it is what its source builds, its size, and its
//! tests in a real browser against real nodes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::missing;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Everything, in the order in which it fails fastest.
pub(crate) fn check(root: &Path) -> ExitCode {
    let source = root.join("services/console");
    if !found("npm") {
        return missing("console: there is no npm");
    }
    let built = root.join("target/console");
    let done = install(&source)
        && npm(&source, &["run", "check"])
        && npm(&source, &["test"])
        && npm(&source, &["run", "build", "--", "--outDir", &built.display().to_string()])
        && same(&root.join("services/fanfold/assets/console"), &built)
        && npm(&source, &["run", "size"]);
    if !done {
        return ExitCode::FAILURE;
    }
    if !browser() {
        return missing("console: there is no Chromium to test it in; install one, or name it in FANFOLD_CHROMIUM");
    }
    if npm(&source, &["run", "e2e"]) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the lock names, unless it is there already.
fn install(source: &Path) -> bool {
    let age = |name: &str| std::fs::metadata(source.join(name)).and_then(|file| file.modified()).ok();
    let (lock, installed) = (age("package-lock.json"), age("node_modules/.package-lock.json"));
    (installed.is_some() && installed >= lock) || npm(source, &["ci"])
}

fn npm(source: &Path, arguments: &[&str]) -> bool {
    eprintln!("-- npm {}", arguments.join(" "));
    Command::new("npm").args(arguments).current_dir(source).status().is_ok_and(|status| status.success())
}

/// Whether two folders hold the same files.
fn same(committed: &Path, built: &Path) -> bool {
    let (committed, built) = (files(committed), files(built));
    if committed == built {
        return true;
    }
    let names = committed.keys().chain(built.keys()).filter(|name| committed.get(*name) != built.get(*name));
    names.for_each(|name| eprintln!("-- {} isn't what services/console builds", name.display()));
    eprintln!("-- run `npm run build` in services/console and commit what it writes");
    false
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(next).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match (path.is_dir(), std::fs::read(&path), path.strip_prefix(folder)) {
                (true, _, _) => folders.push(path),
                (false, Ok(bytes), Ok(name)) => drop(all.insert(name.to_owned(), bytes)),
                (false, _, _) => {}
            }
        }
    }
    all
}

/// Whether there is a browser, or can be one.
fn browser() -> bool {
    let there = || std::env::var_os("FANFOLD_CHROMIUM").is_some() || BROWSERS.iter().any(|name| found(name));
    if there() {
        return true;
    }
    let apt = |arguments: &[&str]| Command::new("apt-get").args(arguments).status().is_ok_and(|status| status.success());
    apt(&["update"]) && apt(&["install", "--yes", "--no-install-recommends", "chromium"]) && there()
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(OsStr::new(program)).is_file())
}
