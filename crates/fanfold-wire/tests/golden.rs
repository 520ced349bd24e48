//! Frames as JSON, as they were when they were first released, and every kind of frame in all three encodings.
//!
//! A changed golden file is a changed protocol. To write the files of new kinds: `FANFOLD_BLESS=1 cargo test`.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod frames;

use std::collections::BTreeSet;
use std::path::PathBuf;

use fanfold_wire::{DecodeError, Format, v1};
use serde_json::Value;

const FORMATS: [Format; 3] = [Format::Json, Format::Msgpack, Format::Proto];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

type Encode<T> = fn(Format, &T, &mut Vec<u8>);
type Decode<T> = fn(Format, &[u8]) -> Result<T, DecodeError>;

fn check<T: PartialEq + std::fmt::Debug>(name: &str, frame: &T, encode: Encode<T>, decode: Decode<T>) {
    for format in FORMATS {
        let mut bytes = b"before".to_vec();
        encode(format, frame, &mut bytes);
        assert!(bytes.starts_with(b"before"), "{name} in {format:?}: encoding appends");
        assert_eq!(decode(format, &bytes[6..]).unwrap(), *frame, "{name} in {format:?}");
    }
    let mut json = Vec::new();
    encode(Format::Json, frame, &mut json);
    assert!(!json.contains(&b'\n'), "{name}: one line");
    let ours: Value = serde_json::from_slice(&json).unwrap();
    let path = folder().join(format!("{name}.json"));
    if std::env::var_os("FANFOLD_BLESS").is_some() && !path.exists() {
        std::fs::write(&path, format!("{ours:#}\n")).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(ours, serde_json::from_slice::<Value>(&golden).unwrap(), "{name} as it was released");
    assert_eq!(decode(Format::Json, &golden).unwrap(), *frame, "{name} is still read");
}

#[test]
fn every_kind_of_frame_is_as_it_was_released() {
    let mut names = BTreeSet::new();
    for frame in frames::server() {
        let name = frames::server_name(&frame);
        let frame = v1::ServerFrame::from(frame);
        assert_eq!(fanfold_wire::sse::name(&frame), name);
        check(&format!("server_{name}"), &frame, Format::encode, Format::decode_server);
        names.insert(format!("server_{name}.json"));
    }
    for frame in frames::client() {
        let name = format!("client_{}", frames::client_name(&frame));
        check(&name, &v1::ClientFrame::from(frame), Format::encode_client, Format::decode);
        names.insert(format!("{name}.json"));
    }
    assert_eq!(names.len(), frames::SERVER_KINDS + frames::CLIENT_KINDS, "a frame of every kind");
    let files: BTreeSet<_> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, names, "a golden file for every kind, and none besides");
}

#[test]
fn an_empty_frame_survives_every_format() {
    for format in FORMATS {
        let (mut server, mut client) = (Vec::new(), Vec::new());
        format.encode(&v1::ServerFrame::default(), &mut server);
        format.encode_client(&v1::ClientFrame::default(), &mut client);
        assert_eq!(format.decode_server(&server).unwrap(), v1::ServerFrame::default(), "{format:?}");
        assert_eq!(format.decode(&client).unwrap(), v1::ClientFrame::default(), "{format:?}");
    }
}

/// What clients in other languages write: fields left out, numbers for 64-bit integers, fields of a later release.
#[test]
fn json_is_read_with_tolerance() {
    let subscribe = v1::Subscribe { session: "s".into(), replay: Some(7), ..v1::Subscribe::default() };
    let expected = v1::ClientFrame::from(v1::client_frame::Frame::Subscribe(subscribe));
    for text in [
        r#"{"subscribe":{"session":"s","replay":"7"}}"#,
        r#"{"subscribe":{"session":"s","replay":7}}"#,
        r#"{"subscribe":{"session":"s","replay":7,"later":{"a":[1,null]}}}"#,
        r#"{"subscribe":{"session":"s","replay":"7","mode":"MODE_UNSPECIFIED","window":0,"cursor":null}}"#,
        r#"{"subscribe":{"session":"s","replay":"7","mode":0}}"#,
    ] {
        assert_eq!(Format::Json.decode(text.as_bytes()).unwrap(), expected, "{text}");
    }
    for text in ["", "{", "[]", "null", "7", r#"{"subscribe":7}"#, r#"{"subscribe":{"session":7}}"#, "{}{}"] {
        assert!(Format::Json.decode(text.as_bytes()).is_err(), "{text}");
    }
}
