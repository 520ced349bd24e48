//! Workers as processes of their own, nodes that lose patience early, and recordings made to measure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Node, first_lines};

/// A node without a worker inside, for which a silent worker is lost after so long.
pub fn impatient(data: &Path, silence_ms: u64) -> Node {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    dev.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--worker-slots", "0", "--data"]).arg(data);
    dev.env("FANFOLD_RUNS__SILENCE_MS_MAX", silence_ms.to_string());
    Node::spawn(dev)
}

/// `fanfold worker`.
pub struct Worker {
    child: Child,
}

impl Worker {
    /// Starts it and waits until it takes runs.
    pub fn start(node: &Node, name: &str, arguments: &[&str]) -> Self {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        worker.args(["worker", "--node", &node.grpc, "--name", name]).args(arguments).env("FANFOLD_LOG", "warn");
        // On a busy machine an answer takes longer than a worker that is drained has by default.
        worker.env("FANFOLD_NODE__DRAIN_MS_MAX", "120000");
        let mut child = worker.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = first_lines(child.stdout.take().unwrap(), 1);
        assert!(lines[0].starts_with("worker"), "{lines:?}");
        Self { child }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM. What it has is answered to its end.
    pub fn terminate(&mut self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A recording that says these words, one in each chunk.
pub fn recording(folder: &Path, name: &str, words: &[String]) -> PathBuf {
    let path = folder.join(format!("{name}.jsonl"));
    let mut file = std::fs::File::create(&path).unwrap();
    let finish = [(serde_json::json!({}), serde_json::json!("stop"))];
    let said = words.iter().map(|word| (serde_json::json!({ "content": word }), serde_json::Value::Null));
    for (delta, finish) in said.chain(finish) {
        let chunk = serde_json::json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        writeln!(file, "{chunk}").unwrap();
    }
    path
}
