//! `cargo xtask cluster`: three nodes, three NATS servers, a CQL server and nginx on this machine, for trying them by hand.

use std::fs::File;
use std::io::BufRead as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::servers::{self, Provided};

/// How long anything may take to start, and to end after it was asked to.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(15);

const NUMBERS: [usize; 3] = [1, 2, 3];

/// One process, which may end and be started again.
struct Member {
    name: String,
    command: Command,
    child: Option<Child>,
}

/// What is to be done next.
enum Event {
    Stop,
    StartAgain(String),
}

/// Where everything listens.
struct Ports {
    nats: [u16; 3],
    routes: [u16; 3],
    http: [u16; 3],
    grpc: [u16; 3],
    balancer: [u16; 2],
}

struct Cluster {
    folder: PathBuf,
    ports: Ports,
    /// Servers first; ended in the opposite order.
    members: Vec<Member>,
    cql: Provided,
}

pub(crate) fn run(root: &Path) -> ExitCode {
    let events = events();
    match Cluster::start(root) {
        Ok(mut cluster) => {
            cluster.introduce();
            cluster.tend(&events);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("cluster: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, and names of what is to be started again. The members are in groups of their own, so that Ctrl-C doesn't reach them first.
fn events() -> Receiver<Event> {
    let (stop, events) = sync_channel(16);
    let lines = stop.clone();
    let handled = ctrlc::set_handler(move || {
        let _ = stop.try_send(Event::Stop);
    });
    if let Err(error) = handled {
        eprintln!("cluster: Ctrl-C will not end everything: {error}");
    }
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(Event::StartAgain(line.trim().to_owned())).is_err() {
                return;
            }
        }
    });
    events
}

impl Cluster {
    fn start(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--package", "fanfold"]).current_dir(root).status();
        if !built.is_ok_and(|status| status.success()) {
            return Err("the node doesn't build".into());
        }
        let folder = root.join("target/cluster");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (nats, nginx) = (servers::nats_binary(root)?, servers::nginx_binary(root)?);
        eprintln!("== starting a CQL server");
        let cql = servers::cql(root, &folder.join("cql"))?;
        let mut cluster = Self { folder, ports: Ports::free(), members: Vec::new(), cql };
        for number in NUMBERS {
            cluster.start_nats(&nats, number)?;
        }
        cluster.migrate(root)?;
        for number in NUMBERS {
            let mut serve = cluster.node(root, "serve");
            let at = number - 1;
            serve.env("FANFOLD_NODE__NAME", format!("node-{number}"));
            serve.env("FANFOLD_NODE__DATA", cluster.folder.join(format!("node-{number}")));
            serve.env("FANFOLD_LISTEN__HTTP", format!("127.0.0.1:{}", cluster.ports.http[at]));
            serve.env("FANFOLD_LISTEN__GRPC", format!("127.0.0.1:{}", cluster.ports.grpc[at]));
            cluster.add(format!("node-{number}"), serve, cluster.ports.http[at])?;
        }
        cluster.start_nginx(root, &nginx)?;
        Ok(cluster)
    }

    fn start_nats(&mut self, binary: &Path, number: usize) -> Result<(), String> {
        let at = number - 1;
        let routes = self.ports.routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
        let text = format!(
            "server_name: nats-{number}\nlisten: \"127.0.0.1:{}\"\n\
             jetstream {{ store_dir: \"{}\", max_file_store: 64GB, sync_interval: always }}\n\
             cluster {{ name: fanfold, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n",
            self.ports.nats[at],
            self.folder.join(format!("nats-{number}")).display(),
            self.ports.routes[at],
        );
        let config = self.write(&format!("nats-{number}.conf"), &text)?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(config);
        self.add(format!("nats-{number}"), command, self.ports.nats[at])
    }

    fn start_nginx(&mut self, root: &Path, binary: &Path) -> Result<(), String> {
        let shipped = root.join("deploy/nginx.conf");
        let mut text = std::fs::read_to_string(&shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
        for number in NUMBERS {
            text = text.replace(&format!("fanfold-{number}:8080"), &format!("127.0.0.1:{}", self.ports.http[number - 1]));
            text = text.replace(&format!("fanfold-{number}:8081"), &format!("127.0.0.1:{}", self.ports.grpc[number - 1]));
        }
        let [http, grpc] = self.ports.balancer;
        text = text.replace("listen 8080;", &format!("listen 127.0.0.1:{http};"));
        text = text.replace("listen 8081 ", &format!("listen 127.0.0.1:{grpc} "));
        let config = self.write("nginx.conf", &text)?;
        let mut command = Command::new(binary);
        command.arg("-p").arg(&self.folder).arg("-c").arg(config).args(["-e", "stderr", "-g"]);
        command.arg(format!("daemon off; pid {};", self.folder.join("nginx.pid").display()));
        self.add("nginx".into(), command, http)
    }

    /// Once the NATS servers have found each other, which takes them a moment.
    fn migrate(&self, root: &Path) -> Result<(), String> {
        let deadline = Instant::now() + START;
        let log = self.folder.join("migrate.log");
        loop {
            let mut migrate = self.node(root, "migrate");
            let status = migrate.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file(&log)?).status();
            if status.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("streams and tables are not made: {}", std::fs::read_to_string(log).unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The binary with what all nodes share.
    fn node(&self, root: &Path, what: &str) -> Command {
        let urls = self.ports.nats.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
        let cql = self.cql.environment.iter().find(|(key, _)| *key == "FANFOLD_TEST_CQL").map(|(_, at)| at.to_string_lossy());
        let mut command = Command::new(root.join("target/debug/fanfold"));
        command.arg(what).envs([
            ("FANFOLD_LOG__BACKEND", "jetstream".to_owned()),
            ("FANFOLD_LOG__JETSTREAM__SHARDS", "3".to_owned()),
            ("FANFOLD_LOG__JETSTREAM__NATS__URLS", format!("[{urls}]")),
            ("FANFOLD_RUNS__QUEUE__BUCKETS", "2".to_owned()),
            ("FANFOLD_STORE__BACKEND", "scylla".to_owned()),
            ("FANFOLD_STORE__SCYLLA__KEYSPACE", format!("cluster_{}", std::process::id())),
            ("FANFOLD_STORE__SCYLLA__REPLICAS", "1".to_owned()),
            ("FANFOLD_STORE__SCYLLA__NODES", format!("[\"{}\"]", cql.unwrap_or_default())),
            ("FANFOLD_STORE__SCYLLA__CONNECT_MS_MAX", "60000".to_owned()),
        ]);
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Starts a member and waits until it listens.
    fn add(&mut self, name: String, mut command: Command, port: u16) -> Result<(), String> {
        eprintln!("== starting {name}");
        let log = self.folder.join(format!("{name}.log"));
        let out = file(&log)?;
        let err = out.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let mut member = Member { name, command, child: None };
        member.start()?;
        let listens = member.listens(port);
        let name = member.name.clone();
        self.members.push(member);
        if listens { Ok(()) } else { Err(format!("{name} doesn't listen: {}", log.display())) }
    }

    fn introduce(&self) {
        let [http, grpc] = self.ports.balancer;
        let id = |name: &str| self.members.iter().find(|member| member.name == name).and_then(Member::id).unwrap_or_default();
        eprintln!("\nThree nodes behind nginx; logs are in {}.\n", self.folder.display());
        eprintln!("  nginx   http://127.0.0.1:{http}  gRPC http://127.0.0.1:{grpc}");
        for number in NUMBERS {
            let name = format!("node-{number}");
            let [http, grpc] = [self.ports.http[number - 1], self.ports.grpc[number - 1]];
            eprintln!("  {name}  http://127.0.0.1:{http}  gRPC http://127.0.0.1:{grpc}  process {}", id(&name));
        }
        for number in NUMBERS {
            let name = format!("nats-{number}");
            eprintln!("  {name}  nats://127.0.0.1:{}  process {}", self.ports.nats[number - 1], id(&name));
        }
        eprintln!("\nOpen http://127.0.0.1:{http} in two windows: they are on different nodes. Or in other terminals:\n");
        if self.ports.balancer != [8080, 8081] {
            eprintln!("  export FANFOLD_URL=http://127.0.0.1:{http} FANFOLD_GRPC_URL=http://127.0.0.1:{grpc}");
        }
        for command in ["open s1", "send s1 'What is a log?'", "tail s1"] {
            eprintln!("  target/debug/fanfold {command}");
        }
        eprintln!("  kill -9 {}    a node is gone: its readers go on through another", id("node-1"));
        eprintln!("  kill -9 {}    a server of the log is gone: nothing is lost", id("nats-1"));
        eprintln!("\nA name and Enter start that again here, such as node-1. Ctrl-C ends everything.");
    }

    /// Until Ctrl-C.
    fn tend(&mut self, events: &Receiver<Event>) {
        while let Ok(event) = events.recv() {
            let name = match event {
                Event::Stop => return,
                Event::StartAgain(name) => name,
            };
            if name.is_empty() {
                continue;
            }
            let Some(member) = self.members.iter_mut().find(|member| member.name == name) else {
                eprintln!("there is no {name:?}");
                continue;
            };
            match member.start() {
                Ok(()) => eprintln!("{name} is process {}", member.id().unwrap_or_default()),
                Err(reason) => eprintln!("{reason}"),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        eprintln!("\n== ending everything");
        while let Some(mut member) = self.members.pop() {
            member.end();
        }
    }
}

impl Member {
    /// Unless it runs.
    fn start(&mut self) -> Result<(), String> {
        if self.is_running() {
            return Ok(());
        }
        self.child = Some(self.command.spawn().map_err(|error| format!("{} doesn't start: {error}", self.name))?);
        Ok(())
    }

    fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn listens(&mut self, port: u16) -> bool {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline && self.is_running() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Asks it to end, and ends it if it doesn't in time.
    fn end(&mut self) {
        let Some(id) = self.id().filter(|_| self.is_running()) else { return };
        let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status();
        let deadline = Instant::now() + END;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ports {
    /// The balancer has the usual ones, if they are free.
    fn free() -> Self {
        let usual = |port: u16| TcpListener::bind(("127.0.0.1", port)).map_or_else(|_| fanfold_ports::free(), |_| port);
        let three = || NUMBERS.map(|_| fanfold_ports::free());
        Self { nats: three(), routes: three(), http: three(), grpc: three(), balancer: [8080, 8081].map(usual) }
    }
}

fn file(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}
