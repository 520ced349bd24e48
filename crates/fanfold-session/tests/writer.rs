//! Connections that wait are written to directly, and the stream of bytes that each of them gets is whole all the same.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod support;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfold_fold::{Cursor, Offset, SessionKey, View};
use fanfold_session::{Filled, FormatId, Inbox, Mode, Outlet, SessionConfig, Sessions, Start, Subscribe, Subscription};
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use support::log::Faults;
use support::{Frame, Frames, World, ask, key, open, start, text};

/// A socket with room for so many bytes.
#[derive(Default)]
struct Socket(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    room: usize,
    tries: usize,
}

impl Outlet for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.lock().unwrap();
        taken.tries += 1;
        let written = taken.room.min(bytes.len());
        if written == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        taken.room -= written;
        taken.bytes.extend_from_slice(&bytes[..written]);
        Ok(written)
    }
}

/// A connection as its task sees it, and what a client makes of the bytes: they must be whole frames that follow each other (I2).
struct Connection {
    frames: Arc<Frames>,
    socket: Arc<Socket>,
    inbox: Arc<Inbox>,
    subscription: Option<Subscription>,
    seen: usize,
    view: View,
    cursor: Option<Cursor>,
}

impl Connection {
    async fn open(world: &World, node: &Sessions, key: &SessionKey, mode: Mode, room: usize) -> Self {
        let socket = Arc::new(Socket::default());
        socket.0.lock().unwrap().room = room;
        let inbox = Arc::new(Inbox::with_outlet(socket.clone()));
        let frames = world.frames.clone();
        let mut connection = Self { frames, socket, inbox, subscription: None, seen: 0, view: View::default(), cursor: None };
        connection.subscribe(node, key, mode).await;
        connection.work().await;
        connection
    }

    async fn subscribe(&mut self, node: &Sessions, key: &SessionKey, mode: Mode) {
        let start = self.cursor.map_or(Start::Now, Start::After);
        let request = Subscribe { start, format: FormatId(0), mode, window: usize::MAX };
        let subscribed = node.subscribe(key, request, &self.inbox, 1).await.unwrap();
        self.send(subscribed.snapshot.as_deref().unwrap_or_default());
        self.subscription = Some(subscribed.subscription);
    }

    /// Waits for room, which comes.
    fn send(&self, bytes: &[u8]) {
        self.socket.0.lock().unwrap().bytes.extend_from_slice(bytes);
    }

    fn make_room(&self, room: usize) {
        self.socket.0.lock().unwrap().room = room;
    }

    fn tries(&self) -> usize {
        self.socket.0.lock().unwrap().tries
    }

    /// What its task does when it was woken, until it waits again.
    async fn work(&mut self) {
        let mut out = Vec::new();
        self.inbox.reclaim(&mut out);
        // It looks for news anyway.
        self.is_woken();
        let mut filled = Filled::More;
        while let (Filled::More, Some(subscription)) = (&filled, &mut self.subscription) {
            filled = subscription.fill(&mut out, 64).await.unwrap();
        }
        self.send(&out);
        self.inbox.lend();
    }

    /// Whether its task was woken.
    fn is_woken(&self) -> bool {
        poll_fn(|context| self.inbox.poll_ready(context, &mut VecDeque::new())).now_or_never().is_some()
    }

    /// Reads what it was sent and checks that it fits. Says up to where it goes.
    fn read(&mut self) -> Offset {
        let bytes = self.socket.0.lock().unwrap().bytes.clone();
        let whole = bytes.len() / 8 * 8;
        for frame in self.frames.get(&bytes[self.seen..whole]) {
            match frame {
                Frame::Delta { after, cursor, delta } => {
                    assert_eq!(Some(after), self.cursor, "I2: the delta begins where the reader is");
                    self.view.apply(&delta).unwrap();
                    self.cursor = Some(cursor);
                }
                Frame::Snapshot { cursor, view, .. } => (self.view, self.cursor) = (view, Some(cursor)),
                Frame::Presence(_) => {}
            }
        }
        self.seen = whole;
        self.cursor.unwrap().offset
    }

    async fn until(&mut self, offset: Offset) {
        let reached = async {
            while self.read() < offset {
                if self.is_woken() {
                    self.work().await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the reader gets there");
    }
}

/// A session with a run that speaks.
async fn world() -> (World, Sessions, SessionKey) {
    let world = World::new(1, Faults::default());
    let node = world.node(SessionConfig::default()).await;
    let key = key("s");
    for command in [open(), ask(1), start(1)] {
        node.submit(&key, command, None, Offset::NONE).await.unwrap();
    }
    (world, node, key)
}

async fn say(node: &Sessions, key: &SessionKey, seq: u64) -> Offset {
    node.produce(key, text(1, seq, &format!("{seq} ")), 1, None).await.unwrap().offset
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_written_to_and_not_woken() {
    let (world, node, key) = world().await;
    // So many that they are served in tasks, and so few that they are served at once.
    for count in [100, 3] {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Connection::open(&world, &node, &key, Mode::Deltas, usize::MAX).await);
        }
        for seq in 1..=20 {
            let offset = say(&node, &key, seq + 20 * (count % 2) as u64).await;
            for connection in &mut connections {
                connection.until(offset).await;
            }
        }
        let (truth, _) = world.truth(&key);
        for connection in &connections {
            assert!(!connection.is_woken());
            assert_eq!(connection.tries(), 20, "one write for each record");
            assert_eq!(&connection.view, truth.view());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_goes_on_in_the_middle_of_a_frame() {
    let (world, node, key) = world().await;
    for room in 1..8 {
        let mut connection = Connection::open(&world, &node, &key, Mode::Deltas, room).await;
        say(&node, &key, 2 * room as u64).await;
        assert!(connection.is_woken(), "the rest of the frame is its task's");
        // There is room again, but the rest comes first, and only the task has it.
        connection.make_room(usize::MAX);
        let last = say(&node, &key, 2 * room as u64 + 1).await;
        assert_eq!(connection.tries(), 1);
        // What the task itself has to say comes after the rest.
        connection.work().await;
        assert_eq!(connection.read(), last);
        assert_eq!(&connection.view, world.truth(&key).0.view());
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_costs_one_try() {
    let (world, node, key) = world().await;
    let mut stalled = Connection::open(&world, &node, &key, Mode::Deltas, 0).await;
    let mut quick = Connection::open(&world, &node, &key, Mode::Deltas, usize::MAX).await;
    let mut last = Offset::NONE;
    for seq in 1..=50 {
        last = say(&node, &key, seq).await;
        quick.until(last).await;
    }
    assert_eq!((stalled.tries(), quick.tries()), (1, 50));
    assert!(stalled.is_woken());
    stalled.work().await;
    assert_eq!(stalled.read(), last);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_the_task_is_at_work_or_after_it_left() {
    let (world, node, key) = world().await;
    let mut connection = Connection::open(&world, &node, &key, Mode::Deltas, usize::MAX).await;
    let mut out = Vec::new();
    connection.inbox.reclaim(&mut out);
    let last = say(&node, &key, 1).await;
    assert_eq!((connection.tries(), out.len()), (0, 0), "an acknowledgement may be on its way");
    connection.work().await;
    assert_eq!(connection.read(), last);
    connection.subscription = None;
    say(&node, &key, 2).await;
    assert_eq!((connection.tries(), connection.read()), (0, last));
}

#[tokio::test(start_paused = true)]
async fn who_wants_whole_parts_is_woken() {
    let (world, node, key) = world().await;
    let mut connection = Connection::open(&world, &node, &key, Mode::Full, usize::MAX).await;
    let last = say(&node, &key, 1).await;
    assert!(connection.is_woken());
    connection.work().await;
    assert_eq!((connection.tries(), connection.read()), (0, last));
}

/// One connection's life while others write: it waits, works, is slow, leaves and comes back, at random.
async fn live(
    mut connection: Connection,
    node: Sessions,
    key: SessionKey,
    seed: u64,
    done: Arc<Mutex<Option<Offset>>>,
) -> Connection {
    let mut rng = StdRng::seed_from_u64(seed);
    let done = move || *done.lock().unwrap();
    while done().is_none() {
        connection.make_room(rng.random_range(0..100));
        match rng.random_range(0..10) {
            0 => {
                connection.inbox.reclaim(&mut Vec::new());
                connection.subscription = None;
                // The connection is cut, and what it was still to be sent is lost with it.
                connection.read();
                let Connection { frames, view, cursor, .. } = connection;
                let socket = Arc::new(Socket::default());
                let inbox = Arc::new(Inbox::with_outlet(socket.clone()));
                connection = Connection { frames, socket, inbox, subscription: None, seen: 0, view, cursor };
                connection.subscribe(&node, &key, Mode::Deltas).await;
                connection.work().await;
            }
            1 => connection.work().await,
            _ if connection.is_woken() => connection.work().await,
            _ => tokio::time::sleep(Duration::from_micros(rng.random_range(0..500))).await,
        }
        connection.read();
    }
    connection.until(done().unwrap()).await;
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_gets_a_whole_stream_whatever_it_does() {
    let seed: u64 = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("FANFOLD_SEED={seed}");
    let (world, node, key) = world().await;
    let done = Arc::new(Mutex::new(None));
    let mut lives = Vec::new();
    for n in 0..24 {
        let connection = Connection::open(&world, &node, &key, Mode::Deltas, 50).await;
        lives.push(tokio::spawn(live(connection, node.clone(), key.clone(), seed ^ n, done.clone())));
    }
    let mut last = Offset::NONE;
    for seq in 1..=1000 {
        last = say(&node, &key, seq).await;
    }
    *done.lock().unwrap() = Some(last);
    let (truth, _) = world.truth(&key);
    for life in lives {
        let connection = life.await.unwrap();
        assert_eq!(&connection.view, truth.view(), "seed {seed}");
    }
}
