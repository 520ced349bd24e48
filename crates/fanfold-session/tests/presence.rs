//! People on several nodes of one session see each other, whatever becomes of a node.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};
use fanfold_session::{
    Appearance, Filled, FormatId, Hear, Heard, Inbox, Mode, Neighbour, Neighbours, SessionConfig, Sessions, Start, Subscribe,
    Subscription,
};
use support::log::Faults;
use support::{Frame, Frames, World, key, open};
use tokio::time::Instant;

/// Nodes in one process. A member that is dropped has left.
#[derive(Default)]
struct Hall {
    members: Mutex<Vec<(SessionKey, Weak<Hear>)>>,
    messages: Mutex<usize>,
}

struct InHall(Arc<Hall>);

struct Member {
    hall: Arc<Hall>,
    session: SessionKey,
    hear: Arc<Hear>,
}

impl Hall {
    fn others(&self, session: &SessionKey, own: &Arc<Hear>) -> Vec<Arc<Hear>> {
        *self.messages.lock().unwrap() += 1;
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|(_, member)| member.strong_count() > 0);
        let there = members.iter().filter(|(key, _)| key == session).filter_map(|(_, member)| member.upgrade());
        there.filter(|member| !Arc::ptr_eq(member, own)).collect()
    }
}

impl Neighbours for InHall {
    fn join(&self, session: &SessionKey, hear: Hear) -> Box<dyn Neighbour> {
        let member = Member { hall: Arc::clone(&self.0), session: session.clone(), hear: Arc::new(hear) };
        let others = self.0.others(session, &member.hear);
        self.0.members.lock().unwrap().push((session.clone(), Arc::downgrade(&member.hear)));
        others.iter().for_each(|other| other(Heard::Asked));
        Box::new(member)
    }
}

impl Neighbour for Member {
    fn tell(&self, appeared: &[Appearance]) {
        self.hall.others(&self.session, &self.hear).iter().for_each(|other| other(Heard::Appeared(appeared.to_vec())));
    }
}

/// One who watches a session on one node.
struct Watcher {
    inbox: Arc<Inbox>,
    subscription: Subscription,
    frames: Arc<Frames>,
    shown: String,
}

impl Watcher {
    async fn new(world: &World, node: &Sessions) -> Self {
        let inbox = Arc::<Inbox>::default();
        let request = Subscribe { start: Start::Now, format: FormatId(0), mode: Mode::Deltas, window: 10 };
        let subscription = node.subscribe(&key("s"), request, &inbox, 1).await.unwrap().subscription;
        Self { inbox, subscription, frames: Arc::clone(&world.frames), shown: String::new() }
    }

    /// Waits until the list reads so.
    async fn sees(&mut self, expected: &str) {
        let all = async {
            while self.shown != expected {
                let mut ready = std::collections::VecDeque::new();
                std::future::poll_fn(|context| self.inbox.poll_ready(context, &mut ready)).await;
                let mut out = Vec::new();
                while self.subscription.fill(&mut out, 1 << 20).await.unwrap() == Filled::More {}
                for frame in self.frames.get(&out) {
                    if let Frame::Presence(list) = frame {
                        let list: Vec<_> = list.iter().map(|one| format!("{}:{}", one.who, one.doing)).collect();
                        self.shown = list.join(" ");
                    }
                }
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(120), all).await;
        assert!(result.is_ok(), "{:?} is shown instead of {expected:?}", self.shown);
    }
}

async fn node(world: &World, hall: &Arc<Hall>) -> Sessions {
    let config = SessionConfig { presence_max: 3, ..SessionConfig::default() };
    world.node_among(config, Arc::new(InHall(Arc::clone(hall)))).await
}

async fn say(node: &Sessions, who: &str, doing: &str) -> bool {
    node.set_presence(&key("s"), who, Some(doing).filter(|doing| !doing.is_empty())).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn people_on_different_nodes_see_each_other() {
    let (world, hall) = (World::new(1, Faults::default()), Arc::default());
    let (a, b) = (node(&world, &hall).await, node(&world, &hall).await);
    a.submit(&key("s"), open(), None, Offset::NONE).await.unwrap();
    let (mut on_a, mut on_b) = (Watcher::new(&world, &a).await, Watcher::new(&world, &b).await);
    assert!(say(&a, "ann", "present").await);
    assert!(say(&b, "bob", "typing").await);
    on_a.sees("ann:present bob:typing").await;
    on_b.sees("ann:present bob:typing").await;
    // She comes back through another node, and speaks there.
    assert!(say(&b, "ann", "typing").await);
    on_a.sees("ann:typing bob:typing").await;
    assert!(say(&b, "ann", "").await);
    on_a.sees("bob:typing").await;
    // Who joins asks once, and learns what was said before.
    let c = node(&world, &hall).await;
    let mut on_c = Watcher::new(&world, &c).await;
    on_c.sees("bob:typing").await;
    assert!(say(&c, "cat", "present").await && say(&a, "dan", "present").await);
    on_b.sees("bob:typing cat:present dan:present").await;
    assert!(!say(&a, "eve", "present").await, "I5 bounded, over all nodes");
}

#[tokio::test(start_paused = true)]
async fn who_was_on_a_node_that_is_gone_expires() {
    let (world, hall) = (World::new(1, Faults::default()), Arc::default());
    let (a, b) = (node(&world, &hall).await, node(&world, &hall).await);
    a.submit(&key("s"), open(), None, Offset::NONE).await.unwrap();
    let mut on_b = Watcher::new(&world, &b).await;
    say(&a, "ann", "present").await;
    on_b.sees("ann:present").await;
    let since = Instant::now();
    a.drain(Instant::now() + Duration::from_secs(5)).await;
    drop(a);
    on_b.sees("").await;
    let after = since.elapsed();
    assert!(after > Duration::from_secs(25) && after < Duration::from_secs(35), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn many_words_make_few_messages() {
    let (world, hall) = (World::new(1, Faults::default()), Arc::<Hall>::default());
    let (a, b) = (node(&world, &hall).await, node(&world, &hall).await);
    a.submit(&key("s"), open(), None, Offset::NONE).await.unwrap();
    let mut on_b = Watcher::new(&world, &b).await;
    say(&a, "ann", "present").await;
    on_b.sees("ann:present").await;
    let before = *hall.messages.lock().unwrap();
    for n in 0..1000 {
        say(&a, "ann", if n % 2 == 0 { "typing" } else { "thinking" }).await;
    }
    say(&a, "ann", "done").await;
    on_b.sees("ann:done").await;
    let messages = *hall.messages.lock().unwrap() - before;
    assert!(messages < 10, "I5 bounded: {messages}");
}
