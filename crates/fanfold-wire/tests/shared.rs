//! What is encoded straight from the fold's types has the bytes that the generated types have.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[allow(dead_code, reason = "each test takes what it needs")]
mod frames;

use fanfold_fold::{Cursor, Delta, Epoch, FoldVersion, Offset, Op, SessionId, SessionKey, TenantId, View};
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{DeltaFrame, Format, SnapshotFrame, convert, frame, sse, v1};
use proptest::prelude::*;

fn cursor(session: &SessionId, offset: u64) -> Cursor {
    let key = SessionKey::new(TenantId::default(), session.clone());
    Cursor::new(&key, Epoch("01234567-89ab-4def-8123-456789abcdef".parse().unwrap()), FoldVersion(1), Offset(offset))
}

fn check(session: &str, offset: u64, delta: &Delta) {
    let session: SessionId = session.parse().unwrap();
    let (after, cursor) = (cursor(&session, 0), cursor(&session, offset));
    let generated = frame::delta(&session, after, cursor, delta);
    let straight = DeltaFrame { session: &session, after, cursor, delta };
    for format in Format::ALL {
        let (mut expected, mut bytes) = (b"before".to_vec(), b"before".to_vec());
        format.encode(&generated, &mut expected);
        straight.encode(format, &mut bytes);
        assert_eq!(bytes, expected, "{format:?} of {delta:?}");
        assert_eq!(format.decode_server(&bytes[6..]).unwrap(), generated);
    }
    let mut data = Vec::new();
    straight.encode_data(&mut data);
    let Some(Frame::Delta(expected)) = generated.frame else { panic!("another frame") };
    assert_eq!(String::from_utf8(data).unwrap(), serde_json::to_string(&expected).unwrap());
}

/// Every operation, with a part of a kind that this release doesn't know.
fn every_op() -> Delta {
    convert::delta(frames::ops().into_iter().filter(|op| op.op.is_some()).collect()).unwrap()
}

#[test]
fn every_operation_is_written_as_generated() {
    check("s-1", 7, &Delta::default());
    check("s-1", 0, &every_op());
    for op in every_op().ops {
        check("s-1", u64::MAX, &Delta { ops: vec![op] });
    }
}

fn appended(message: &str, part: u32, at: u32, text: String) -> Op {
    Op::PartAppended { message: message.parse().unwrap(), part, at, text }
}

proptest! {
    #[test]
    fn appended_text_is_written_as_generated(
        session in "[A-Za-z0-9_-]{1,64}",
        offset in any::<u64>(),
        appends in prop::collection::vec(("[A-Za-z0-9_-]{1,64}", any::<u32>(), any::<u32>(), any::<String>()), 0..4),
    ) {
        let ops = appends.into_iter().map(|(message, part, at, text)| appended(&message, part, at, text)).collect();
        check(&session, offset, &Delta { ops });
    }
}

/// Lengths of one byte and of more stand before the text.
#[test]
fn long_text_is_written_as_generated() {
    for length in [0, 1, 63, 64, 100, 127, 128, 16_383, 16_384, 70_000] {
        check("s", 1, &Delta { ops: vec![appended("m", 0, 0, "é".repeat(length))] });
    }
}

#[test]
fn a_snapshot_is_written_as_generated() {
    let Some(Frame::Snapshot(wire)) = frames::server().into_iter().find(|frame| matches!(frame, Frame::Snapshot(_))) else {
        panic!("no snapshot");
    };
    let view = View::try_from(wire.view.unwrap()).unwrap();
    let session: SessionId = "s-1".parse().unwrap();
    let cursor = cursor(&session, 9);
    let expected = frame::snapshot(&session, cursor, &view, 3);
    let straight = SnapshotFrame { session: &session, cursor, view: &view, older: 3 };
    for format in Format::ALL {
        let mut bytes = Vec::new();
        straight.encode(format, &mut bytes);
        assert_eq!(format.decode_server(&bytes).unwrap(), v1::ServerFrame::from(Frame::Snapshot(expected.clone())), "{format:?}");
    }
    let mut data = Vec::new();
    straight.encode_data(&mut data);
    assert_eq!(String::from_utf8(data).unwrap(), serde_json::to_string(&expected).unwrap());
}

/// Whatever the text holds, an event's data is one line, and a client gets back what was said.
#[test]
fn an_event_is_one_line_of_data() {
    let said = "line\nanother\r\nthird\u{2028}\u{85}\"quoted\" \\ \u{0} data: x\n\nevent: delta é \u{1f3d4}";
    let session: SessionId = "s".parse().unwrap();
    let delta = Delta { ops: vec![appended("m", 0, 0, said.into())] };
    let mut data = Vec::new();
    DeltaFrame { session: &session, after: cursor(&session, 1), cursor: cursor(&session, 2), delta: &delta }
        .encode_data(&mut data);
    let mut block = Vec::new();
    sse::event("delta", Some(&cursor(&session, 2).to_string()), std::str::from_utf8(&data).unwrap(), &mut block);
    let block = String::from_utf8(block).unwrap();
    // Carriage returns end lines too (HTML standard, section 9.2.6); U+0085 and U+2028 don't.
    assert!(!block.contains('\r'));
    let lines: Vec<&str> = block.split('\n').collect();
    let [event, id, data, "", ""] = lines.as_slice() else { panic!("{block}") };
    assert_eq!((*event, *id), ("event: delta", format!("id: {}", cursor(&session, 2)).as_str()));
    let read: v1::Delta = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(convert::delta(read.ops).unwrap(), delta);
}
