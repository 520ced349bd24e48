//! Sessions on the move between folders and servers, by the real commands, and what their readers see of it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfold_client::Transport;
use fanfold_fold::{FOLD_VERSION, Offset, RunStatus, SessionKey, TenantId};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig, EventLog as _};
use fanfold_store::{EmbeddedStore, Eraser as _, Erasure, SessionIndex as _, SnapshotStore as _};
use fanfold_wire::v1;
use fanfold_wire::v1::{How, ResetReason};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::archive::until_zero;
use support::place::{Place, stderr};
use support::wire::{Held, Wire};
use support::{Node, all_ended, fact, follow, open, seed, send, state, until};

/// Everything is archived at once and leaves the log at once.
const EAGER: [(&str, &str); 6] = [
    ("ARCHIVE__QUIET_MS", "50"),
    ("ARCHIVE__WAIT_MS_MAX", "200"),
    ("ARCHIVE__SEGMENT_RECORDS", "20"),
    ("ARCHIVE__KEEP_MS", "0"),
    ("SESSION__SNAPSHOT_RECORDS", "20"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "10"),
];

/// A session with facts, an answered run, and facts behind it.
async fn live(node: &Node, session: &str) {
    let client = node.client();
    open(&client, session).await;
    for n in 0..15 {
        fact(&client, &format!("a{n}"), session, 100).await;
    }
    send(&client, &format!("ask-{session}"), session).await;
    let mut reader = follow(&client, session, Transport::WebSocket);
    until(&mut reader, |view| all_ended(view, 1)).await;
    for n in 0..15 {
        fact(&client, &format!("b{n}"), session, 100).await;
    }
}

fn ask(session: &str, cursor: Option<&str>) -> v1::Subscribe {
    v1::Subscribe { session: session.into(), cursor: cursor.map(str::to_owned), window: u32::MAX, ..v1::Subscribe::default() }
}

/// Reads a session to its end: from nothing, or from what is held.
async fn read(node: &Node, session: &str, held: Option<Held>) -> (v1::Subscribed, Held) {
    let cursor = held.as_ref().map(|held| held.cursor.clone());
    let held = held.map(|held| (session.to_owned(), Held { caught_up: false, ..held }));
    let asked = vec![ask(session, cursor.as_deref())];
    let mut wire = Wire::open(node, Transport::WebSocket, asked, BTreeMap::from_iter(held)).await;
    wire.caught_up(1).await;
    (wire.subscribed.remove(session).unwrap(), wire.held.remove(session).unwrap())
}

/// A command that asks a running node.
fn asked(node: &Node, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfold"));
    let output = command.args(arguments).args(["--url", &node.http, "--grpc-url", &node.grpc]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Offsets of records, as `events --json` tells them.
fn offsets(events: &str) -> Vec<u64> {
    let offset = |line: &str| serde_json::from_str::<v1::Record>(line).unwrap().offset;
    events.lines().map(offset).collect()
}

/// What a state says without its cursor, which names the epoch.
fn without_cursor(state: &str) -> v1::Snapshot {
    v1::Snapshot { cursor: String::new(), ..serde_json::from_str(state).unwrap() }
}

/// What a node answers to each of some questions.
fn answers(node: &Node) -> Vec<(Vec<String>, String)> {
    let events = offsets(&asked(node, &["events", "s", "--json"]));
    let (middle, end) = (events[events.len() / 2], events[events.len() - 3]);
    let questions = [
        "state s --json".to_owned(),
        format!("state s --json --at {middle}"),
        format!("state s --at {end}"),
        "events s --json".to_owned(),
        format!("events s --json --from {middle} --to {end}"),
        format!("events s --from {end}"),
    ];
    let answer = |line: String| {
        let question: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let answer = asked(node, &arguments(&question));
        (question, answer)
    };
    questions.into_iter().map(answer).collect()
}

fn arguments(question: &[String]) -> Vec<&str> {
    question.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_says_the_same_without_its_node() {
    let place = Place::folder();
    let mut node = place.node(1, &EAGER);
    live(&node, "s").await;
    let refused = place.tool(&["state", "s"]);
    assert!(!refused.status.success() && stderr(&refused).contains("open elsewhere"), "{}", stderr(&refused));
    let answers = answers(&node);
    node.kill();
    for (question, answer) in answers {
        assert_eq!(place.does(&arguments(&question)), answer, "{question:?}");
    }
    let nobody = place.tool(&["state", "nobody"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", stderr(&nobody));
    let nothing = Place::folder();
    assert!(!nothing.tool(&["events", "s"]).status.success() && !nothing.data.exists(), "a tool that reads makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_say_the_same_beside_their_node() {
    let Some(place) = Place::servers("tools beside a node") else { return };
    place.migrate();
    let node = place.node(1, &EAGER);
    live(&node, "s").await;
    for (question, answer) in answers(&node) {
        assert_eq!(place.does(&arguments(&question)), answer, "{question:?}");
    }
}

/// The encoded state of a session in a folder, as its newest snapshot has it.
async fn encoded(data: &Path, session: &str) -> (Offset, Vec<u8>) {
    let config = EmbeddedLogConfig { dir: data.join("log"), ..EmbeddedLogConfig::default() };
    let log = EmbeddedLog::open(config, Arc::new(|| 0)).unwrap();
    let key = SessionKey::new(TenantId::default(), session.parse().unwrap());
    let store = EmbeddedStore::open(data.join("store")).unwrap();
    let snapshot = store.newest(&key, log.epoch(&key), FOLD_VERSION, Offset(u64::MAX)).await.unwrap().unwrap();
    log.close().await;
    (snapshot.offset, snapshot.state.to_vec())
}

/// Out of one place and into another, where it is as it was, goes on, and doesn't come in a second time.
async fn moves(from: &Place, to: &Place) {
    let node = from.node(1, &EAGER);
    live(&node, "s").await;
    open(&node.client(), "t").await;
    let (_, held) = read(&node, "s", None).await;
    fact(&node.client(), "late", "s", 10).await;
    let before = (asked(&node, &["state", "s", "--json"]), asked(&node, &["events", "s", "--json"]));
    drop(node);
    let file = from.aside("export");
    from.export("--all", &file);
    let import = ["import", file.to_str().unwrap(), "--json"];
    let told: serde_json::Value = serde_json::from_str(&to.does(&import)).unwrap();
    assert_eq!((&told["imported"], &told["already"]), (&2.into(), &0.into()), "{told}");
    let node = to.node(0, &EAGER);
    assert_eq!(without_cursor(&asked(&node, &["state", "s", "--json"])), without_cursor(&before.0));
    assert_eq!(asked(&node, &["events", "s", "--json"]), before.1, "offsets, times and bytes of records stay");
    // A cursor of the old place is answered by a snapshot, from which it goes on without a gap.
    let (subscribed, held) = read(&node, "s", Some(held)).await;
    assert_eq!((subscribed.how(), subscribed.reset_reason()), (How::Snapshot, ResetReason::EpochChanged));
    fact(&node.client(), "more", "s", 10).await;
    let (subscribed, held) = read(&node, "s", Some(held)).await;
    assert_eq!((subscribed.how(), held.view), (How::Resumed, state(&node.client(), "s").await));
    let mut all = offsets(&before.1);
    let now = offsets(&asked(&node, &["events", "s", "--json"]));
    all.extend(now.last());
    assert_eq!(now, all, "what comes is behind what was");
    drop(node);
    // Again, and after it has gone on: it is there.
    let told: serde_json::Value = serde_json::from_str(&to.does(&import)).unwrap();
    assert_eq!((&told["imported"], &told["already"]), (&0.into(), &2.into()), "{told}");
    // Another history of the same name, and one that goes on elsewhere: refused, and what is there stays.
    let node = from.node(0, &[]);
    fact(&node.client(), "elsewhere", "s", 10).await;
    drop(node);
    from.export("--all", &file);
    let refused = to.tool(&import);
    let told: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &told["already"]), (Some(3), &1.into()), "{told}");
    assert!(told["refused"][0].as_str().unwrap().contains("default/s: what is there is another history"), "{told}");
    assert_eq!(offsets(&to.does(&["events", "s", "--json"])), now);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_from_folder_to_folder() {
    let (from, to) = (Place::folder(), Place::folder());
    moves(&from, &to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_from_a_folder_to_servers() {
    let Some(to) = Place::servers("moving to servers") else { return };
    to.migrate();
    moves(&Place::folder(), &to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_from_servers_to_a_folder() {
    let Some(from) = Place::servers("moving from servers") else { return };
    from.migrate();
    moves(&from, &Place::folder()).await;
}

/// From a folder to servers and on to another folder: the same bytes of state.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_the_same_bytes_wherever_it_has_been() {
    let (first, last) = (Place::folder(), Place::folder());
    let mut node = first.node(1, &EAGER);
    live(&node, "s").await;
    // Its end keeps the state.
    assert!(node.terminate().success());
    let file = first.aside("export");
    first.export("s", &file);
    let import = ["import", file.to_str().unwrap()];
    if let Some(between) = Place::servers("the same bytes on servers") {
        between.migrate();
        between.does(&import);
        between.export("s", &file);
    }
    last.does(&import);
    assert_eq!(encoded(&first.data, "s").await, encoded(&last.data, "s").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_cut_export_is_refused_before_anything_is_written() {
    let (from, to) = (Place::folder(), Place::folder());
    let node = from.node(1, &EAGER);
    live(&node, "s").await;
    drop(node);
    let file = from.aside("export");
    from.export("s", &file);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let rows = [
        (flipped, "damaged at byte"),
        (whole[..whole.len() / 2].to_vec(), "cut at byte"),
        (whole[..whole.len() - 1].to_vec(), "cut at byte"),
        (b"something else".to_vec(), "no export"),
    ];
    for (bytes, why) in rows {
        std::fs::write(&file, bytes).unwrap();
        let refused = to.tool(&["import", file.to_str().unwrap()]);
        assert!(!refused.status.success() && stderr(&refused).contains(why), "{why}: {}", stderr(&refused));
        assert!(!to.data.exists(), "{why}: nothing is written");
    }
    let missing = from.tool(&["export", "nobody"]);
    assert_eq!(missing.status.code(), Some(3), "{}", stderr(&missing));
}

/// It is in no export, and neither an older one nor a backup brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_stays_erased() {
    let (place, fresh) = (Place::folder(), Place::folder());
    let mut node = place.node(0, &[]);
    for session in ["gone", "stays"] {
        open(&node.client(), session).await;
        fact(&node.client(), "fact", session, 10).await;
    }
    assert!(node.terminate().success());
    let (before, after, backup) = (place.aside("before"), place.aside("after"), place.aside("backup"));
    place.export("--all", &before);
    let gone = SessionKey::new(TenantId::default(), "gone".parse().unwrap());
    let store = EmbeddedStore::open(place.data.join("store")).unwrap();
    store.erase(&Erasure { session: gone.clone(), offset: Offset(9), erased_at_ms: 7 }).await.unwrap();
    store.erase_done(&gone).await.unwrap();
    drop(store);
    place.export("--all", &after);
    place.does(&["backup", backup.to_str().unwrap()]);
    fresh.does(&["restore", backup.to_str().unwrap()]);
    for place in [&place, &fresh] {
        let refused = place.tool(&["import", before.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(refused.status.code() == Some(3) && said.contains("default/gone: it was erased here"), "{said}");
        let row = EmbeddedStore::open(place.data.join("store")).unwrap().row(&gone).await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.opened_at_ms), ("erased", 7));
        assert_eq!(commands(&place.does(&["events", "stays", "--json"])), ["open", "fact"]);
    }
    // Elsewhere it is not erased, and comes in from what was exported before, but not from what was exported after.
    let elsewhere = Place::folder();
    elsewhere.does(&["import", after.to_str().unwrap()]);
    assert_eq!(elsewhere.tool(&["state", "gone"]).status.code(), Some(3));
    elsewhere.does(&["import", before.to_str().unwrap()]);
    // What a backup says was erased is not erased where the backup is only imported.
    elsewhere.does(&["import", backup.join("sessions.fanfold").to_str().unwrap()]);
    assert_eq!(commands(&elsewhere.does(&["events", "gone", "--json"])), ["open", "fact"]);
}

/// Killed wherever it is, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_finished_by_another() {
    let mut rng = StdRng::seed_from_u64(seed());
    let (from, to) = (Place::folder(), Place::folder());
    let node = from.node(0, &EAGER);
    let names: Vec<_> = (0..20).map(|n| format!("s{n}")).chain(["last".to_owned()]).collect();
    for name in &names {
        open(&node.client(), name).await;
        for n in 0..5 {
            fact(&node.client(), &format!("f{n}"), name, 5000).await;
        }
    }
    drop(node);
    // The one whose offsets are highest has the epoch begin above all.
    let file = from.aside("export");
    from.export("last", &file);
    let import = ["import", file.to_str().unwrap(), "--json"];
    to.does(&import);
    from.export("--all", &file);
    for _ in 0..6 {
        let mut killed = to.prepared(&import).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    let told: serde_json::Value = serde_json::from_str(&to.does(&import)).unwrap();
    assert_eq!(
        (told["imported"].as_u64().unwrap() + told["already"].as_u64().unwrap(), &told["refused"]),
        (21, &serde_json::json!([]))
    );
    let again: serde_json::Value = serde_json::from_str(&to.does(&import)).unwrap();
    assert_eq!(again["already"], 21, "{again}");
    for name in &names[..3] {
        assert_eq!(to.does(&["events", name, "--json"]), from.does(&["events", name, "--json"]), "{name}");
    }
    let node = to.node(0, &[]);
    assert_eq!(asked(&node, &["sessions"]).lines().count(), 21);
}

/// What somebody was told is stored.
type Acked = Arc<Mutex<Vec<(String, String)>>>;

/// Writes into a session until told to stop.
fn write(node: &Node, session: String, acked: &Acked, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let (client, acked, stop) = (node.client(), Arc::clone(acked), Arc::clone(stop));
    tokio::spawn(async move {
        for n in 0.. {
            let id = format!("w{n}");
            fact(&client, &id, &session, 200).await;
            acked.lock().unwrap().push((session.clone(), id));
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    })
}

/// The commands of a session, in order.
fn commands(events: &str) -> Vec<String> {
    events.lines().filter_map(|line| serde_json::from_str::<v1::Record>(line).unwrap().command).collect()
}

/// A run that fails for good, in a session of its own.
async fn give_up(node: &Node) {
    let client = node.client();
    open(&client, "dead").await;
    let run = send(&client, "ask", "dead").await.run;
    let taken = client.take_run(v1::TakeRunRequest { wait_ms: 30_000 }).await.unwrap().lease.unwrap();
    assert_eq!(taken.run, run);
    let start = v1::AppendStart { session: "dead".into(), run, worker: "w".into(), ..v1::AppendStart::default() };
    let mut writing = client.append(start).await.unwrap();
    let failed = v1::Failed { code: "no_such_luck".into(), message: "It did not work.".into(), retryable: false };
    writing.say(vec![v1::Said { said: Some(v1::said::Said::Failed(failed)) }]).await.unwrap();
    writing.finish().await.unwrap();
    let deadline = tokio::time::Instant::now() + support::DEADLINE;
    while asked(node, &["dead-letters"]).is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the run is a dead letter");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_written(acked: &Acked, count: usize) {
    let deadline = tokio::time::Instant::now() + support::DEADLINE;
    while acked.lock().unwrap().len() < count {
        assert!(tokio::time::Instant::now() < deadline, "{count} records are written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Under load a backup is taken, more is written, everything is lost, and the backup is put back into `fresh`.
async fn drill(place: Place, fresh: impl FnOnce(Place) -> Place) {
    let node = place.node(0, &EAGER);
    give_up(&node).await;
    let (acked, stop) = (Acked::default(), Arc::new(AtomicBool::new(false)));
    open(&node.client(), "queued").await;
    let run = send(&node.client(), "ask", "queued").await.run;
    let sessions = ["s0", "s1", "s2"];
    let mut writers = Vec::new();
    for session in sessions {
        open(&node.client(), session).await;
        writers.push(write(&node, session.to_owned(), &acked, &stop));
    }
    let (_, early) = read(&node, "s0", None).await;
    until_written(&acked, 50).await;
    // What is acknowledged from here on may be in the backup, what was before must be.
    let before = acked.lock().unwrap().clone();
    let folder = place.aside("backup");
    let folder = folder.to_str().unwrap().to_owned();
    let backup = tokio::task::spawn_blocking(move || {
        let done = place.does(&["backup", &folder, "--json"]);
        (place, folder, done)
    });
    let (place, folder, _) = backup.await.unwrap();
    let after = acked.lock().unwrap().len();
    assert!(after > before.len(), "it was written while the backup was taken");
    until_written(&acked, after + 20).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let (_, ahead) = read(&node, "s0", None).await;
    let letters = asked(&node, &["dead-letters"]);
    assert!(letters.starts_with("dead\t"), "{letters}");
    drop(node);
    let taken = place.tool(&["restore", &folder]);
    assert!(!taken.status.success() && stderr(&taken).contains("not empty"), "{}", stderr(&taken));
    let kept = place.aside("kept");
    std::fs::rename(&folder, &kept).unwrap();
    let place = fresh(place);
    refused_when_damaged(&place, &kept);
    let restored: serde_json::Value = serde_json::from_str(&place.does(&["restore", kept.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!((&restored["imported"], &restored["refused"]), (&5.into(), &serde_json::json!([])), "{restored}");
    let node = place.node(1, &EAGER);
    for session in sessions {
        let commands = commands(&asked(&node, &["events", session, "--json"]));
        let had = before.iter().filter(|(of, _)| of == session).map(|(_, id)| id);
        let all = std::iter::once("open".to_owned()).chain((0..commands.len() - 1).map(|n| format!("w{n}"))).collect::<Vec<_>>();
        assert_eq!(commands, all, "{session}: what is there has no holes");
        assert!(had.clone().count() < commands.len(), "{session}: {} acknowledged, {} there", had.count(), commands.len());
    }
    // One whose cursor is older than the backup, and one that had seen what is lost: each gets a state, and goes on without a gap.
    for (n, held) in [early, ahead].into_iter().enumerate() {
        let (subscribed, held) = read(&node, "s0", Some(held)).await;
        assert_eq!((subscribed.how(), subscribed.reset_reason()), (How::Snapshot, ResetReason::EpochChanged));
        fact(&node.client(), &format!("after-{n}"), "s0", 10).await;
        let (subscribed, held) = read(&node, "s0", Some(held)).await;
        assert_eq!((subscribed.how(), held.view), (How::Resumed, state(&node.client(), "s0").await));
    }
    let mut reader = follow(&node.client(), "queued", Transport::WebSocket);
    until(&mut reader, |view| all_ended(view, 1)).await;
    let ended = &reader.view().runs[0];
    assert_eq!((ended.id.as_str(), ended.status, ended.attempts), (run.as_str(), RunStatus::Completed, 1), "worked on once");
    assert_eq!(asked(&node, &["dead-letters"]), letters, "with how often it was tried, and when it was buried");
}

/// Each is refused before anything is written.
fn refused_when_damaged(place: &Place, backup: &Path) {
    let damaged = place.aside("damaged");
    let refused = |why: &str| {
        let refused = place.tool(&["restore", damaged.to_str().unwrap()]);
        assert!(!refused.status.success() && stderr(&refused).contains(why), "{why}: {}", stderr(&refused));
        assert!(!place.data.exists(), "{why}: nothing is written");
    };
    let (file, manifest) = ("sessions.fanfold", "manifest.json");
    std::fs::create_dir(&damaged).unwrap();
    let bytes = std::fs::read(backup.join(file)).unwrap();
    std::fs::write(damaged.join(file), &bytes).unwrap();
    refused("no manifest");
    std::fs::copy(backup.join(manifest), damaged.join(manifest)).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 3] ^= 8;
    std::fs::write(damaged.join(file), flipped).unwrap();
    refused("checksum differs");
    std::fs::write(damaged.join(file), &bytes[..bytes.len() - 1]).unwrap();
    refused("bytes, not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_folder_is_put_back() {
    let lost = |place: Place| {
        std::fs::remove_dir_all(&place.data).unwrap();
        place
    };
    drill(Place::folder(), lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_servers_is_put_back() {
    let Some(place) = Place::servers("the drill on servers") else { return };
    place.migrate();
    let fresh = Place::servers("fresh servers").unwrap();
    drill(place, |lost| fresh.beside(lost)).await;
}

/// Nothing is archived; states are kept all the time.
const NEVER: [(&str, &str); 4] = [
    ("ARCHIVE__QUIET_MS", "3600000"),
    ("ARCHIVE__WAIT_MS_MAX", "3600000"),
    ("SESSION__SNAPSHOT_RECORDS", "1"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "1"),
];

/// Has the server delete a stream, as a loss of its disk would.
fn lose_stream(stream: &str) {
    let url = std::env::var("FANFOLD_TEST_NATS").unwrap();
    let mut server = std::net::TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
    server.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let request = format!("CONNECT {{\"verbose\":false}}\r\nSUB lost 1\r\nPUB $JS.API.STREAM.DELETE.{stream} lost 0\r\n\r\n");
    server.write_all(request.as_bytes()).unwrap();
    let answer = BufReader::new(server).lines().map(Result::unwrap).find(|line| line.contains("success")).unwrap();
    assert!(answer.contains("true"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lost_their_streams_go_on_with_what_the_archive_has() {
    let Some(place) = Place::servers("a new epoch after a loss") else { return };
    place.migrate();
    let mut node = place.node(1, &EAGER);
    live(&node, "s").await;
    until_zero(&node, &["fanfold_archive_lag_records "]).await;
    let kept = (asked(&node, &["state", "s", "--json"]), asked(&node, &["events", "s", "--json"]));
    let (_, early) = read(&node, "s", None).await;
    let refused = place.tool(&["epoch", "new", "--yes"]);
    assert!(!refused.status.success() && stderr(&refused).contains("nodes are running"), "{}", stderr(&refused));
    node.kill();
    // States of what the log alone has: the last of them is kept at the end.
    let mut node = place.node(0, &NEVER);
    for n in 0..10 {
        fact(&node.client(), &format!("lost{n}"), "s", 100).await;
    }
    let (_, ahead) = read(&node, "s", None).await;
    assert!(node.terminate().success());
    for shard in 0..2 {
        lose_stream(&format!("{}-log-{shard}", place.prefix()));
    }
    place.migrate();
    let refused = place.tool(&["state", "s"]);
    assert!(!refused.status.success() && stderr(&refused).contains("fanfold epoch new"), "{}", stderr(&refused));
    let asked_first = place.tool(&["epoch", "new"]);
    assert!(!asked_first.status.success() && stderr(&asked_first).contains("the store knows"), "{}", stderr(&asked_first));
    let begun: serde_json::Value = serde_json::from_str(&place.does(&["epoch", "new", "--yes", "--json"])).unwrap();
    let node = place.node(0, &EAGER);
    assert_eq!(without_cursor(&asked(&node, &["state", "s", "--json"])), without_cursor(&kept.0), "no state of what is lost");
    assert_eq!(asked(&node, &["events", "s", "--json"]), kept.1);
    for held in [early, ahead] {
        let (subscribed, held) = read(&node, "s", Some(held)).await;
        assert_eq!((subscribed.how(), subscribed.reset_reason()), (How::Snapshot, ResetReason::EpochChanged));
        assert_eq!(held.view, state(&node.client(), "s").await);
    }
    fact(&node.client(), "more", "s", 10).await;
    let now = offsets(&asked(&node, &["events", "s", "--json"]));
    let (more, before) = now.split_last().unwrap();
    assert_eq!(before, offsets(&kept.1));
    assert!(
        *more >= begun["first_offset"].as_u64().unwrap() && more > &(before.last().unwrap() + 10),
        "above all that was issued"
    );
}

/// Nothing was lost: what only the log had is archived before the log lets go of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_of_whole_streams_loses_nothing() {
    let Some(place) = Place::servers("a new epoch without a loss") else { return };
    place.migrate();
    let mut node = place.node(1, &NEVER);
    live(&node, "s").await;
    let kept = (asked(&node, &["state", "s", "--json"]), asked(&node, &["events", "s", "--json"]));
    assert!(node.terminate().success());
    place.does(&["epoch", "new", "--yes"]);
    let node = place.node(0, &EAGER);
    assert_eq!(without_cursor(&asked(&node, &["state", "s", "--json"])), without_cursor(&kept.0));
    assert_eq!(asked(&node, &["events", "s", "--json"]), kept.1);
}
