//! How frames are put on each kind of connection, and the shared encodings of a session's deltas.

use fanfold_fold::{Offset, SessionId};
use fanfold_session::{DeltaFrame, FormatId, FrameCodec, Present, SnapshotFrame};
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::{Format, frame, sse, v1, websocket};
use prost::Message as _;

use crate::edge::simple;

/// Bytes of one piece of a snapshot over gRPC, whose clients refuse messages over 4 MB by default.
const SNAPSHOT_PART_BYTES: usize = 1 << 20;

/// A kind of connection. Its place in [`Framing::ALL`] is the session layer's format id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Messages of a WebSocket.
    WebSocket(Format),
    /// Events that carry their cursor as `id:`.
    Sse,
    /// Events without `id:`, for streams of several sessions, whose id is written before them.
    SseMany,
    /// The typed view for the simplest clients.
    SseSimple,
    /// Protobuf messages with their length before them, to be sent by gRPC.
    Grpc,
}

impl Framing {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::WebSocket(Format::Json),
        Self::WebSocket(Format::Msgpack),
        Self::WebSocket(Format::Proto),
        Self::Sse,
        Self::SseMany,
        Self::SseSimple,
        Self::Grpc,
    ];

    /// What the session layer knows it by.
    pub fn id(self) -> FormatId {
        let at = Self::ALL.iter().position(|framing| *framing == self);
        FormatId(at.unwrap_or_else(|| unreachable!("{self:?} is one of all")))
    }

    /// Appends one frame.
    pub fn write(self, frame: &v1::ServerFrame, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket(format) => websocket::message(format, out, |out| format.encode(frame, out)),
            Self::Sse => sse::event(sse::name(frame), cursor(frame), &data(frame), out),
            Self::SseMany | Self::SseSimple => sse::event(sse::name(frame), None, &data(frame), out),
            Self::Grpc => length_before(out, |out| Format::Proto.encode(frame, out)),
        }
    }
}

/// The cursor that a frame leads to, for `id:`. What was sent, never the head.
fn cursor(frame: &v1::ServerFrame) -> Option<&str> {
    match frame.frame.as_ref()? {
        // The snapshot that follows leads there, and who is cut before it has nothing of it.
        Frame::Subscribed(frame) => (frame.how() == v1::How::Resumed).then_some(&frame.cursor),
        Frame::Delta(frame) => Some(&frame.cursor),
        Frame::Snapshot(frame) => Some(&frame.cursor),
        Frame::CaughtUp(frame) => Some(&frame.cursor),
        Frame::Closed(frame) => Some(&frame.cursor),
        Frame::Ping(ping) => match ping.positions.as_slice() {
            [position] => Some(&position.cursor),
            _ => None,
        },
        Frame::Welcome(_)
        | Frame::Receipt(_)
        | Frame::Error(_)
        | Frame::Presence(_)
        | Frame::Draining(_)
        | Frame::Listed(_)
        | Frame::SnapshotPart(_) => None,
    }
    .map(String::as_str)
    .filter(|cursor| !cursor.is_empty())
}

/// The frame's content as JSON, without the name that the event has already.
fn data(frame: &v1::ServerFrame) -> String {
    let json = match &frame.frame {
        Some(Frame::Welcome(frame)) => serde_json::to_string(frame),
        Some(Frame::Subscribed(frame)) => serde_json::to_string(frame),
        Some(Frame::Delta(frame)) => serde_json::to_string(frame),
        Some(Frame::Snapshot(frame)) => serde_json::to_string(frame),
        Some(Frame::CaughtUp(frame)) => serde_json::to_string(frame),
        Some(Frame::Ping(frame)) => serde_json::to_string(frame),
        Some(Frame::Closed(frame)) => serde_json::to_string(frame),
        Some(Frame::Receipt(frame)) => serde_json::to_string(frame),
        Some(Frame::Error(frame)) => serde_json::to_string(frame),
        Some(Frame::Presence(frame)) => serde_json::to_string(frame),
        Some(Frame::Draining(frame)) => serde_json::to_string(frame),
        Some(Frame::Listed(frame)) => serde_json::to_string(frame),
        Some(Frame::SnapshotPart(frame)) => serde_json::to_string(frame),
        None => Ok("{}".to_owned()),
    };
    json.unwrap_or_else(|error| unreachable!("writing a frame to memory can't fail: {error}"))
}

impl FrameCodec for Framing {
    fn name(&self) -> &'static str {
        match self {
            Self::WebSocket(format) => format.subprotocol(),
            Self::Sse => "sse",
            Self::SseMany => "sse_many",
            Self::SseSimple => "sse_simple",
            Self::Grpc => "grpc",
        }
    }

    /// Tokens stand one after another: half of a delta's can't be told from all of them, nor can they be told twice.
    fn tells_again(&self) -> bool {
        *self == Self::SseSimple
    }

    fn delta(&self, delta: &DeltaFrame<'_>, out: &mut Vec<u8>) {
        let DeltaFrame { session, after, cursor, delta: change, .. } = *delta;
        let frame = fanfold_wire::DeltaFrame { session, after, cursor, delta: change };
        match *self {
            Self::SseSimple => simple::delta(delta, out),
            Self::WebSocket(format) => websocket::message(format, out, |out| frame.encode(format, out)),
            Self::Sse => sse::event_with("delta", Some(&cursor.to_string()), out, |out| frame.encode_data(out)),
            Self::SseMany => sse::event_with("delta", None, out, |out| frame.encode_data(out)),
            Self::Grpc => length_before(out, |out| frame.encode(Format::Proto, out)),
        }
    }

    fn snapshot(&self, snapshot: &SnapshotFrame<'_>, out: &mut Vec<u8>) {
        let whole = || frame::snapshot(snapshot.session, snapshot.cursor, snapshot.view, snapshot.older);
        match self {
            Self::SseSimple => simple::snapshot(snapshot, out),
            Self::Grpc => write_parts(*self, whole(), out),
            Self::WebSocket(_) | Self::Sse | Self::SseMany => self.write(&Frame::Snapshot(whole()).into(), out),
        }
    }

    fn presence(&self, session: &SessionId, _offset: Offset, present: &[Present], out: &mut Vec<u8>) {
        let present = present.iter().map(|present| v1::Present { who: present.who.clone(), doing: present.doing.clone() });
        let presence = v1::Presence { session: session.to_string(), present: present.collect() };
        self.write(&Frame::Presence(presence).into(), out);
    }
}

/// Appends a message with its length before it.
fn length_before(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend([0; 4]);
    write(out);
    let length = u32::try_from(out.len() - begin - 4).unwrap_or(u32::MAX);
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

/// A large snapshot goes in pieces.
fn write_parts(framing: Framing, snapshot: v1::Snapshot, out: &mut Vec<u8>) {
    if snapshot.encoded_len() <= SNAPSHOT_PART_BYTES {
        return framing.write(&Frame::Snapshot(snapshot).into(), out);
    }
    let bytes = snapshot.encode_to_vec();
    let parts = bytes.len().div_ceil(SNAPSHOT_PART_BYTES);
    for (at, part) in bytes.chunks(SNAPSHOT_PART_BYTES).enumerate() {
        let part = v1::SnapshotPart { session: snapshot.session.clone(), bytes: part.to_vec(), last: at + 1 == parts };
        framing.write(&Frame::SnapshotPart(part).into(), out);
    }
}
