//! Bytes per hosted idle session: opens sessions with one short exchange each and keeps them in memory.
//! `FANFOLD_BENCH_SESSIONS` sets how many (default 20,000; the target is 100,000 in 2 GB).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfold_fold::{
    Action, Command, Offset, Parent, Part, Role, Run, RunId, Send, SessionId, SessionKey, SessionOpened, TenantId,
};
use fanfold_log::{EmbeddedLog, EmbeddedLogConfig};
use fanfold_session::{Alone, DeltaFrame, FrameCodec, Observer, Ports, Present, SessionConfig, Sessions, SnapshotFrame};
use fanfold_store::EmbeddedStore;
use futures::StreamExt as _;

struct NoCodec;

impl FrameCodec for NoCodec {
    fn name(&self) -> &'static str {
        "none"
    }
    fn delta(&self, _frame: &DeltaFrame<'_>, _out: &mut Vec<u8>) {}
    fn snapshot(&self, _frame: &SnapshotFrame<'_>, _out: &mut Vec<u8>) {}
    fn presence(&self, _session: &SessionId, _offset: Offset, _present: &[Present], _out: &mut Vec<u8>) {}
}

struct Nobody;

impl Observer for Nobody {
    fn run_changed(&self, _session: &SessionKey, _run: &Run) {}
    fn worked(&self, _session: &SessionKey, _run: &RunId) {}
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn fill(sessions: &Sessions, n: usize) {
    let key = SessionKey::new(TenantId::default(), format!("session-{n}").parse().unwrap());
    let command = |id: &str, action| Command { id: id.parse().unwrap(), at_ms: 1, by: None, action };
    sessions.submit(&key, command("open", Action::Open(SessionOpened::default())), None, Offset::NONE).await.unwrap();
    let send = Send {
        message: "m".parse().unwrap(),
        parent: Parent::Root,
        role: Role::User,
        parts: vec![Part::text("A question of some sixty characters, as people like to ask.")],
        answer: None,
    };
    sessions.submit(&key, command("send", Action::Send(send)), None, Offset::NONE).await.unwrap();
}

#[tokio::main]
async fn main() {
    let count: usize = std::env::var("FANFOLD_BENCH_SESSIONS").map_or(20_000, |count| count.parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let clock = Arc::new(|| 0);
    let config = EmbeddedLogConfig { dir: data.path().join("log"), ..EmbeddedLogConfig::default() };
    let store = Arc::new(EmbeddedStore::open(data.path().join("store")).unwrap());
    let ports = Ports {
        log: Arc::new(EmbeddedLog::open(config, clock.clone()).unwrap()),
        snapshots: store.clone(),
        archive: store.clone(),
        contents: store.clone(),
        index: store.clone(),
        parking: store,
        codecs: vec![Arc::new(NoCodec)],
        neighbours: Arc::new(Alone),
        observer: Arc::new(Nobody),
        clock,
    };
    let idle_after = Duration::from_secs(3600);
    let config = SessionConfig { sessions_max: 2 * count, bytes_max: u64::MAX, idle_after, ..SessionConfig::default() };
    let sessions = Sessions::start(ports, config).await.unwrap();
    let before = resident();
    let started = Instant::now();
    let filling = futures::stream::iter(0..count).map(|n| fill(&sessions, n)).buffer_unordered(256);
    filling.collect::<Vec<()>>().await;
    let hosted = sessions.stats().sessions;
    let bytes = resident() - before;
    println!("sessions hosted      {hosted}");
    println!("opened in            {:.1} s", started.elapsed().as_secs_f64());
    println!("resident growth      {:.0} MB, log and store included", bytes as f64 / 1e6);
    println!("bytes per session    {}", bytes / hosted as u64);
    println!("100,000 would take   {:.2} GB", bytes as f64 / hosted as f64 * 1e5 / 1e9);
}
