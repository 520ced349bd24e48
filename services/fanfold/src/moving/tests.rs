//! Exports of a folder's sessions, with somebody at the other end who stops reading, or erases what is being read.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Event, Offset, Record, SessionId, SessionKey, SessionOpened, TenantId};
use fanfold_log::Expect;
use fanfold_store::Erasure;
use rand::RngCore as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::control::answer;
use super::export::{ERASED, Wanted};
use super::format::{Block, Decoder};
use super::source::Source;
use crate::config::Config;

/// Bytes of a session: more than a socket's buffers and all others on the way hold.
const RECORDS: usize = 40;
const RECORD_BYTES: usize = 100_000;

/// A log and a store of two sessions.
async fn source() -> (tempfile::TempDir, Config, Source, [SessionKey; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.node.data = dir.path().into();
    let source = Source::open_or_make(&config).await.unwrap();
    let sessions = ["a", "b"].map(|name| SessionKey::new(TenantId::default(), SessionId::new(name).unwrap()));
    for session in &sessions {
        for _ in 0..RECORDS {
            // No compression makes it smaller.
            let mut title = vec![0_u8; RECORD_BYTES / 2];
            rand::rng().fill_bytes(&mut title);
            let title = title.iter().map(|byte| format!("{byte:02x}")).collect();
            let events = vec![Event::from(SessionOpened { title: Some(title), user: None })];
            let record = Record { command: None, at_ms: 1, by: None, events };
            source.log.append(session, Bytes::from(record.encode()), Expect::Any, None).await.unwrap();
        }
    }
    (dir, config, source, sessions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_erased_while_it_is_read_costs_no_other() {
    let (_dir, config, source, [first, second]) = source().await;
    let exporter = source.exporter(&config).await.unwrap();
    let (mut to, mut from) = tokio::io::duplex(1000);
    let exported = tokio::spawn(async move { exporter.export(&Wanted::Backup, &mut to, |_| {}).await });
    // Its first records are on their way.
    let mut file = vec![0; RECORDS * RECORD_BYTES / 4];
    from.read_exact(&mut file).await.unwrap();
    let erasure = Erasure { session: first.clone(), offset: Offset(1000), erased_at_ms: 7 };
    source.store.erase(&erasure).await.unwrap();
    from.read_to_end(&mut file).await.unwrap();
    let summary = exported.await.unwrap().unwrap();
    assert_eq!((summary.sessions, summary.records), (1, RECORDS as u64));
    assert_eq!(summary.left_out, [format!("{first}: {ERASED}")]);
    let (mut erased, mut whole, mut left) = (Vec::new(), 0, BTreeSet::new());
    let mut blocks = Decoder::open(&file[..]).unwrap();
    while let Some(block) = blocks.next().unwrap() {
        match block {
            Block::Erased(block) => erased.push((block.session, block.offset, block.erased_at_ms)),
            Block::SessionEnd(_) => whole += 1,
            Block::Left(block) => drop(left.insert(block.session)),
            _ => {}
        }
    }
    assert_eq!(erased, [("a".to_owned(), Offset(1000), 7)]);
    assert_eq!((whole, left), (1, ["a".to_owned()].into()));
    assert!(super::check::check(Decoder::open(&file[..]).unwrap(), |session, _| assert_eq!(*session, second)).is_ok());
}

/// Otherwise no backup is taken until the node is started anew.
#[tokio::test(start_paused = true)]
async fn a_tool_that_stops_reading_is_given_up() {
    let (_dir, config, source, _) = source().await;
    let exporter = source.exporter(&config).await.unwrap();
    let (mut tool, node) = UnixStream::pair().unwrap();
    let request = format!("{}\n", serde_json::to_string(&Wanted::All).unwrap());
    tool.write_all(request.as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(3600), answer(node, &exporter)).await.expect("it ends");
    assert!(answered.unwrap_err().to_string().contains("stopped reading"));
}
