//! A real nginx before real nodes, with the configuration that is shipped.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfold_client::{Client, ClientConfig};

use super::wire::Door;
use super::{DEADLINE, Node, missing};

/// What is shipped.
const CONFIG: &str = include_str!("../../../../deploy/nginx.conf");

/// Ends with this value.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    pub door: Door,
}

impl Nginx {
    /// Before three nodes. `None` where there is no nginx, which is reported.
    pub fn start(what: &str, nodes: [&Node; 3]) -> Option<Self> {
        let binary = std::env::var("FANFOLD_NGINX").unwrap_or_else(|_| "nginx".into());
        if Command::new(&binary).arg("-v").stderr(Stdio::null()).status().is_err() {
            missing(&format!("{what}: there is no nginx"));
            return None;
        }
        let [http, grpc] = [(); 2].map(|()| fanfold_ports::free());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nginx.conf"), config(nodes, [http, grpc])).unwrap();
        let mut command = Command::new(binary);
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "stderr", "-g"]);
        command.arg(format!("daemon off; pid {};", folder.path().join("pid").display()));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let door = Door { http: format!("http://127.0.0.1:{http}"), grpc: format!("http://127.0.0.1:{grpc}") };
        let mut nginx = Self { child, folder, door };
        nginx.listens(http);
        Some(nginx)
    }

    fn listens(&mut self, port: u16) {
        let deadline = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap().is_some();
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(!ended && Instant::now() < deadline, "nginx doesn't listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn client(&self) -> Client {
        let Door { http, grpc } = self.door.clone();
        Client::new(ClientConfig { http, grpc, ..ClientConfig::default() }).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master would leave its workers behind.
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !told.is_ok_and(|told| told.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The shipped one with these addresses. What is to be replaced must be there.
fn config(nodes: [&Node; 3], [http, grpc]: [u16; 2]) -> String {
    let mut text = CONFIG.to_owned();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "deploy/nginx.conf has {from:?}");
        text = text.replace(from, to);
    };
    for (number, node) in (1..).zip(nodes) {
        replace(&format!("server fanfold-{number}:8080 "), &format!("server {} ", node.http.trim_start_matches("http://")));
        replace(&format!("server fanfold-{number}:8081 "), &format!("server {} ", node.grpc.trim_start_matches("http://")));
    }
    replace("listen 8080;", &format!("listen 127.0.0.1:{http};"));
    replace("listen 8081 ", &format!("listen 127.0.0.1:{grpc} "));
    text
}
