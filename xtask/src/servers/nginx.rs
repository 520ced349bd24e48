//! An nginx that tests start themselves: from the path, else out of Debian's package, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Provided;

pub(super) fn provide(root: &Path) -> Result<Provided, String> {
    let (path, version) = binary(root)?;
    let version = format!("{version} ({})", path.display());
    Ok(Provided { version, environment: vec![("FANFOLD_NGINX", path.into())], processes: Vec::new() })
}

/// Where it is, and its version.
pub(super) fn binary(root: &Path) -> Result<(PathBuf, String), String> {
    let told = std::env::var_os("FANFOLD_NGINX").map(PathBuf::from);
    let unpacked = root.join("target/tools/nginx");
    let cached = unpacked.join("usr/sbin/nginx");
    let mut candidates = told.into_iter().chain(["nginx".into(), "/usr/sbin/nginx".into(), cached.clone()]);
    if let Some(found) = candidates.find_map(|path| version(&path).map(|version| (path, version))) {
        return Ok(found);
    }
    if !unpack(&unpacked) {
        return Err("it is neither on the path nor could Debian's package be fetched".into());
    }
    version(&cached).map(|version| (cached, version)).ok_or_else(|| "the nginx of Debian's package doesn't run".into())
}

/// What it says it is, if it runs.
fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("-v").stdin(Stdio::null()).output().ok()?;
    // It says so on standard error.
    let text = String::from_utf8(output.stderr).ok()?;
    output.status.success().then(|| text.trim().rsplit('/').next().unwrap_or_default().to_owned())
}

/// Needs no rights and starts no service, but may need fresh lists of packages.
fn unpack(folder: &Path) -> bool {
    let download = folder.with_extension("part");
    let _ = std::fs::remove_dir_all(&download);
    if std::fs::create_dir_all(&download).is_err() {
        return false;
    }
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(&download).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let fetch = || run("apt-get", &["--quiet", "download", "nginx"]);
    let fetched = fetch() || (run("apt-get", &["--quiet", "update"]) && fetch());
    fetched && std::fs::create_dir_all(folder).is_ok() && run("sh", &["-c", "dpkg --extract nginx_*.deb ../nginx"])
}
