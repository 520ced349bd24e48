//! A nats-server: one that runs already, else one from the path, from a container's image, or built from source.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Process, Provided};

/// What is built or taken from an image where the path has none.
const VERSION: &str = "2.15.1";

/// Below this the server has lost acknowledged writes.
const VERSION_MIN: (u32, u32) = (2, 12);

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(60);

pub(super) fn provide(root: &Path) -> Result<Provided, String> {
    let told = std::env::var_os("FANFOLD_TEST_NATS");
    let binary = binary(root);
    let mut environment = Vec::new();
    if let Ok((path, _)) = &binary {
        // For tests that start, kill and cluster servers of their own.
        environment.push(("FANFOLD_NATS_SERVER", path.into()));
    }
    if let Some(url) = told {
        let version = format!("at {} (FANFOLD_TEST_NATS)", url.display());
        environment.push(("FANFOLD_TEST_NATS", url));
        return Ok(Provided { version, environment, processes: Vec::new() });
    }
    let (path, version) = binary?;
    let (process, url) = start(&path, &root.join("target/servers/nats"))?;
    environment.push(("FANFOLD_TEST_NATS", url.into()));
    Ok(Provided { version: format!("{version} ({})", path.display()), environment, processes: vec![process] })
}

/// The first that is new enough.
pub(super) fn binary(root: &Path) -> Result<(PathBuf, String), String> {
    let tools = root.join("target/tools");
    let cached = tools.join("nats-server");
    for candidate in [PathBuf::from("nats-server"), cached.clone()] {
        if let Some(version) = version(&candidate) {
            return Ok((candidate, version));
        }
    }
    std::fs::create_dir_all(&tools).map_err(|error| format!("{}: {error}", tools.display()))?;
    if !from_image(&cached) && !from_source(&tools) {
        return Err("it is neither running, nor on the path, nor could Docker or Go provide it".into());
    }
    version(&cached).map(|version| (cached, version)).ok_or_else(|| "what Docker or Go provided doesn't run".into())
}

/// What it says it is, if it runs and is new enough.
fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.trim().rsplit('v').next()?.to_owned();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    ((numbers.next()?, numbers.next()?) >= VERSION_MIN).then_some(version)
}

/// The image holds one static file, which needs no container to run.
fn from_image(to: &Path) -> bool {
    let quiet =
        |args: &[&str]| Command::new("docker").args(args).stderr(Stdio::null()).output().ok().filter(|o| o.status.success());
    if !cfg!(target_os = "linux") || quiet(&["info"]).is_none() {
        return false;
    }
    let Some(created) = quiet(&["create", &format!("nats:{VERSION}")]) else { return false };
    let container = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    let copied = quiet(&["cp", &format!("{container}:/nats-server"), &to.to_string_lossy()]).is_some();
    let _ = quiet(&["rm", &container]);
    copied
}

fn from_source(tools: &Path) -> bool {
    let module = format!("github.com/nats-io/nats-server/v2@v{VERSION}");
    eprintln!("== building {module}, once");
    Command::new("go").args(["install", &module]).env("GOBIN", tools).status().is_ok_and(|status| status.success())
}

/// One server with a folder of its own, on a port that the system chooses.
fn start(binary: &Path, folder: &Path) -> Result<(Process, String), String> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let config = folder.join("nats.conf");
    // What streams set aside is promised, not written: many small tests fit onto a small disk.
    let store = folder.display();
    let text = format!(
        "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: \"{store}\", max_file_store: 64GB, sync_interval: always }}\n"
    );
    std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    let child = Command::new(binary)
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} doesn't start: {error}", binary.display()))?;
    let mut process = Process(child);
    let lines = process.0.stderr.take().map(BufReader::new).ok_or("a server without an output")?;
    let url = listening(lines)?;
    Ok((process, url))
}

/// Reads the log up to the address, and lets a thread read the rest so that the server never waits for its reader.
fn listening(mut log: impl BufRead + Send + 'static) -> Result<String, String> {
    let deadline = Instant::now() + START;
    let mut line = String::new();
    while Instant::now() < deadline {
        line.clear();
        if log.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
            return Err("it ended while starting".into());
        }
        if let Some((_, address)) = line.trim().split_once("Listening for client connections on ") {
            TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
            let url = format!("nats://{address}");
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(url);
        }
    }
    Err("it didn't listen in time".into())
}
