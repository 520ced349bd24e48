//! What a frame costs to encode, per format: from the fold's types by way of the generated ones, and straight.
//!
//! Printed are medians over rounds, in which every case is measured once. `FANFOLD_BENCH_ROUNDS` (default 7).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a terminal")]

use std::hint::black_box;
use std::time::Instant;

use fanfold_fold::{Cursor, Delta, Epoch, FoldVersion, Message, Offset, Op, Part, Role, SessionId, SessionKey, TenantId, View};
use fanfold_wire::{DeltaFrame, Format, SnapshotFrame, frame, websocket};

type Case = (String, u32, Box<dyn Fn(&mut Vec<u8>)>);

fn main() {
    let rounds = std::env::var("FANFOLD_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let cases: Vec<Case> = Format::ALL.into_iter().flat_map(cases).collect();
    let mut results: Vec<Vec<u128>> = vec![Vec::new(); cases.len()];
    let mut lengths = vec![0; cases.len()];
    for _ in 0..rounds {
        for (at, (_, times, run)) in cases.iter().enumerate() {
            let mut out = Vec::with_capacity(1 << 20);
            let begin = Instant::now();
            for _ in 0..*times {
                out.clear();
                run(black_box(&mut out));
            }
            results[at].push(begin.elapsed().as_nanos() / u128::from(*times));
            lengths[at] = out.len();
        }
    }
    println!("{:<52} {:>10} {:>10}", "case", "ns", "bytes");
    for (at, (name, ..)) in cases.iter().enumerate() {
        results[at].sort_unstable();
        println!("{name:<52} {:>10} {:>10}", results[at][rounds / 2], lengths[at]);
    }
}

fn cases(format: Format) -> Vec<Case> {
    let (session, after, cursor) = place();
    let mut cases: Vec<Case> = Vec::new();
    for (name, delta) in [("token", token()), ("8 tokens in 8 parts", tokens())] {
        let (by, to, d) = (session.clone(), session.clone(), delta.clone());
        cases.push((
            format!("{format:?} delta, {name}, by generated types"),
            200_000,
            Box::new(move |out| format.encode(&frame::delta(&by, after, cursor, &d), out)),
        ));
        cases.push((
            format!("{format:?} delta, {name}, straight"),
            200_000,
            Box::new(move |out| DeltaFrame { session: &to, after, cursor, delta: &delta }.encode(format, out)),
        ));
    }
    let (to, delta) = (session.clone(), token());
    cases.push((
        format!("{format:?} delta, token, straight, in a WebSocket frame"),
        200_000,
        Box::new(move |out| {
            let frame = DeltaFrame { session: &to, after, cursor, delta: &delta };
            websocket::message(format, out, |out| frame.encode(format, out));
        }),
    ));
    let view = view();
    cases.push((
        format!("{format:?} snapshot, 100 messages of 600 bytes"),
        500,
        Box::new(move |out| SnapshotFrame { session: &session, cursor, view: &view, older: 0 }.encode(format, out)),
    ));
    cases
}

fn place() -> (SessionId, Cursor, Cursor) {
    let session: SessionId = "6f1c2d3e4a5b".parse().unwrap();
    let key = SessionKey::new(TenantId::default(), session.clone());
    let cursor =
        |offset| Cursor::new(&key, Epoch("01234567-89ab-4def-8123-456789abcdef".parse().unwrap()), FoldVersion(1), offset);
    (session, cursor(Offset(123_456)), cursor(Offset(123_457)))
}

fn token() -> Delta {
    Delta { ops: vec![appended(0)] }
}

fn tokens() -> Delta {
    Delta { ops: (0..8).map(appended).collect() }
}

fn appended(part: u32) -> Op {
    Op::PartAppended {
        message: "a-01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        part,
        at: 1234,
        text: " Zürich,".into(),
    }
}

fn view() -> View {
    let message = |at: u32| Message {
        id: format!("m-{at}").parse().unwrap(),
        parent: None,
        role: Role::Assistant,
        author: None,
        at_ms: 1_767_225_600_000,
        run: None,
        parts: vec![Part::text("A sentence of sixty characters, of which there are some ten.".repeat(10))],
    };
    View { messages: (0..100).map(message).collect::<Vec<_>>().into(), ..View::default() }
}
