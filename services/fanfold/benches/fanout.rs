//! One session read by many WebSocket clients, beside raw `send()` of the same bytes to as many connections.
//!
//! The node and the control are processes of their own, so that their CPU time is theirs alone; both keep their
//! connections for the whole run and take turns, so that a machine that changes its mind changes it for both.
//! Every record is a command over HTTP, synced to disk, folded, encoded and delivered as one frame; all of that counts
//! for the node. The control has the bytes and only sends them.
//!
//! `FANFOLD_BENCH_SUBSCRIBERS` (default 1000), `FANFOLD_BENCH_RATE` records a second (50), `FANFOLD_BENCH_SECONDS` of a turn
//! (3), `FANFOLD_BENCH_ROUNDS` (5), `FANFOLD_BENCH_BYTES` of a record's payload (120), `FANFOLD_BENCH_DIR` for the disk,
//! `FANFOLD_BENCH_NODE` for another build of the node, `FANFOLD_BENCH_BESIDE` for one more that takes turns with it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const SESSION: &str = "fanout";

/// Connections that come and go before memory is measured.
const WARM_UP: usize = 100;

/// Makes this program the control.
const CONTROL: &str = "--control";

/// Of the CPU time in `/proc`: fixed in the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Until something that was asked for must have come.
const PATIENCE: Duration = Duration::from_secs(30);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CONTROL) {
        control();
        return ExitCode::SUCCESS;
    }
    let subscribers = setting("FANFOLD_BENCH_SUBSCRIBERS", 1000);
    if let Some(code) = with_descriptors(4 * subscribers + 256) {
        return code;
    }
    let rate = setting("FANFOLD_BENCH_RATE", 50);
    let frames = rate * setting("FANFOLD_BENCH_SECONDS", 3);
    let rounds = setting("FANFOLD_BENCH_ROUNDS", 5);
    let readers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    let mut served: Vec<Served> = builds().map(|(name, binary)| Served::start(name, &binary, &readers, subscribers)).collect();
    let mut raw = Raw::start(&readers, subscribers);
    let frame = served[0].read.last.lock().unwrap().clone();
    raw.deliver(&frame, rate, rate, subscribers);
    let deliveries = (frames * subscribers) as f64;
    let mut raw_us = Vec::new();
    for _ in 0..rounds {
        let raw = raw.deliver(&frame, rate, frames, subscribers) / deliveries;
        raw_us.push(raw);
        for served in &mut served {
            let us = served.node.deliver(&served.read, rate, frames, subscribers) / deliveries;
            served.us.push(us);
            served.of_raw.push(raw / us);
        }
    }
    sleep(Duration::from_secs(1));

    println!(
        "1 session, {subscribers} subscribers, {rate} records/s, frames of {} B, {rounds} rounds of {frames} frames",
        frame.len()
    );
    println!("case             deliveries per CPU-second   us CPU per delivery: median     min     max   of raw");
    let row = |name: &str, us: Vec<f64>, of_raw: f64| {
        let [median, min, max] = spread(us);
        println!("{name:<16} {:>25.0} {median:>29.2} {min:>7.2} {max:>7.2} {of_raw:>8.2}", 1e6 / median);
    };
    row("raw send()", raw_us, 1.0);
    for served in served {
        let [of_raw, ..] = spread(served.of_raw);
        row(served.name, served.us, of_raw);
        let after_bytes = served.node.process.memory_bytes().saturating_sub(served.before_bytes) / subscribers as u64;
        println!(
            "  a record without subscribers: {:.0} us CPU, {:.2} us of each delivery",
            served.alone_us,
            served.alone_us / subscribers as f64
        );
        println!("  memory per connection: {} B once subscribed, {after_bytes} B idle again after the rounds", served.idle_bytes);
    }
    ExitCode::SUCCESS
}

/// Nodes to be measured, in turns: this build, and another where one is named.
fn builds() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let this = std::env::var_os("FANFOLD_BENCH_NODE").unwrap_or_else(|| env!("CARGO_BIN_EXE_fanfold").into());
    let beside = std::env::var_os("FANFOLD_BENCH_BESIDE").map(|beside| ("  another build", beside.into()));
    [("WebSocket, JSON", this.into())].into_iter().chain(beside)
}

/// A node with its subscribers, and what was measured of it.
struct Served {
    name: &'static str,
    node: Node,
    read: Arc<Count>,
    alone_us: f64,
    before_bytes: u64,
    idle_bytes: u64,
    us: Vec<f64>,
    of_raw: Vec<f64>,
}

impl Served {
    fn start(name: &'static str, binary: &Path, readers: &Runtime, subscribers: usize) -> Self {
        let rate = setting("FANFOLD_BENCH_RATE", 50);
        let mut node = Node::start(binary);
        node.producer.produce(rate, rate);
        let alone_us = node.process.cpu_us(|| node.producer.produce(rate, 2 * rate)) / (2 * rate) as f64;
        // The first connections pay for what all of them share.
        let first = Arc::new(Count::default());
        let gone: Vec<_> = (0..WARM_UP).map(|_| subscribe(readers, node.http, &first)).collect();
        first.wait("subscribed", &first.subscribed, WARM_UP as u64);
        gone.into_iter().for_each(|reading| reading.abort());
        sleep(Duration::from_secs(1));
        let before_bytes = node.process.memory_bytes();
        let read = Arc::new(Count::default());
        (0..subscribers).for_each(|_| drop(subscribe(readers, node.http, &read)));
        read.wait("subscribed", &read.subscribed, subscribers as u64);
        sleep(Duration::from_secs(1));
        let idle_bytes = node.process.memory_bytes().saturating_sub(before_bytes) / subscribers as u64;
        node.deliver(&read, rate, rate, subscribers);
        Self { name, node, read, alone_us, before_bytes, idle_bytes, us: Vec::new(), of_raw: Vec::new() }
    }
}

/// Median, least, greatest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

/// Begins anew with a higher limit where this process may not open enough files.
fn with_descriptors(needed: usize) -> Option<ExitCode> {
    const TRIED: &str = "FANFOLD_BENCH_LIMIT_RAISED";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = open.split_whitespace().nth(3).unwrap();
    if soft.parse().is_ok_and(|soft: usize| soft >= needed) || soft == "unlimited" {
        return None;
    }
    assert!(std::env::var_os(TRIED).is_none(), "needs `ulimit -n {needed}`");
    let script = format!("ulimit -n {needed} && exec \"$0\" \"$@\"");
    let program = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(program).args(std::env::args_os().skip(1)).env(TRIED, "1");
    let status = shell.status().unwrap();
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does something `count` times, at a rate.
fn paced(rate: usize, count: usize, mut act: impl FnMut()) {
    let begun = Instant::now();
    for at in 0..count {
        let due = begun + Duration::from_secs_f64(at as f64 / rate as f64);
        sleep(due.saturating_duration_since(Instant::now()));
        act();
    }
}

/// A child that ends with its owner, and what the kernel says of it.
struct Process(Child);

impl Process {
    /// CPU microseconds that it spends while `act` runs.
    fn cpu_us(&self, act: impl FnOnce()) -> f64 {
        let before = self.cpu_ticks();
        act();
        (self.cpu_ticks() - before) as f64 / TICKS_PER_SECOND * 1e6
    }

    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The name may hold spaces; after it, user and system time are the 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// What it has of its own: the program's pages are not counted.
    fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real binary, with a session to read.
struct Node {
    process: Process,
    producer: Producer,
    http: SocketAddr,
    _data: tempfile::TempDir,
}

impl Node {
    fn start(binary: &Path) -> Self {
        let base = std::env::var_os("FANFOLD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
        let data = tempfile::tempdir_in(base).unwrap();
        let mut command = Command::new(binary);
        command.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--worker-slots", "0", "--data"]);
        let mut child = command.arg(data.path()).env("FANFOLD_LOG", "warn").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Process(child);
        let mut addresses = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("http  http://").map(str::to_owned));
        let http = addresses.next().expect("the node says where it listens").parse().unwrap();
        let mut producer = Producer { connection: BufReader::new(connect(http)) };
        producer.post("/v1/sessions", &format!(r#"{{"session":"{SESSION}"}}"#));
        Self { process, producer, http, _data: data }
    }

    /// CPU microseconds until all of them have all of it.
    fn deliver(&mut self, read: &Count, rate: usize, frames: usize, subscribers: usize) -> f64 {
        let expected = read.deltas.load(Ordering::Relaxed) + (frames * subscribers) as u64;
        let Self { process, producer, .. } = self;
        process.cpu_us(|| {
            producer.produce(rate, frames);
            read.wait("deltas", &read.deltas, expected);
        })
    }
}

/// Submits one command after another. The next one waits for the verdict on the last, so that each makes a frame.
struct Producer {
    connection: BufReader<TcpStream>,
}

impl Producer {
    fn produce(&mut self, rate: usize, count: usize) {
        // Base64 of zeros.
        let payload = "A".repeat(setting("FANFOLD_BENCH_BYTES", 120).div_ceil(3) * 4);
        let body = format!(r#"{{"custom":{{"kind":"bench","content_type":"text/plain","payload":"{payload}"}}}}"#);
        paced(rate, count, || self.post(&format!("/v1/sessions/{SESSION}/commands"), &body));
    }

    fn post(&mut self, path: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.connection.get_mut().write_all(request.as_bytes()).unwrap();
        let head = head(&mut self.connection);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut answer = vec![0; length];
        self.connection.read_exact(&mut answer).unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{head}{}", String::from_utf8_lossy(&answer));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

/// Reads up to the empty line.
fn head(connection: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(connection.read_line(&mut head).unwrap(), 0, "the connection ended after {head:?}");
    }
    head
}

/// What all subscribers together have been sent.
#[derive(Default)]
struct Count {
    subscribed: AtomicU64,
    deltas: AtomicU64,
    bytes: AtomicU64,
    /// The last frame that one of them got, as it was on the wire.
    last: Mutex<Vec<u8>>,
}

impl Count {
    fn wait(&self, what: &str, count: &AtomicU64, expected: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count = count.load(Ordering::Relaxed);
            assert!(count <= expected, "{count} {what}, more than {expected}");
            assert!(Instant::now() < deadline, "{count} {what} of {expected}");
            if count == expected {
                return;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Takes the whole frames off the buffer (RFC 6455, as a server sends them).
    fn take(&self, buffer: &mut Vec<u8>) {
        let mut begin = 0;
        while let Some((payload, end)) = frame(&buffer[begin..]) {
            let content = &buffer[begin + payload..begin + end];
            if content.starts_with(br#"{"delta""#) {
                self.deltas.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut last) = self.last.try_lock() {
                    last.clear();
                    last.extend_from_slice(&buffer[begin..begin + end]);
                }
            } else if content.starts_with(br#"{"subscribed""#) {
                self.subscribed.fetch_add(1, Ordering::Relaxed);
            }
            begin += end;
        }
        buffer.drain(..begin);
    }
}

/// Where the first frame's payload begins and ends.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let begin_and_length = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let (begin, length) = begin_and_length;
    let end = begin + usize::try_from(length).ok()?;
    (bytes.len() >= end).then_some((begin, end))
}

/// A client's text frame, masked with zeros.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// One subscriber, from the handshake on. It counts what it is sent.
fn subscribe(readers: &Runtime, node: SocketAddr, count: &Arc<Count>) -> JoinHandle<()> {
    let mut connection = BufReader::new(connect(node));
    let request = "GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: fanfold.v1.json\r\n\r\n";
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let answer = head(&mut connection);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let asked = [masked(r#"{"hello":{}}"#), masked(&format!(r#"{{"subscribe":{{"session":"{SESSION}"}}}}"#))].concat();
    connection.get_mut().write_all(&asked).unwrap();
    let mut buffer = connection.buffer().to_vec();
    let count = Arc::clone(count);
    count.take(&mut buffer);
    reading(readers, connection.into_inner(), move |bytes| {
        buffer.extend_from_slice(bytes);
        count.take(&mut buffer);
    })
}

/// Reads a connection to its end, beside the others.
fn reading(readers: &Runtime, connection: TcpStream, mut take: impl FnMut(&[u8]) + Send + 'static) -> JoinHandle<()> {
    connection.set_nonblocking(true).unwrap();
    readers.spawn(async move {
        let connection = tokio::net::TcpStream::from_std(connection).unwrap();
        while connection.readable().await.is_ok() {
            let mut bytes = [0; 8 * 1024];
            match connection.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(length) => take(&bytes[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    })
}

/// The control's process as its parent sees it.
struct Raw {
    process: Process,
    orders: ChildStdin,
    count: Arc<Count>,
}

impl Raw {
    fn start(readers: &Runtime, subscribers: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CONTROL).arg(subscribers.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let process = Process(child);
        let mut address = String::new();
        said.read_line(&mut address).unwrap();
        let address = address.trim().parse().unwrap();
        let count = Arc::new(Count::default());
        for _ in 0..subscribers {
            let count = Arc::clone(&count);
            drop(reading(readers, connect(address), move |bytes| {
                count.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }));
        }
        Self { process, orders, count }
    }

    /// CPU microseconds until all of them have all of it.
    fn deliver(&mut self, frame: &[u8], rate: usize, frames: usize, subscribers: usize) -> f64 {
        let expected = self.count.bytes.load(Ordering::Relaxed) + (frame.len() * frames * subscribers) as u64;
        let Self { process, orders, count } = self;
        process.cpu_us(|| {
            writeln!(orders, "{rate} {frames} {}", frame.len()).unwrap();
            orders.write_all(frame).unwrap();
            count.wait("bytes", &count.bytes, expected);
        })
    }
}

/// The control itself: takes its connections, then sends what it is told to all of them, until nobody tells it anything.
fn control() {
    let connections: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let accept = |_| {
        let (connection, _) = listener.accept().unwrap();
        connection.set_nodelay(true).unwrap();
        connection.set_nonblocking(true).unwrap();
        connection
    };
    let connections: Vec<_> = (0..connections).map(accept).collect();
    let mut orders = BufReader::new(std::io::stdin());
    let mut order = String::new();
    while orders.read_line(&mut order).unwrap() > 0 {
        let numbers: Vec<usize> = order.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [rate, frames, length] = numbers[..] else { panic!("no order: {order:?}") };
        let mut frame = vec![0; length];
        orders.read_exact(&mut frame).unwrap();
        paced(rate, frames, || {
            for mut connection in &connections {
                assert_eq!(connection.write(&frame).unwrap(), length, "a reader lags");
            }
        });
        order.clear();
    }
}
