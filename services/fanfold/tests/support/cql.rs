//! A CQL server of a test's own, which it may pause, kill and start again.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::told;

/// How long it may take until it serves.
const START: Duration = Duration::from_secs(300);

/// Cassandra on one node. Ends with this value.
pub struct CqlServer {
    jars: PathBuf,
    home: tempfile::TempDir,
    ports: [u16; 3],
    child: Option<Child>,
}

impl CqlServer {
    /// `None` where there is nothing to start, which is reported.
    pub fn start(what: &str) -> Option<Self> {
        let jars = told("FANFOLD_CQL_JARS", what)?.into();
        let ports = [(); 3].map(|()| fanfold_ports::free());
        let mut server = Self { jars, home: tempfile::tempdir().unwrap(), ports, child: None };
        server.start_again();
        Some(server)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// At the same address, with what it had on its disk.
    pub fn start_again(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/cql/node");
        let log = self.home.path().join("log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new(script);
        command.args([&self.jars, self.home.path()]).arg("127.0.0.1");
        command.args(self.ports.map(|port| port.to_string())).args(["0", "127.0.0.1"]);
        let mut child = command.stdin(Stdio::null()).stderr(file.try_clone().unwrap()).stdout(file).spawn().unwrap();
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(self.address()).is_err() {
            let ended = child.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < deadline, "it doesn't serve: {}", std::fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
        self.child = Some(child);
    }

    /// Such as `-STOP` and `-CONT`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for CqlServer {
    fn drop(&mut self) {
        self.kill();
    }
}
