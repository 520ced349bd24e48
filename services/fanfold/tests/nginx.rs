//! Three nodes behind a real nginx with plain round robin, which sends each connection to another of them.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfold_client::Transport;
use fanfold_fold::View;
use fanfold_wire::v1;
use fanfold_wire::v1::{How, ResetReason};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::cluster::Cluster;
use support::nginx::Nginx;
use support::numbers::{count, number};
use support::wire::{Held, Wire};
use support::{DEADLINE, Node, follow, open, seed, state_since, until};
use tokio::time::Instant;

const TRANSPORTS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Grpc];

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Nodes that can be started again where they were.
struct Fleet {
    cluster: Cluster,
    ports: [[u16; 2]; 3],
    nodes: [Node; 3],
}

impl Fleet {
    fn start(what: &str) -> Option<Self> {
        let cluster = Cluster::make(what)?;
        let ports = NAMES.map(|_| [fanfold_ports::free(), fanfold_ports::free()]);
        let nodes = [0, 1, 2].map(|at| cluster.node_at(NAMES[at], ports[at]));
        Some(Self { cluster, ports, nodes })
    }

    fn start_again(&mut self, at: usize) {
        self.nodes[at] = self.cluster.node_at(NAMES[at], self.ports[at]);
    }
}

fn ask(cursor: Option<&str>) -> v1::Subscribe {
    v1::Subscribe { session: "s".into(), cursor: cursor.map(str::to_owned), window: u32::MAX, ..v1::Subscribe::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_on_different_nodes_see_the_same_frames() {
    let Some(fleet) = Fleet::start("readers behind nginx") else { return };
    let Some(nginx) = Nginx::start("readers behind nginx", fleet.nodes.each_ref()) else { return };
    open(&nginx.client(), "s").await;
    let mut readers = Vec::new();
    // Of each transport one more than there are nodes.
    for transport in TRANSPORTS.iter().cycle().take(12) {
        let mut wire = Wire::open_at(&nginx.door, *transport, vec![ask(None)], BTreeMap::new()).await.unwrap();
        wire.caught_up(1).await;
        readers.push(wire);
    }
    let mut hosts: Vec<_> = readers.iter().filter_map(|wire| wire.node.clone()).collect();
    hosts.sort();
    hosts.dedup();
    assert!(hosts.len() > 1, "nginx spreads them: {hosts:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn(count(nginx.client(), 0, Arc::clone(&stop)));
    // What each cursor stands for, as the first reader to come by it has seen it.
    let mut known: BTreeMap<String, View> = BTreeMap::new();
    let mut same = 0;
    for wire in &mut readers {
        let upto = number(&wire.held["s"].view) + 30;
        while number(&wire.held["s"].view) < upto {
            wire.next().await;
            let Held { view, cursor, .. } = &wire.held["s"];
            if let Some(known) = known.get(cursor) {
                assert_eq!(known, view, "I3 pure fold, at {cursor}");
                same += 1;
            } else {
                known.insert(cursor.clone(), view.clone());
            }
        }
    }
    assert!(same > 100, "readers meet at the same cursors: {same}");
    stop.store(true, Ordering::Relaxed);
    let (last, cursor) = counting.await.unwrap();
    let truth = state_since(&nginx.client(), "s", &*cursor).await;
    for wire in &mut readers {
        wire.until(|wire| number(&wire.held["s"].view) == last).await;
        assert_eq!(wire.held["s"].view, truth);
    }
}

/// One who comes back each time over another transport, wherever nginx sends it.
struct Hopper {
    rng: StdRng,
    held: BTreeMap<String, Held>,
    hops: usize,
    resumed: usize,
}

impl Hopper {
    /// One connection, held for a few frames or until it breaks.
    async fn hop(&mut self, nginx: &Nginx) {
        let transport = TRANSPORTS[self.rng.random_range(0..3)];
        let cursor = self.held.get("s").map(|held| held.cursor.clone());
        self.held.values_mut().for_each(|held| held.caught_up = false);
        let opened = Wire::open_at(&nginx.door, transport, vec![ask(cursor.as_deref())], self.held.clone()).await;
        let Ok(mut wire) = opened else { return };
        let before = self.held.get("s").map_or(0, |held| number(&held.view));
        let mut frames = self.rng.random_range(1..6);
        while frames > 0 {
            if wire.next_or_end().await.is_none() {
                break;
            }
            frames -= u32::from(wire.held.get("s").is_some_and(|held| held.caught_up));
        }
        if let (Some(subscribed), Some(_)) = (wire.subscribed.get("s"), cursor) {
            assert!(matches!(subscribed.how(), How::Resumed | How::Snapshot), "{subscribed:?}");
            assert!(matches!(subscribed.reset_reason(), ResetReason::Unspecified | ResetReason::TooOld), "{subscribed:?}");
            self.hops += 1;
            self.resumed += usize::from(subscribed.how() == How::Resumed);
        }
        self.held = wire.held;
        assert!(self.held.get("s").map_or(0, |held| number(&held.view)) >= before, "nothing is taken back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_killed_and_drained_under_readers_who_miss_nothing() {
    let Some(mut fleet) = Fleet::start("nodes that go behind nginx") else { return };
    let Some(nginx) = Nginx::start("nodes that go behind nginx", fleet.nodes.each_ref()) else { return };
    let client = nginx.client();
    open(&client, "s").await;
    let mut staying = TRANSPORTS.map(|transport| follow(&client, "s", transport));
    for follow in &mut staying {
        until(follow, |view| view.session.opened_at_ms > 0).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn(count(client.clone(), 0, Arc::clone(&stop)));
    let mut hopper = Hopper { rng: StdRng::seed_from_u64(seed()), held: BTreeMap::new(), hops: 0, resumed: 0 };
    let hops = async |hopper: &mut Hopper, more: usize| {
        let (upto, deadline) = (hopper.hops + more, Instant::now() + DEADLINE);
        while hopper.hops < upto {
            hopper.hop(&nginx).await;
            assert!(Instant::now() < deadline, "{} of {upto} hops", hopper.hops);
        }
    };
    hops(&mut hopper, 8).await;
    fleet.nodes[0].kill();
    hops(&mut hopper, 8).await;
    fleet.start_again(0);
    fleet.nodes[1].signal("-TERM");
    hops(&mut hopper, 8).await;
    assert!(fleet.nodes[1].ended().success());
    hops(&mut hopper, 4).await;
    fleet.start_again(1);
    hops(&mut hopper, 8).await;
    stop.store(true, Ordering::Relaxed);
    let (last, cursor) = counting.await.unwrap();
    eprintln!("{} hops, {} of them resumed, {last} numbers", hopper.hops, hopper.resumed);
    assert!(hopper.resumed > hopper.hops / 2);
    let truth = state_since(&fleet.nodes[0].client(), "s", &*cursor).await;
    assert_eq!(number(&truth), last, "what was acknowledged is there");
    for node in &fleet.nodes {
        assert_eq!(state_since(&node.client(), "s", &*cursor).await, truth);
    }
    for follow in &mut staying {
        until(follow, |view| *view == truth).await;
    }
    while hopper.held["s"].view != truth {
        hopper.hop(&nginx).await;
    }
}
