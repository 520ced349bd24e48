//! The command line as scripts use it: what each command prints as JSON, and the exit code of each outcome.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use support::{DEADLINE, Node};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const UNREACHABLE: i32 = 4;
const UNKNOWN: i32 = 5;

/// Where nobody listens: no process may without leave.
const NOBODY: &str = "http://127.0.0.1:1";

struct Shell {
    http: String,
    grpc: String,
}

impl Shell {
    fn at(address: &str) -> Self {
        Self { http: address.into(), grpc: address.into() }
    }

    /// Runs a command that ends so, in time, and gives its lines.
    #[track_caller]
    fn run(&self, arguments: &str, input: &str, code: i32) -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        command.args(["--json", "--url", &self.http, "--grpc-url", &self.grpc]).args(arguments.split(' '));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it has read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (tell, told) = mpsc::sync_channel(1);
        std::thread::spawn(move || tell.send(child.wait_with_output().unwrap()));
        let output = told.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{arguments} ends in time"));
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments}\n{stdout}\n{stderr}");
        if code != DONE {
            assert!(!stderr.is_empty(), "{arguments}: it says why");
        }
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{arguments} prints JSON: {line}")))
            .collect()
    }
}

const ANSWER: &str = r#"{"text":{"text":"Hello"}}

{"completed":{"reason":{"kind":"FINISH_KIND_STOP"}}}
"#;

#[test]
fn every_command_prints_json_and_ends_with_its_code() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), &["--worker-slots", "0"]);
    let shell = Shell { http: node.http.clone(), grpc: node.grpc.clone() };
    let run = |arguments: &str, code: i32| shell.run(arguments, "", code);
    assert!(run("sessions", DONE).is_empty());
    assert_eq!(run("open s", DONE)[0]["session"], "s");
    run("open s", REFUSED);
    assert_eq!(run("send s Hello", DONE)[0]["verdict"], "VERDICT_APPLIED");
    run("send nobody Hello", REFUSED);
    assert_eq!(run("sessions", DONE)[0]["session"], "s");

    assert_eq!(shell.run("append s", ANSWER, DONE)[0]["lines"], 3);
    shell.run("append s", ANSWER, REFUSED);
    shell.run("append nobody", ANSWER, REFUSED);
    shell.run("append s --run nothing", ANSWER, REFUSED);
    run("send s Again", DONE);
    shell.run("append s", "nonsense", FAILED);
    assert_eq!(run("cancel s --reason enough", DONE)[0]["refusal"], "");
    run("cancel s", REFUSED);

    for transport in ["ws", "sse", "grpc"] {
        let frames = run(&format!("tail s --from start --until-idle --transport {transport}"), DONE);
        assert!(frames.iter().any(|frame| frame.to_string().contains("Hello")), "{transport}: {frames:?}");
    }
    run("tail nobody", REFUSED);
    let state = &run("state s", DONE)[0];
    assert_eq!(state["view"]["runs"][1]["status"], "RUN_STATUS_CANCELLED");
    assert_eq!(run("state s --at 1", DONE)[0]["offset"], "1");
    run("state nobody", REFUSED);
    assert!(run("events s", DONE).len() > 3);
    assert_eq!(run("events s --from 1 --to 2", DONE).len(), 1);
    assert!(run("parked", DONE).is_empty());
    run("dead-letters", DONE);
    run("dead-letters show s nothing", REFUSED);
    run("dead-letters redrive s nothing", REFUSED);
    run("erase s", FAILED);
    assert!(!run("erase s --yes", DONE).is_empty());
    run("state s", REFUSED);
    run("state", USAGE);
    run("nonsense", USAGE);
}

#[test]
fn nobody_there_is_not_a_refusal() {
    let shell = Shell::at(NOBODY);
    let commands = [
        "sessions",
        "open s",
        "send s x",
        "state s",
        "events s",
        "cancel s",
        "erase s --yes",
        "parked",
        "unpark s",
        "dead-letters",
        "dead-letters show s r",
        "dead-letters redrive s r",
        "append s",
        "append s --run r",
        "tail s --tries 1",
    ];
    for command in commands {
        shell.run(command, ANSWER, UNREACHABLE);
    }
}

#[test]
fn what_may_have_been_done_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Shell::at(&format!("http://{}", listener.local_addr().unwrap()));
    // It is never answered, and doesn't wait for ever.
    std::thread::scope(|scope| {
        for command in ["sessions", "send s x", "state s", "events s", "append s --run r"] {
            let silent = &silent;
            scope.spawn(move || silent.run(command, ANSWER, UNKNOWN));
        }
    });
    let cutting = TcpListener::bind("127.0.0.1:0").unwrap();
    let shell = Shell::at(&format!("http://{}", cutting.local_addr().unwrap()));
    std::thread::spawn(move || {
        for socket in cutting.incoming() {
            // What was asked is taken, and not answered.
            let _ = socket.unwrap().read(&mut [0; 4096]);
        }
    });
    shell.run("send s x", "", UNKNOWN);
}
