//! Stored events go over the wire and come back, those of a later release too.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::collections::BTreeMap;

use fanfold_fold::{
    AttemptLost, Custom, Event, MessageAdded, Output, Part, Record, Role, RunCancelled, RunFailed, RunRequested, RunStarted,
    RunSteered, Said, SessionClosed, SessionErased, SessionOpened, SessionTitled, State, TextDelta, ToolDecided, View,
};
use fanfold_wire::{Format, convert, v1};

fn id<T: std::str::FromStr<Err = fanfold_fold::IdError>>(text: &str) -> T {
    text.parse().unwrap()
}

/// What a later release writes.
fn later<T: serde::de::DeserializeOwned>() -> T {
    let body = BTreeMap::from([("depth", vec![1_u32, 2, 3])]);
    rmp_serde::from_slice(&rmp_serde::to_vec_named(&BTreeMap::from([("hologram", body)])).unwrap()).unwrap()
}

fn events() -> Vec<Event> {
    let text = || "Grüße\n".to_owned();
    vec![
        SessionOpened::default().into(),
        SessionOpened { title: Some(text()), user: Some(String::new()) }.into(),
        SessionTitled { title: text(), automatic: false }.into(),
        SessionTitled { title: text(), automatic: true }.into(),
        SessionClosed { reason: text() }.into(),
        SessionErased {}.into(),
        MessageAdded { message: id("m"), parent: None, role: Role::Tool, author: None, parts: Vec::new() }.into(),
        MessageAdded {
            message: id("m"),
            parent: Some(id("l")),
            role: Role::System,
            author: Some(text()),
            parts: vec![Part::text(text())],
        }
        .into(),
        RunRequested { run: id("r"), reply: id("a"), prompt: id("m"), model: None, interrupt: false, attempts_max: 0 }.into(),
        RunRequested { run: id("r"), reply: id("a"), prompt: id("m"), model: Some(text()), interrupt: true, attempts_max: 9 }
            .into(),
        RunStarted { run: id("r"), attempt: id("t"), worker: text(), model: None, resume: true }.into(),
        RunStarted { run: id("r"), attempt: id("t"), worker: text(), model: Some(text()), resume: false }.into(),
        Output { attempt: id("t"), seq: u64::MAX, said: vec![TextDelta { text: text() }.into(), later::<Said>()] }.into(),
        AttemptLost { run: id("r"), attempt: id("t") }.into(),
        RunCancelled { run: id("r"), reason: text() }.into(),
        RunFailed { run: id("r"), code: "no_worker".into(), message: text() }.into(),
        RunSteered { run: id("r"), text: text() }.into(),
        ToolDecided { message: id("a"), call: text(), approved: true, reason: text() }.into(),
        Custom { kind: text(), content_type: "a/b".into(), payload: (0..=255).collect() }.into(),
        later(),
    ]
}

fn wire(record: &Record) -> v1::Record {
    v1::Record {
        offset: 7,
        stored_at_ms: 8,
        at_ms: record.at_ms,
        by: record.by.clone(),
        command: record.command.as_ref().map(ToString::to_string),
        events: record.events.iter().map(Into::into).collect(),
        unreadable: String::new(),
    }
}

#[test]
fn records_come_back() {
    let of_a_command = Record { command: Some(id("c")), at_ms: u64::MAX, by: Some("ann".into()), events: events() };
    for record in [of_a_command, Record { command: None, at_ms: 0, by: None, events: Vec::new() }] {
        let wire = wire(&record);
        assert_eq!(Record::try_from(wire.clone()).unwrap(), record);
        let json = serde_json::to_string(&wire).unwrap();
        assert_eq!(serde_json::from_str::<v1::Record>(&json).unwrap(), wire);
        let bytes = prost::Message::encode_to_vec(&wire);
        assert_eq!(<v1::Record as prost::Message>::decode(bytes.as_slice()).unwrap(), wire);
        // What is imported has the bytes of what was exported.
        assert_eq!(Record::try_from(wire).unwrap().encode(), record.encode());
    }
}

#[test]
fn a_record_that_was_not_readable_is_none() {
    let error = Record::try_from(v1::Record { unreadable: "record version 9".into(), ..v1::Record::default() }).unwrap_err();
    assert_eq!(error.to_string(), "field record: can't be read");
    let unknown = |body: Vec<u8>| {
        let event = v1::event::Event::Unknown(v1::Unknown { kind: "k".into(), body });
        Event::try_from(v1::Event { event: Some(event) })
    };
    assert_eq!(unknown(Vec::new()).unwrap_err().to_string(), "field unknown.body: can't be read");
    // Deeper than anything that was meant.
    assert!(unknown([vec![0x91; 100_000], vec![1]].concat()).is_err());
    assert!(unknown(vec![1]).is_ok());
    assert_eq!(Event::try_from(v1::Event::default()).unwrap_err().to_string(), "field event: is missing");
}

/// A reader keeps its place among parts that it doesn't know; who sends such a part is told so.
#[test]
fn a_part_of_a_later_release_is_shown_and_not_taken() {
    let message = v1::Message {
        id: "m".into(),
        role: v1::Role::Assistant.into(),
        parts: vec![(&Part::text("a")).into(), (&later::<Part>()).into(), (&Part::text("c")).into()],
        ..v1::Message::default()
    };
    let snapshot = v1::Snapshot {
        view: Some(v1::View { messages: vec![message.clone()], ..v1::View::default() }),
        ..v1::Snapshot::default()
    };
    for format in Format::ALL {
        let mut bytes = Vec::new();
        format.encode(&v1::server_frame::Frame::Snapshot(snapshot.clone()).into(), &mut bytes);
        let Some(v1::server_frame::Frame::Snapshot(read)) = format.decode_server(&bytes).unwrap().frame else {
            panic!("another frame");
        };
        let mut view = View::try_from(read.view.unwrap()).unwrap();
        let appended = v1::PartAppended { message: "m".into(), part: 2, at: 1, text: "d".into() };
        let set = v1::PartSet { message: "m".into(), part: 3, value: Some(v1::Part { part: None }) };
        let ops = [v1::op::Op::PartAppended(appended), v1::op::Op::PartSet(set)].map(|op| v1::Op { op: Some(op) });
        view.apply(&convert::delta(ops.into()).unwrap()).unwrap();
        let parts = &view.messages.last().unwrap().parts;
        assert_eq!((parts.len(), parts[2].stream()), (4, Some("cd")), "{format:?}");
        assert!(matches!((&parts[1], &parts[3]), (Part::Unknown { .. }, Part::Unknown { .. })));
    }
    let send = v1::Send { message: "m".into(), role: v1::Role::User.into(), parts: message.parts, ..v1::Send::default() };
    assert_eq!(fanfold_fold::Send::try_from(send).unwrap_err().to_string(), "field part: is missing");
}

/// What is listed is enough to fold the session elsewhere.
#[test]
fn a_listed_session_folds_to_the_same_state() {
    let said = Output { attempt: id("t"), seq: 1, said: vec![TextDelta { text: "Hi".into() }.into(), later::<Said>()] };
    let history: [Vec<Event>; 4] = [
        vec![SessionOpened::default().into(), later()],
        vec![
            MessageAdded { message: id("m"), parent: None, role: Role::User, author: None, parts: vec![later::<Part>()] }.into(),
            RunRequested { run: id("r"), reply: id("a"), prompt: id("m"), model: None, interrupt: false, attempts_max: 0 }.into(),
        ],
        vec![RunStarted { run: id("r"), attempt: id("t"), worker: "w".into(), model: None, resume: false }.into()],
        vec![said.into()],
    ];
    let (mut here, mut there) = (State::default(), State::default());
    for events in history {
        let record = Record { command: None, at_ms: 1, by: None, events };
        assert_eq!(here.apply(&record).0, there.apply(&Record::try_from(wire(&record)).unwrap()).0);
    }
    assert_eq!(here.view().messages.last().unwrap().parts, there.view().messages.last().unwrap().parts);
    assert_eq!(here.view().runs, there.view().runs);
}
