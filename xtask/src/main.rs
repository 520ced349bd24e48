//! What the project does to itself: `cargo xtask test` runs every check, `cargo xtask bench` prints every figure, `cargo xtask cluster`
//! starts many nodes to try.

mod client;
mod cluster;
mod console;
mod deploy;
mod next_fold;
mod servers;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use servers::Servers;

/// The steps of `test`, in the order in which they fail fastest.
const TEST: [Step; 8] = [
    Step { name: "format", args: &["fmt", "--all", "--check"] },
    Step { name: "lints", args: &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"] },
    // Before the next one, which takes its place.
    Step { name: "next-fold", args: &["run", "--quiet", "--package", "xtask", "--", "next-fold"] },
    // The binary that the end-to-end tests start.
    Step { name: "build", args: &["build", "--package", "fanfold"] },
    Step { name: "client", args: &["run", "--quiet", "--package", "xtask", "--", "client"] },
    Step { name: "deploy", args: &["run", "--quiet", "--package", "xtask", "--", "deploy"] },
    Step { name: "console", args: &["run", "--quiet", "--package", "xtask", "--", "console"] },
    Step { name: "tests", args: &["test", "--workspace", "--no-fail-fast"] },
];

const BENCH: [Step; 2] = [
    Step { name: "benchmarks", args: &["bench", "--workspace", "--benches"] },
    Step { name: "client", args: &["run", "--quiet", "--package", "xtask", "--", "client-bench"] },
];

struct Step {
    name: &'static str,
    args: &'static [&'static str],
}

fn main() -> ExitCode {
    let steps: &[Step] = match std::env::args().nth(1).as_deref() {
        Some("test") => &TEST,
        Some("bench") => &BENCH,
        Some("cluster") => return cluster::run(&root()),
        Some("client") => return client::check(&root()),
        Some("client-bench") => return client::bench(&root()),
        Some("console") => return console::check(&root()),
        Some("deploy") => return deploy::check(&root()),
        Some("next-fold") => return next_fold::build(&root()),
        Some(_) | None => {
            eprintln!("usage: cargo xtask test | bench | cluster | client | client-bench | console | deploy | next-fold");
            return ExitCode::from(2);
        }
    };
    let not_run = root().join("target/not-run.txt");
    // A leftover of an earlier run would be reported again.
    let _ = std::fs::remove_file(&not_run);
    let mut missing = false;
    let servers = Servers::start(&root(), |reason| missing |= !note_not_run(&not_run, reason));
    let mut failed: Vec<&str> = steps.iter().filter(|step| !run(step, &not_run, &servers)).map(|step| step.name).collect();
    if missing {
        failed.push("servers");
    }
    servers.report();
    report_not_run(&not_run);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn run(step: &Step, not_run: &Path, servers: &Servers) -> bool {
    eprintln!("== {}: cargo {}", step.name, step.args.join(" "));
    let started = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(step.args).current_dir(root()).env("FANFOLD_NOT_RUN", not_run);
    command.env("FANFOLD_TEST_NEXT", next_fold::binary(&root()));
    servers.tell(&mut command);
    let ok = command.status().is_ok_and(|status| status.success());
    eprintln!("== {}: {} in {:.0} s", step.name, if ok { "ok" } else { "FAILED" }, started.elapsed().as_secs_f64());
    ok
}

/// Notes what can't run. Returns false where that is a failure: in CI everything runs.
fn note_not_run(file: &Path, reason: &str) -> bool {
    eprintln!("== {reason}");
    let noted = std::fs::OpenOptions::new().create(true).append(true).open(file);
    let noted = noted.and_then(|mut file| writeln!(file, "{reason}"));
    noted.is_ok() && std::env::var_os("CI").is_none_or(|ci| ci != "true")
}

/// The same for a step that is a process of its own.
fn missing(what: &str) -> ExitCode {
    let noted = match std::env::var_os("FANFOLD_NOT_RUN") {
        Some(file) => note_not_run(Path::new(&file), what),
        None => {
            eprintln!("== NOT RUN: {what}");
            std::env::var_os("CI").is_none_or(|ci| ci != "true")
        }
    };
    if noted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a test needs and didn't find is said at the end, where it is read.
fn report_not_run(file: &Path) {
    let Ok(lines) = std::fs::read_to_string(file) else { return };
    eprintln!("== NOT RUN:");
    lines.lines().for_each(|line| eprintln!("   {line}"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}
