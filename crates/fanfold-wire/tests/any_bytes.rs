//! No bytes from outside cause a panic, and what is read can be written and read again.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

#[allow(dead_code, reason = "the names are for golden files")]
mod frames;

use fanfold_fold::View;
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{Format, convert, sse, v1};
use proptest::prelude::*;

const FORMATS: [Format; 3] = [Format::Json, Format::Msgpack, Format::Proto];

/// Reads bytes as both kinds of frame, and takes what was read through all that follows.
fn read(format: Format, bytes: &[u8]) {
    if let Ok(frame) = format.decode_server(bytes) {
        let mut again = Vec::new();
        format.encode(&frame, &mut again);
        // Proto3's floats aren't used, so a frame equals itself.
        assert_eq!(format.decode_server(&again).unwrap(), frame);
        match frame.frame {
            Some(Frame::Delta(delta)) => drop(convert::delta(delta.ops).map(|delta| View::default().apply(&delta))),
            Some(Frame::Snapshot(snapshot)) => drop(View::try_from(snapshot.view.unwrap_or_default())),
            _ => {}
        }
    }
    if let Ok(frame) = format.decode(bytes) {
        let mut again = Vec::new();
        format.encode_client(&frame, &mut again);
        assert_eq!(format.decode(&again).unwrap(), frame);
        if let Some(v1::client_frame::Frame::Command(v1::Command { action: Some(action), .. })) = frame.frame {
            drop(fanfold_fold::Action::try_from(action));
        }
    }
}

/// A good frame to spoil.
fn encoded(format: Format, at: usize) -> Vec<u8> {
    let (server, client) = (frames::server(), frames::client());
    let mut bytes = Vec::new();
    match at % (server.len() + client.len()) {
        at if at < server.len() => format.encode(&server[at].clone().into(), &mut bytes),
        at => format.encode_client(&client[at - server.len()].clone().into(), &mut bytes),
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for format in FORMATS {
            read(format, &bytes);
        }
    }

    #[test]
    fn spoilt_frames_never_panic(
        at in any::<usize>(),
        cut in any::<prop::sample::Index>(),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for format in FORMATS {
            let mut bytes = encoded(format, at);
            for (place, byte) in &spoilt {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read(format, &bytes);
            bytes.truncate(cut.index(bytes.len()));
            read(format, &bytes);
        }
    }

    #[test]
    fn any_last_event_id_never_panics(id in ".{0,200}", sessions in prop::collection::vec("[a-z]{1,4}", 0..3)) {
        drop(sse::parse_id(&id, &sessions));
    }

    #[test]
    fn a_vector_of_cursors_comes_back(pairs in prop::collection::btree_map("[A-Za-z0-9_-]{1,64}", "[A-Za-z0-9_-]{31}", 1..8)) {
        let id = sse::vector_id(pairs.iter().map(|(session, cursor)| (session.as_str(), cursor.as_str())));
        let sessions: Vec<String> = pairs.keys().cloned().collect();
        prop_assert_eq!(sse::parse_id(&id, &sessions), Some(pairs));
    }
}

/// The deepest nesting that a peer can send overflows no stack.
#[test]
fn nesting_is_bounded() {
    let json = format!("{}{}", r#"{"later":"#.repeat(100_000), "1");
    assert!(Format::Json.decode(json.as_bytes()).is_err());
    // Skipped without a stack: an unknown field is no error.
    let json = format!(r#"{{"later":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(Format::Json.decode(json.as_bytes()).unwrap(), v1::ClientFrame::default());
    // An array of one array of one array …, below a field that is unknown.
    let mut msgpack = b"\x81\xa5later".to_vec();
    msgpack.extend(std::iter::repeat_n(0x91, 1_000_000));
    msgpack.push(1);
    assert!(Format::Msgpack.decode(&msgpack).is_err());
}

/// A length that is announced is not room that is made.
#[test]
fn announced_lengths_cost_nothing() {
    // An array of 4 G elements, a string of 4 G bytes, a field of 2 GB.
    let positions = b"\x81\xa4ping\x81\xa9positions\xdd\xff\xff\xff\xff".as_slice();
    Format::Msgpack.decode_server(positions).unwrap_err();
    Format::Msgpack.decode(b"\x81\xa5hello\x81\xa5token\xdb\xff\xff\xff\xff").unwrap_err();
    Format::Proto.decode(b"\x0a\xff\xff\xff\xff\x07").unwrap_err();
}
