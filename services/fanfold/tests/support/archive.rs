//! What a session was while all of it was in the log, to compare with what it is when it has left.

use std::collections::BTreeMap;

use fanfold_client::{Client, Transport};
use fanfold_fold::View;
use fanfold_wire::v1;
use fanfold_wire::v1::How;
use tokio::time::Instant;

use super::wire::{Held, Wire};
use super::{DEADLINE, Node, fact, replay, state, until};

/// Everything is archived at once and leaves the log at once; little stays in memory.
pub const EAGER: [(&str, &str); 9] = [
    ("ARCHIVE__QUIET_MS", "50"),
    ("ARCHIVE__WAIT_MS_MAX", "200"),
    ("ARCHIVE__SEGMENT_RECORDS", "20"),
    ("ARCHIVE__KEEP_MS", "0"),
    ("SESSION__RING_BYTES_MAX", "4096"),
    ("SESSION__MERGE_ABOVE_BYTES", "1024"),
    ("SESSION__IDLE_MS", "300"),
    ("SESSION__SNAPSHOT_RECORDS", "50"),
    ("SESSION__SNAPSHOT_INTERVAL_MS", "10"),
];

/// Nothing is archived.
pub const NEVER: [(&str, &str); 2] = [("ARCHIVE__QUIET_MS", "3600000"), ("ARCHIVE__WAIT_MS_MAX", "3600000")];

/// A figure that the node reports. `None` before it is first reported.
pub async fn figure(node: &Node, name: &str) -> Option<f64> {
    let page = reqwest::get(format!("{}/metrics", node.http)).await.unwrap().text().await.unwrap();
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until nothing is left in the log.
pub async fn archived(node: &Node) {
    until_zero(node, &["fanfold_archive_lag_records ", "fanfold_archive_log_fullness "]).await;
}

/// Waits until these figures of the archiver are 0, by a look that it began after this moment: older ones tell of earlier records.
pub async fn until_zero(node: &Node, names: &[&str]) {
    const LOOKS: &str = "fanfold_archive_looks_total ";
    let (deadline, begun) = (Instant::now() + DEADLINE, figure(node, LOOKS).await.unwrap_or(0.0));
    loop {
        // The first look from now on may have begun before.
        let is_new = figure(node, LOOKS).await.is_some_and(|looks| looks >= begun + 2.0);
        let mut figures = Vec::new();
        for name in names {
            figures.push(figure(node, name).await);
        }
        if is_new && figures.iter().all(|figure| *figure == Some(0.0)) {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} come to nothing: {figures:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn state_at(client: &Client, at: u64) -> View {
    let request = v1::GetStateRequest { session: "s".into(), at: Some(at), window: u32::MAX, ..v1::GetStateRequest::default() };
    client.state(request).await.unwrap().view.unwrap().try_into().unwrap()
}

/// All records, over as many pages as it takes.
pub async fn events(client: &Client) -> Vec<v1::Record> {
    let mut records = Vec::<v1::Record>::new();
    loop {
        let after = records.last().map_or(0, |record| record.offset);
        let request = v1::ListEventsRequest { session: "s".into(), after, limit: 64, ..v1::ListEventsRequest::default() };
        let page = client.events(request).await.unwrap();
        records.extend(page.records);
        if page.end {
            return records;
        }
    }
}

/// Reads the session to its end, as a new reader.
async fn read(node: &Node, transport: Transport, cursor: Option<(&Held, &str)>) -> (v1::Subscribed, Held) {
    let asked = v1::Subscribe {
        session: "s".into(),
        cursor: cursor.map(|(_, cursor)| cursor.to_owned()),
        window: u32::MAX,
        ..v1::Subscribe::default()
    };
    let held = cursor.map(|(held, _)| ("s".to_owned(), Held { caught_up: false, ..held.clone() }));
    let mut wire = Wire::open(node, transport, vec![asked], BTreeMap::from_iter(held)).await;
    wire.caught_up(1).await;
    (wire.subscribed.remove("s").unwrap(), wire.held.remove("s").unwrap())
}

/// What a session said at several offsets while all of it was in the log.
pub struct Known {
    pub states: Vec<(u64, View)>,
    pub events: Vec<v1::Record>,
    pub early: Held,
    pub last: View,
}

impl Known {
    /// Says so many facts in a session that has been opened.
    pub async fn write(node: &Node, facts: usize) -> Self {
        let client = node.client();
        say(&client, 0, facts / 5).await;
        let (_, early) = read(node, Transport::WebSocket, None).await;
        say(&client, facts / 5, facts).await;
        let events = events(&client).await;
        let mut states = Vec::new();
        for record in events.iter().step_by(23) {
            states.push((record.offset, state_at(&client, record.offset).await));
        }
        Self { states, early, last: state(&client, "s").await, events }
    }
}

/// History, states of the past, a replay and an old cursor: as if nothing had left the log.
pub async fn check(node: &Node, known: &Known) {
    let client = node.client();
    assert_eq!(state(&client, "s").await, known.last);
    assert_eq!(events(&client).await, known.events);
    for (offset, view) in &known.states {
        assert_eq!(state_at(&client, *offset).await, *view, "at {offset}");
    }
    let mut replayed = replay(&client, "s", Transport::WebSocket);
    until(&mut replayed, |view| *view == known.last).await;
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Grpc] {
        let (subscribed, held) = read(node, transport, Some((&known.early, &known.early.cursor))).await;
        assert_ne!(subscribed.how(), How::Fresh, "{transport:?}");
        assert_eq!(held.view, known.last, "{transport:?}");
    }
}

pub async fn say(client: &Client, from: usize, upto: usize) {
    for n in from..upto {
        fact(client, &format!("f{n}"), "s", 200).await;
    }
}
