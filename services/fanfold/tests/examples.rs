//! The example workers, each against a real node. What is made of them, and what they need, is kept in `target/examples`.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use fanfold_client::Transport;
use fanfold_fold::RunStatus;
use fanfold_wire::v1;
use support::worker::impatient;
use support::{Node, all_ended, command, follow, last, message, missing, open, state, text, until};

/// Longer than a run of an example is silent.
const SILENCE_MS: u64 = 5_000;

/// The parts of the schema that a worker needs.
const PROTOS: [&str; 4] =
    ["fanfold/v1/content.proto", "fanfold/v1/event.proto", "fanfold/v1/frame.proto", "fanfold/v1/service.proto"];

/// The newest releases that were tried.
const GO_PLUGINS: [&str; 2] =
    ["google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where an example is made.
fn workshop(language: &str) -> PathBuf {
    let workshop = root().join("target/examples").join(language);
    std::fs::create_dir_all(&workshop).unwrap();
    for entry in std::fs::read_dir(root().join("examples").join(language)).unwrap() {
        let source = entry.unwrap().path();
        std::fs::copy(&source, workshop.join(source.file_name().unwrap())).unwrap();
    }
    workshop
}

/// Runs a step, or says why it can't be.
fn step(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A step whose outcome is kept; `made` is what it makes.
fn once(made: &Path, command: &mut Command) -> Result<(), String> {
    if made.exists() { Ok(()) } else { step(command) }
}

/// A Python with what the example needs; made once, whichever test comes first.
fn python() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(make_python).clone()
}

fn make_python() -> Result<PathBuf, String> {
    let venv = root().join("target/examples/venv");
    let python = venv.join("bin/python");
    once(&python, Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let marker = venv.join("installed");
    if !marker.exists() {
        let requirements = root().join("examples/python/requirements.txt");
        step(Command::new(&python).args(["-m", "pip", "--quiet", "install", "--requirement"]).arg(requirements))?;
        std::fs::write(marker, "").unwrap();
    }
    Ok(python)
}

fn compile_protos(python: &Path, arguments: &[String]) -> Result<(), String> {
    let mut protoc = Command::new(python);
    step(protoc.current_dir(root()).args(["-m", "grpc_tools.protoc", "-I", "proto"]).args(arguments).args(PROTOS))
}

/// Where the Python example and its stubs are.
fn python_workshop() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        let workshop = workshop("python");
        let out = workshop.display();
        compile_protos(&python()?, &[format!("--python_out={out}"), format!("--grpc_python_out={out}")])?;
        Ok(workshop)
    };
    MADE.get_or_init(make).clone()
}

fn made_in_python() -> Result<Command, String> {
    let workshop = python_workshop()?;
    let mut worker = Command::new(python()?);
    worker.arg(workshop.join("worker.py")).env("PYTHONPATH", workshop);
    Ok(worker)
}

fn made_in_go() -> Result<Command, String> {
    let (workshop, python, bin) = (workshop("go"), python()?, root().join("target/examples/bin"));
    let mut arguments = Vec::new();
    for plugin in GO_PLUGINS {
        let name = plugin.rsplit('/').next().unwrap().split('@').next().unwrap();
        once(&bin.join(name), Command::new("go").args(["install", plugin]).env("GOBIN", &bin))?;
        arguments.push(format!("--plugin={name}={}", bin.join(name).display()));
        let out = name.strip_prefix("protoc-gen-").unwrap();
        arguments.push(format!("--{out}_out={}", workshop.display()));
        arguments.push(format!("--{out}_opt=paths=source_relative"));
        let packages = PROTOS.map(|proto| format!("--{out}_opt=M{proto}=worker/fanfold/v1;fanfoldv1"));
        arguments.extend(packages);
    }
    compile_protos(&python, &arguments)?;
    let worker = bin.join("worker-go");
    step(Command::new("go").args(["build", "-o"]).arg(&worker).arg(".").current_dir(&workshop))?;
    Ok(Command::new(worker))
}

fn made_in_typescript() -> Result<Command, String> {
    let workshop = workshop("typescript");
    let compiler = workshop.join("node_modules/typescript/bin/tsc");
    once(&compiler, Command::new("npm").args(["install", "--no-fund", "--no-audit", "--silent"]).current_dir(&workshop))?;
    step(Command::new("node").arg(compiler).current_dir(&workshop))?;
    let mut worker = Command::new("node");
    worker.arg(workshop.join("worker.js"));
    Ok(worker)
}

/// Ended with the test.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers a run, hears of a cancel in mid-answer, and answers the next one.
async fn answers_and_hears_of_cancels(node: &Node, name: &str, worker: &mut Command) {
    let worker = Example(worker.stdin(Stdio::null()).spawn().unwrap());
    let client = node.client();
    open(&client, "s").await;
    let ask = async |id: &str, words: &str| {
        assert_eq!(client.submit(command(id, "s", message(words))).await.unwrap().refusal, "");
    };
    let mut reader = follow(&client, "s", Transport::WebSocket);
    ask("one", "a few words").await;
    until(&mut reader, |view| all_ended(view, 1)).await;
    let view = state(&client, "s").await;
    assert_eq!((last(&view).0, text(&last(&view).1).as_str()), (RunStatus::Completed, "a few words "));
    assert_eq!(view.runs[0].worker.as_deref(), Some(name));
    ask("two", &"on and ".repeat(2_000)).await;
    until(&mut reader, |view| view.runs.len() == 2 && text(&last(view).1).len() > 30).await;
    let cancel = v1::command::Action::Cancel(v1::Cancel { run: None, reason: String::new() });
    client.submit(command("cancel", "s", cancel)).await.unwrap();
    ask("three", "and again").await;
    until(&mut reader, |view| all_ended(view, 3)).await;
    let view = state(&client, "s").await;
    assert_eq!(view.runs[1].status, RunStatus::Cancelled);
    assert_eq!((last(&view).0, text(&last(&view).1).as_str()), (RunStatus::Completed, "and again "));
    drop(worker);
}

async fn check(language: &str, made: Result<Command, String>, address: fn(&Node) -> String) {
    let mut worker = match made {
        Ok(worker) => worker,
        Err(why) => return missing(&format!("the {language} worker can't be made: {why}")),
    };
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), SILENCE_MS);
    worker.arg(address(&node));
    answers_and_hears_of_cancels(&node, language, &mut worker).await;
}

fn grpc(node: &Node) -> String {
    node.grpc.trim_start_matches("http://").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_worker_answers() {
    check("python", made_in_python(), grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_worker_answers() {
    check("go", made_in_go(), grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_worker_answers() {
    check("typescript", made_in_typescript(), |node| node.http.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ten_lines_of_the_readme_answer_one_run() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let code = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let (python, stubs) = match python_workshop().and_then(|stubs| Ok((python()?, stubs))) {
        Ok(made) => made,
        Err(why) => return missing(&format!("the worker of the README can't be made: {why}")),
    };
    let data = tempfile::tempdir().unwrap();
    let node = impatient(data.path(), SILENCE_MS);
    assert!(code.contains("\"127.0.0.1:8081\""));
    let code = code.replace("127.0.0.1:8081", &grpc(&node));
    let mut worker = Command::new(python);
    worker.args(["-c", &code]).env("PYTHONPATH", stubs).stdin(Stdio::null()).stdout(Stdio::null());
    let _worker = Example(worker.spawn().unwrap());
    let client = node.client();
    open(&client, "s").await;
    let mut reader = follow(&client, "s", Transport::WebSocket);
    assert_eq!(client.submit(command("one", "s", message("hello"))).await.unwrap().refusal, "");
    until(&mut reader, |view| all_ended(view, 1)).await;
    let view = state(&client, "s").await;
    assert_eq!((last(&view).0, text(&last(&view).1).as_str()), (RunStatus::Completed, "Hello from Python."));
}

#[test]
fn each_is_under_eighty_lines() {
    for file in ["python/worker.py", "go/main.go", "typescript/worker.ts"] {
        let lines = std::fs::read_to_string(root().join("examples").join(file)).unwrap().lines().count();
        assert!(lines < 80, "{file} has {lines} lines");
    }
}
