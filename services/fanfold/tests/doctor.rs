//! What `fanfold doctor` says of real servers, as an operator reads it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use fanfold_nats::testing::Server;
use support::{Node, node_name, told};

const ACCOUNTS: &str = r#"
accounts {
  SYS { users: [{ user: system, password: "s" }] }
  FANFOLD { jetstream: enabled, users: [{ user: node, password: "n", permissions: { publish: { deny: ["*.live.>"] } } }] }
}
system_account: SYS
"#;

struct Servers {
    nats: Server,
    cql: String,
    folder: tempfile::TempDir,
}

impl Servers {
    /// A deployment's log under this prefix, its store in this keyspace.
    fn command(&self, name: &str, prefix: &str, keyspace: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
        let settings = [
            ("LOG__BACKEND", "jetstream".to_owned()),
            ("LOG__JETSTREAM__PREFIX", prefix.to_owned()),
            ("LOG__JETSTREAM__SHARDS", "2".to_owned()),
            ("LOG__JETSTREAM__REPLICAS", "1".to_owned()),
            ("LOG__JETSTREAM__SHARD_BYTES_MAX", "67108864".to_owned()),
            ("LOG__JETSTREAM__NATS__URLS", format!("[\"{}\"]", self.nats.url)),
            ("LOG__JETSTREAM__NATS__USER", "node".to_owned()),
            ("LOG__JETSTREAM__NATS__PASSWORD_FILE", self.password("n")),
            ("RUNS__QUEUE__BUCKETS", "2".to_owned()),
            ("STORE__BACKEND", "scylla".to_owned()),
            ("STORE__SCYLLA__KEYSPACE", keyspace.to_owned()),
            ("STORE__SCYLLA__REPLICAS", "1".to_owned()),
            ("STORE__SCYLLA__NODES", format!("[\"{}\"]", self.cql)),
            ("STORE__SCYLLA__CONNECT_MS_MAX", "60000".to_owned()),
        ];
        command.arg(name).env("FANFOLD_LOG", "warn");
        command.envs(settings.iter().map(|(key, value)| (format!("FANFOLD_{key}"), value)));
        command
    }

    fn password(&self, text: &str) -> String {
        let file = self.folder.path().join(text);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn doctor(&self, prefix: &str, keyspace: &str) -> Output {
        let mut doctor = self.command("doctor", prefix, keyspace);
        doctor.args(["--nats-system-user", "system", "--nats-system-password-file", &self.password("s")]);
        doctor.output().unwrap()
    }
}

fn lines(output: &Output) -> Vec<(String, String, String)> {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let line = |line: &str| {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap())
    };
    said.lines().map(line).collect()
}

#[test]
fn it_looks_at_log_queue_store_and_whether_they_belong_together() {
    let Some(cql) = told("FANFOLD_TEST_CQL", "the doctor") else { return };
    let Some(nats) = Server::start("the doctor", ACCOUNTS) else { return };
    let servers = Servers { nats, cql, folder: tempfile::tempdir().unwrap() };
    let mine = format!("d{}", uuid::Uuid::new_v4().simple());
    let other = format!("d{}", uuid::Uuid::new_v4().simple());
    let migrate = |name: &str| assert!(servers.command("migrate", name, name).status().unwrap().success());
    migrate(&mine);
    let output = servers.doctor(&mine, &mine);
    let said = lines(&output);
    let has = |part: &str, severity: &str, what: &str| {
        said.iter().any(|(p, s, w)| (p.as_str(), s.as_str()) == (part, severity) && w.contains(what))
    };
    assert!(has("log", "ok", "syncs before it acknowledges"), "{said:?}");
    assert!(has("log", "ok", "0 to archive"), "{said:?}");
    assert!(has("queue", "ok", "0 runs wait"), "{said:?}");
    assert!(has("store", "ok", ""), "{said:?}");
    // One server of each is what a test has.
    let bad: Vec<_> = said.iter().filter(|(_, severity, _)| ["danger", "broken"].contains(&severity.as_str())).collect();
    assert!(bad.iter().all(|(_, _, what)| what.contains("1 server(s)") || what.contains("one copy")), "{bad:?}");
    assert!(bad.len() == 2 && !output.status.success(), "{bad:?}");

    migrate(&other);
    // Another deployment's log, as after a stream was made anew: the store tells.
    let said = lines(&servers.doctor(&other, &mine));
    let epochs: Vec<_> = said.iter().filter(|(part, ..)| part == "epoch").collect();
    assert!(epochs.len() == 2 && epochs.iter().all(|(_, s, w)| s == "broken" && w.contains("epoch new")), "{said:?}");
    // And one that nobody has migrated.
    let said = lines(&servers.doctor("nothing", &mine));
    for part in ["log", "queue"] {
        assert!(said.iter().any(|(p, s, w)| p == part && s == "broken" && w.contains("fanfold migrate")), "{part}: {said:?}");
    }
}

#[test]
fn a_node_warns_of_a_log_that_one_server_keeps() {
    let Some(cql) = told("FANFOLD_TEST_CQL", "a node on one server") else { return };
    let Some(nats) = Server::start("a node on one server", ACCOUNTS) else { return };
    let servers = Servers { nats, cql, folder: tempfile::tempdir().unwrap() };
    let mine = format!("d{}", uuid::Uuid::new_v4().simple());
    assert!(servers.command("migrate", &mine, &mine).status().unwrap().success());
    let mut serve = servers.command("serve", &mine, &mine);
    let log = servers.folder.path().join("log");
    serve.env("FANFOLD_NODE__NAME", node_name()).env("FANFOLD_NODE__DATA", servers.folder.path());
    serve.env("FANFOLD_LISTEN__HTTP", "127.0.0.1:0").env("FANFOLD_LISTEN__GRPC", "127.0.0.1:0");
    serve.stderr(std::fs::File::create(&log).unwrap());
    // It warns before it says where it is.
    let _node = Node::spawn(serve);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("fewer than 3 servers"), "{said}");
}

#[test]
fn a_configuration_is_checked_without_servers() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = folder.path().join("fanfold.toml");
        std::fs::write(&file, text).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_fanfold")).args(["serve", "--check", "--config"]).arg(&file).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("[node]\nname = \"n\"\n"), (true, String::new()));
    let wrong = [
        ("[node]\nnmae = \"n\"\n", "nmae"),
        ("[listen]\nhttp = \"0.0.0.0:1\"\n", "not a loopback address"),
        ("[auth]\nkeys = [{ algorithm = \"EdDSA\", path = \"/nowhere/jwt.pem\" }]\n", "/nowhere/jwt.pem"),
        ("[runs]\nmodel_recordings = [\"/nowhere/answer.jsonl\"]\n", "/nowhere/answer.jsonl"),
    ];
    for (text, why) in wrong {
        let (is_right, said) = check(text);
        assert!(!is_right && said.contains(why), "{text}: {said}");
    }
    assert!(!Path::new("data").join("log").exists(), "nothing was opened");
}
