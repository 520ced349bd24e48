//! The servers that tests of the distributed side need: found or built, started, told to the tests by environment, and ended.

mod cql;
mod nats;
mod nginx;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// One kind of server.
struct Kind {
    name: &'static str,
    /// Finds or makes it, and starts it. The error is a sentence for people.
    provide: fn(root: &Path) -> Result<Provided, String>,
}

const KINDS: [Kind; 3] = [
    Kind { name: "nats-server", provide: nats::provide },
    Kind { name: "CQL server", provide: cql::provide },
    Kind { name: "nginx", provide: nginx::provide },
];

/// A kind of server that tests can use.
pub(crate) struct Provided {
    /// Which version, and where it is from.
    version: String,
    /// What tells the tests of it.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    processes: Vec<Process>,
}

/// A CQL server that lives in `home`.
pub(crate) fn cql(root: &Path, home: &Path) -> Result<Provided, String> {
    cql::provide_in(root, home)
}

/// For who starts servers of its own.
pub(crate) fn nats_binary(root: &Path) -> Result<PathBuf, String> {
    nats::binary(root).map(|(path, _)| path)
}

/// For who starts one of its own.
pub(crate) fn nginx_binary(root: &Path) -> Result<PathBuf, String> {
    nginx::binary(root).map(|(path, _)| path)
}

/// Ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that could be started. Dropping it ends it.
pub(crate) struct Servers(Vec<(&'static str, Provided)>);

impl Servers {
    /// Starts what it finds. Calls `missing` with a sentence for each kind that isn't to be had.
    pub(crate) fn start(root: &Path, mut missing: impl FnMut(&str)) -> Self {
        let mut servers = Vec::new();
        for kind in KINDS {
            match (kind.provide)(root) {
                Ok(provided) => {
                    eprintln!("== {}: {}", kind.name, provided.version);
                    servers.push((kind.name, provided));
                }
                Err(reason) => missing(&format!("everything that needs {}: {reason}", kind.name)),
            }
        }
        Self(servers)
    }

    /// For the step that runs the tests.
    pub(crate) fn tell(&self, command: &mut Command) {
        for (_, provided) in &self.0 {
            command.envs(provided.environment.iter().map(|(key, value)| (key, value)));
        }
    }

    /// What ran, for the end of the output, where it is read.
    pub(crate) fn report(&self) {
        for (name, provided) in &self.0 {
            eprintln!("== ran on {name} {} ({} started here)", provided.version, provided.processes.len());
        }
    }
}
