//! Frames as server-sent events (HTML standard, section 9.2).

use std::collections::BTreeMap;

use crate::v1;
use crate::v1::server_frame::Frame;

/// The event name of a frame.
pub fn name(frame: &v1::ServerFrame) -> &'static str {
    match &frame.frame {
        Some(Frame::Welcome(_)) => "welcome",
        Some(Frame::Subscribed(_)) => "subscribed",
        Some(Frame::Delta(_)) => "delta",
        Some(Frame::Snapshot(_)) => "snapshot",
        Some(Frame::CaughtUp(_)) => "caught_up",
        Some(Frame::Ping(_)) => "ping",
        Some(Frame::Closed(_)) => "closed",
        Some(Frame::Receipt(_)) => "receipt",
        Some(Frame::Error(_)) => "error",
        Some(Frame::Presence(_)) => "presence",
        Some(Frame::Draining(_)) => "draining",
        Some(Frame::SnapshotPart(_)) => "snapshot_part",
        Some(Frame::Listed(_)) => "listed",
        None => "unknown",
    }
}

/// Appends one event. `data` is JSON, so it has no line breaks of its own.
pub fn event(name: &str, id: Option<&str>, data: &str, out: &mut Vec<u8>) {
    event_with(name, id, out, |out| out.extend_from_slice(data.as_bytes()));
}

/// Appends one event, whose data `write` appends: JSON, which has no line breaks of its own.
pub fn event_with(name: &str, id: Option<&str>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    for text in ["event: ", name, "\n"] {
        out.extend_from_slice(text.as_bytes());
    }
    if let Some(id) = id {
        for text in ["id: ", id, "\n"] {
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.extend_from_slice(b"data: ");
    let begin = out.len();
    write(out);
    debug_assert!(!out[begin..].iter().any(|byte| matches!(byte, b'\n' | b'\r')), "JSON escapes line breaks");
    out.extend_from_slice(b"\n\n");
}

/// The `id:` of a stream of several sessions: every session with its cursor, as `session=cursor` joined by commas.
pub fn vector_id<'a>(cursors: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = cursors.into_iter().map(|(session, cursor)| format!("{session}={cursor}")).collect();
    pairs.join(",")
}

/// Reads a `Last-Event-ID`: a single cursor for `session`, or a vector. `None` if it is neither.
pub fn parse_id(id: &str, sessions: &[String]) -> Option<BTreeMap<String, String>> {
    if let ([session], false) = (sessions, id.contains('=')) {
        return Some(BTreeMap::from([(session.clone(), id.to_owned())]));
    }
    let pair = |pair: &str| pair.split_once('=').map(|(session, cursor)| (session.to_owned(), cursor.to_owned()));
    id.split(',').map(pair).collect()
}
