//! A CQL server: one that runs already, else ScyllaDB or Cassandra from the path, from a container's image, or from Maven.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Process, Provided};

const CASSANDRA: &str = "5.0.8";
const SCYLLA_IMAGE: &str = "scylladb/scylla:2025.1";

/// How long Maven may take to fetch the jars. Once; they stay.
const FETCH: Duration = Duration::from_secs(300);

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(300);

/// Bytes of its log that are shown of a server that doesn't start.
const TAIL_BYTES: u64 = 4000;

pub(super) fn provide(root: &Path) -> Result<Provided, String> {
    provide_in(root, &root.join("target/servers/cql"))
}

pub(super) fn provide_in(root: &Path, home: &Path) -> Result<Provided, String> {
    let mut environment = Vec::new();
    let jars = jars(root);
    if let Ok(jars) = &jars {
        // For tests that start, stop and cluster nodes of their own.
        environment.push(("FANFOLD_CQL_JARS", jars.into()));
    }
    if let Some(address) = std::env::var_os("FANFOLD_TEST_CQL") {
        let version = format!("at {} (FANFOLD_TEST_CQL)", address.display());
        environment.push(("FANFOLD_TEST_CQL", address));
        return Ok(Provided { version, environment, processes: Vec::new() });
    }
    let _ = std::fs::remove_dir_all(home);
    std::fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    let port = fanfold_ports::free();
    let (version, command) = server(root, home, port, jars)?;
    let process = start(command, &home.join("log"), port)?;
    if home.join("nodetool").exists() {
        // For tests that look into its files.
        environment.push(("FANFOLD_TEST_CQL_DATA", home.into()));
    }
    environment.push(("FANFOLD_TEST_CQL", format!("127.0.0.1:{port}").into()));
    Ok(Provided { version, environment, processes: vec![process] })
}

/// What there is to start, and its version.
fn server(root: &Path, home: &Path, port: u16, jars: Result<PathBuf, String>) -> Result<(String, Command), String> {
    if let Some(version) = says("scylla", &["--version"]) {
        return Ok((format!("ScyllaDB {version}"), scylla(Command::new("scylla"), home, port)));
    }
    if let Some(version) = says("cassandra", &["-v"]) {
        return Ok((format!("Cassandra {version} of the path"), cassandra(root, Path::new("path"), home, port)?));
    }
    if says("docker", &["info", "--format", "{{.ServerVersion}}"]).is_some() {
        return Ok((SCYLLA_IMAGE.to_owned(), container(port)));
    }
    Ok((format!("Cassandra {CASSANDRA} of Maven"), cassandra(root, &jars?, home, port)?))
}

fn scylla(mut command: Command, home: &Path, port: u16) -> Command {
    command.args(["--developer-mode", "1", "--overprovisioned", "1", "--smp", "1", "--memory", "1G"]);
    command.args(["--listen-address", "127.0.0.1", "--rpc-address", "127.0.0.1", "--native-transport-port"]);
    command.arg(port.to_string()).arg("--workdir").arg(home);
    command
}

/// It ends with its standard input, which ends with this process.
fn container(port: u16) -> Command {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--init", "--interactive", "--publish"]).arg(format!("127.0.0.1:{port}:9042"));
    command.args(["--entrypoint", "/bin/sh", SCYLLA_IMAGE, "-c"]);
    command.arg("/docker-entrypoint.py --developer-mode 1 --overprovisioned 1 --smp 1 --memory 1G & cat > /dev/null; kill $!");
    command
}

fn cassandra(root: &Path, jars: &Path, home: &Path, port: u16) -> Result<Command, String> {
    let mut command = Command::new(root.join("xtask/cql/node"));
    command.args([jars, home]).arg("127.0.0.1");
    command.args([port, fanfold_ports::free(), fanfold_ports::free()].map(|port| port.to_string())).args(["0", "127.0.0.1"]);
    Ok(command)
}

/// The jars of Cassandra, fetched once.
fn jars(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("target/tools").join(format!("cassandra-{CASSANDRA}"));
    let jars = folder.join("lib");
    if jars.join(format!("cassandra-all-{CASSANDRA}.jar")).exists() {
        return Ok(jars);
    }
    if says("java", &["--version"]).is_none() {
        return Err("no java".to_owned());
    }
    // Under another name until all are there.
    let part = folder.join("part");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&part).map_err(|error| format!("{}: {error}", part.display()))?;
    eprintln!("== fetching Cassandra {CASSANDRA}, once");
    let child = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(root.join("xtask/cql/pom.xml"))
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies")
        .args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", part.display())])
        .stdin(Stdio::null())
        .spawn();
    let mut mvn = Process(child.map_err(|error| format!("Maven doesn't start: {error}"))?);
    wait_until(FETCH, || mvn.0.try_wait().is_ok_and(|ended| ended.is_some()));
    match mvn.0.try_wait() {
        Ok(Some(status)) if status.success() => {}
        Ok(_) | Err(_) => return Err("Maven could not fetch Cassandra's jars".to_owned()),
    }
    std::fs::rename(&part, &jars).map_err(|error| format!("{}: {error}", jars.display()))?;
    Ok(jars)
}

/// Starts it and waits until it takes connections.
fn start(mut command: Command, log: &Path, port: u16) -> Result<Process, String> {
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let again = file.try_clone().map_err(|error| error.to_string())?;
    let child = command.stdin(Stdio::piped()).stdout(file).stderr(again).spawn();
    let mut process = Process(child.map_err(|error| format!("it doesn't start: {error}"))?);
    let mut ended = false;
    let serves = wait_until(START, || {
        ended = process.0.try_wait().is_ok_and(|status| status.is_some());
        ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    if serves && !ended {
        return Ok(process);
    }
    let what = if ended { "it ended while starting" } else { "it didn't serve in time" };
    Err(format!("{what}; its log ends with\n{}", tail(log)))
}

/// Looks until it is so, or for at most so long. Says whether it is so.
fn wait_until(for_at_most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + for_at_most;
    while Instant::now() < deadline {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", log.display()))
}

/// What a program says, if it is there and succeeds.
fn says(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
