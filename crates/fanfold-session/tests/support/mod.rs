//! A node on a simulated log and store, and a reader that checks every frame it gets.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod log;
pub mod parking;
pub mod store;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfold_fold::{
    Action, Answer, Command, Cursor, Delta, Offset, Output, Parent, Part, Record, Role, Run, RunId, Said, Send, SessionId,
    SessionKey, SessionOpened, State, TenantId, TextDelta, View,
};
use fanfold_log::{EventLog as _, StoredRecord};
use fanfold_session::{
    Alone, DeltaFrame, Filled, FormatId, FrameCodec, How, Inbox, Mode, Neighbours, Observer, Ports, Present, SessionConfig,
    Sessions, SnapshotFrame, Start, Subscribe, Subscribed, Subscription,
};

use tokio::time::Instant;

use self::log::{Faults, SimLog};
use self::parking::Board;
use self::store::SimStore;

pub struct World {
    pub log: Arc<SimLog>,
    pub store: Arc<SimStore>,
    pub parking: Arc<Board>,
    pub frames: Arc<Frames>,
    pub observer: Arc<Watcher>,
    begun: Instant,
}

/// Frames by number: the simulated encoding of a frame is its number, so a reader gets the very values that were encoded.
#[derive(Default)]
pub struct Frames(Mutex<Vec<Frame>>);

#[derive(Clone)]
pub enum Frame {
    Delta { after: Cursor, cursor: Cursor, delta: Delta },
    Snapshot { cursor: Cursor, view: View, older: usize },
    Presence(Vec<Present>),
}

pub struct SimCodec(pub Arc<Frames>);

impl Frames {
    fn put(&self, frame: Frame, out: &mut Vec<u8>) {
        let mut frames = self.0.lock().unwrap();
        out.extend_from_slice(&(frames.len() as u64).to_be_bytes());
        frames.push(frame);
    }

    pub fn get(&self, bytes: &[u8]) -> Vec<Frame> {
        let frames = self.0.lock().unwrap();
        bytes.chunks(8).map(|number| frames[u64::from_be_bytes(number.try_into().unwrap()) as usize].clone()).collect()
    }

    pub fn encoded(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl FrameCodec for SimCodec {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn delta(&self, frame: &DeltaFrame<'_>, out: &mut Vec<u8>) {
        self.0.put(Frame::Delta { after: frame.after, cursor: frame.cursor, delta: frame.delta.clone() }, out);
    }

    fn snapshot(&self, frame: &SnapshotFrame<'_>, out: &mut Vec<u8>) {
        self.0.put(Frame::Snapshot { cursor: frame.cursor, view: frame.view.clone(), older: frame.older }, out);
    }

    fn presence(&self, _session: &SessionId, _offset: Offset, present: &[Present], out: &mut Vec<u8>) {
        self.0.put(Frame::Presence(present.to_vec()), out);
    }
}

/// Says nothing, and ends the actor that tells it something if it is told to.
#[derive(Default)]
pub struct Watcher {
    pub panics: AtomicBool,
}

impl Observer for Watcher {
    fn run_changed(&self, _session: &SessionKey, _run: &Run) {
        assert!(!self.panics.load(Ordering::Relaxed), "as the test wants it");
    }

    fn worked(&self, _session: &SessionKey, _run: &RunId) {}
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            log: SimLog::new(seed, faults),
            store: Arc::default(),
            parking: Arc::default(),
            frames: Arc::default(),
            observer: Arc::default(),
            begun: Instant::now(),
        }
    }

    /// A node of this world; several may serve the same sessions.
    pub async fn node(&self, config: SessionConfig) -> Sessions {
        self.node_among(config, Arc::new(Alone)).await
    }

    /// The same among others.
    pub async fn node_among(&self, config: SessionConfig, neighbours: Arc<dyn Neighbours>) -> Sessions {
        let begun = self.begun;
        let ports = Ports {
            log: self.log.clone(),
            snapshots: self.store.clone(),
            archive: self.store.clone(),
            contents: self.store.clone(),
            index: self.store.clone(),
            parking: self.parking.process(),
            codecs: vec![Arc::new(SimCodec(self.frames.clone()))],
            neighbours,
            observer: self.observer.clone(),
            clock: Arc::new(move || begun.elapsed().as_millis() as u64),
        };
        Sessions::start(ports, config).await.unwrap()
    }

    /// Has all that the log has of a session in the archive, and nowhere else.
    pub async fn archive(&self, key: &SessionKey) {
        let records = self.log.records(key);
        let of = |stored: &StoredRecord| (stored.offset, stored.stored_at_ms, stored.record.clone());
        self.store.archived.lock().unwrap().insert(key.clone(), records.iter().map(of).collect());
        self.log.trim(key, records.last().unwrap().offset).await.unwrap();
    }

    /// What the log says, folded from its beginning.
    pub fn truth(&self, key: &SessionKey) -> (State, Offset) {
        let mut state = State::default();
        let mut offset = Offset::NONE;
        for stored in self.log.records(key) {
            state.apply(&Record::decode(&stored.record).unwrap());
            offset = stored.offset;
        }
        (state, offset)
    }
}

pub fn key(session: &str) -> SessionKey {
    SessionKey::new(TenantId::default(), session.parse().unwrap())
}

pub fn command(id: &str, action: Action) -> Command {
    Command { id: id.parse().unwrap(), at_ms: 1, by: None, action }
}

pub fn open() -> Command {
    command("open", Action::Open(SessionOpened::default()))
}

/// A message whose answer is run `r<n>`.
pub fn ask(n: usize) -> Command {
    let answer =
        Answer { run: format!("r{n}").parse().unwrap(), reply: format!("a{n}").parse().unwrap(), model: None, interrupt: false };
    let send = Send {
        message: format!("m{n}").parse().unwrap(),
        parent: Parent::Newest,
        role: Role::User,
        parts: vec![Part::text("hi")],
        answer: Some(answer),
    };
    command(&format!("ask{n}"), Action::Send(send))
}

pub fn start(n: usize) -> Command {
    let started = fanfold_fold::RunStarted {
        run: format!("r{n}").parse().unwrap(),
        attempt: format!("t{n}").parse().unwrap(),
        worker: "w".into(),
        model: None,
        resume: false,
    };
    command(&format!("start{n}"), Action::StartRun(started))
}

pub fn text(n: usize, seq: u64, text: &str) -> Output {
    Output { attempt: format!("t{n}").parse().unwrap(), seq, said: vec![Said::Text(TextDelta { text: text.into() })] }
}

/// A reader that asserts I2 on every frame: whatever it is sent must fit what it has.
pub struct Reader {
    frames: Arc<Frames>,
    pub view: View,
    pub cursor: Option<Cursor>,
    pub resets: Vec<How>,
    pub present: Vec<Present>,
    inbox: Arc<Inbox>,
    subscription: Option<Subscription>,
}

impl Reader {
    pub fn new(world: &World) -> Self {
        Self {
            frames: world.frames.clone(),
            view: View::default(),
            cursor: None,
            resets: Vec::new(),
            present: Vec::new(),
            inbox: Arc::default(),
            subscription: None,
        }
    }

    pub async fn connect(&mut self, node: &Sessions, key: &SessionKey, mode: Mode) -> How {
        let start = self.cursor.map_or(Start::Now, Start::After);
        self.connect_from(node, key, mode, start).await
    }

    pub async fn connect_from(&mut self, node: &Sessions, key: &SessionKey, mode: Mode, start: Start) -> How {
        let request = Subscribe { start, format: FormatId(0), mode, window: usize::MAX };
        self.inbox = Arc::default();
        let Subscribed { how, cursor, snapshot, subscription, .. } = node.subscribe(key, request, &self.inbox, 1).await.unwrap();
        match (how, &snapshot, self.cursor) {
            (How::Resumed, None, Some(mine)) => assert_eq!(cursor, mine, "I2: resumed where the reader was"),
            (How::Snapshot(_) | How::Fresh, Some(_), _) => {}
            other => panic!("answered {other:?}"),
        }
        if let Some(snapshot) = snapshot {
            self.take(&snapshot);
            assert_eq!(self.cursor, Some(cursor));
        }
        self.resets.push(how);
        self.subscription = Some(subscription);
        how
    }

    pub async fn connect_from_result(
        &mut self,
        node: &Sessions,
        key: &SessionKey,
        start: Start,
    ) -> Result<Subscribed, fanfold_session::SubscribeError> {
        let request = Subscribe { start, format: FormatId(0), mode: Mode::Deltas, window: usize::MAX };
        node.subscribe(key, request, &self.inbox, 1).await
    }

    pub fn disconnect(&mut self) {
        self.subscription = None;
    }

    fn take(&mut self, bytes: &[u8]) {
        for frame in self.frames.get(bytes) {
            match frame {
                Frame::Delta { after, cursor, delta } => {
                    assert_eq!(Some(after), self.cursor, "I2: the delta begins where the reader is");
                    self.view.apply(&delta).unwrap();
                    self.cursor = Some(cursor);
                }
                Frame::Snapshot { cursor, view, .. } => {
                    self.view = view;
                    self.cursor = Some(cursor);
                }
                Frame::Presence(present) => self.present = present,
            }
        }
    }

    /// Takes what there is now. Says what to do next.
    pub async fn pump(&mut self) -> Filled {
        let Some(subscription) = &mut self.subscription else { panic!("not connected") };
        let mut out = Vec::new();
        let filled = subscription.fill(&mut out, 64).await.unwrap();
        let told = subscription.cursor();
        self.take(&out);
        assert_eq!(self.cursor, Some(told), "the subscription knows what it gave");
        filled
    }

    /// Reads until the offset is reached.
    pub async fn until(&mut self, offset: Offset) {
        let reached = async {
            let mut filled = Filled::More;
            while self.cursor.is_none_or(|cursor| cursor.offset < offset) {
                match filled {
                    Filled::More => {}
                    Filled::Idle => poll_fn(|context| self.inbox.poll_ready(context, &mut VecDeque::new())).await,
                    Filled::At(at) => tokio::time::sleep_until(at).await,
                    Filled::Ended(ended) => panic!("ended before {offset}: {ended:?}"),
                }
                filled = self.pump().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(600), reached).await.expect("the reader gets there");
    }
}
