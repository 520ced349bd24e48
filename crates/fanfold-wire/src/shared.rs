//! Frames that are encoded once for all readers, straight from the fold's types: text is written, never copied first.
//!
//! The bytes are those of the generated types; a test holds the two against each other.

use bytes::BufMut as _;
use fanfold_fold::{Cursor, Delta, Op, SessionId, View};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use serde::{Serialize, Serializer};

use crate::v1::server_frame::Frame;
use crate::{Format, frame, v1};

/// A change of a session.
#[derive(Debug, Clone, Copy)]
pub struct DeltaFrame<'a> {
    /// Whose.
    pub session: &'a SessionId,
    /// The cursor it applies to.
    pub after: Cursor,
    /// The cursor it leads to.
    pub cursor: Cursor,
    /// The change.
    pub delta: &'a Delta,
}

/// A session as it is.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotFrame<'a> {
    /// Whose.
    pub session: &'a SessionId,
    /// What the reader has seen with it.
    pub cursor: Cursor,
    /// The state, or its newest messages.
    pub view: &'a View,
    /// Older messages that were left out.
    pub older: usize,
}

impl DeltaFrame<'_> {
    /// Appends the frame, as [`Format::encode`] of [`frame::delta`] does.
    pub fn encode(&self, format: Format, out: &mut Vec<u8>) {
        let body = self.body();
        match format {
            Format::Json | Format::Msgpack => format.write_map(&Framed { delta: &body }, out),
            Format::Proto => length_delimited(SERVER_FRAME_DELTA, body.encoded_len(), out, |out| body.encode(out)),
        }
    }

    /// Appends the delta alone as JSON: an event's data, whose name says already what it is.
    pub fn encode_data(&self, out: &mut Vec<u8>) {
        Format::Json.write_map(&self.body(), out);
    }

    fn body(&self) -> Body<'_> {
        Body {
            session: self.session.as_str(),
            after: self.after.to_string(),
            cursor: self.cursor.to_string(),
            offset: self.cursor.offset.0,
            ops: self.delta.ops.iter().map(Into::into).collect(),
        }
    }
}

impl SnapshotFrame<'_> {
    /// Appends the frame, as [`Format::encode`] of [`frame::snapshot`] does. The view is copied once: a snapshot is rare.
    pub fn encode(&self, format: Format, out: &mut Vec<u8>) {
        format.encode(&Frame::Snapshot(self.to_wire()).into(), out);
    }

    /// Appends the snapshot alone as JSON: an event's data.
    pub fn encode_data(&self, out: &mut Vec<u8>) {
        Format::Json.write_map(&self.to_wire(), out);
    }

    fn to_wire(self) -> v1::Snapshot {
        frame::snapshot(self.session, self.cursor, self.view, self.older)
    }
}

// Field numbers of the schema.
const SERVER_FRAME_DELTA: u32 = 3;
const DELTA_SESSION: u32 = 1;
const DELTA_AFTER: u32 = 2;
const DELTA_CURSOR: u32 = 3;
const DELTA_OFFSET: u32 = 4;
const DELTA_OPS: u32 = 5;
const OP_PART_APPENDED: u32 = 4;
const APPENDED_MESSAGE: u32 = 1;
const APPENDED_PART: u32 = 2;
const APPENDED_AT: u32 = 3;
const APPENDED_TEXT: u32 = 4;

#[derive(Serialize)]
struct Framed<'a> {
    delta: &'a Body<'a>,
}

/// [`v1::Delta`], borrowed. Its fields have the schema's names in the schema's order.
#[derive(Serialize)]
struct Body<'a> {
    session: &'a str,
    after: String,
    cursor: String,
    #[serde(serialize_with = "as_text")]
    offset: u64,
    ops: Vec<Operation<'a>>,
}

/// [`v1::Op`], borrowed where it is what a streaming answer consists of.
#[derive(Serialize)]
#[serde(untagged)]
enum Operation<'a> {
    Appended { part_appended: Appended<'a> },
    Other(Box<v1::Op>),
}

/// [`v1::PartAppended`], borrowed.
#[derive(Serialize)]
struct Appended<'a> {
    message: &'a str,
    part: u32,
    at: u32,
    text: &'a str,
}

/// 64-bit integers are strings, as in all canonical JSON of Protobuf.
fn as_text<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl<'a> From<&'a Op> for Operation<'a> {
    fn from(op: &'a Op) -> Self {
        match op {
            Op::PartAppended { message, part, at, text } => {
                Self::Appended { part_appended: Appended { message: message.as_str(), part: *part, at: *at, text } }
            }
            Op::SessionChanged(_)
            | Op::MessageAdded(_)
            | Op::MessageReset { .. }
            | Op::PartSet { .. }
            | Op::ToolCallChanged { .. }
            | Op::RunChanged(_)
            | Op::Custom { .. } => Self::Other(Box::new(op.into())),
        }
    }
}

impl Body<'_> {
    fn encoded_len(&self) -> usize {
        let ops = self.ops.iter().map(|op| field_len(DELTA_OPS, op.encoded_len()));
        text_len(DELTA_SESSION, self.session)
            + text_len(DELTA_AFTER, &self.after)
            + text_len(DELTA_CURSOR, &self.cursor)
            + number_len(DELTA_OFFSET, self.offset)
            + ops.sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_text(DELTA_SESSION, self.session, out);
        put_text(DELTA_AFTER, &self.after, out);
        put_text(DELTA_CURSOR, &self.cursor, out);
        put_number(DELTA_OFFSET, self.offset, out);
        for op in &self.ops {
            length_delimited(DELTA_OPS, op.encoded_len(), out, |out| op.encode(out));
        }
    }
}

impl Operation<'_> {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Appended { part_appended } => field_len(OP_PART_APPENDED, part_appended.encoded_len()),
            Self::Other(op) => op.encoded_len(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Appended { part_appended: op } => {
                length_delimited(OP_PART_APPENDED, op.encoded_len(), out, |out| op.encode(out));
            }
            // Room is made as needed.
            Self::Other(op) => op.encode_raw(out),
        }
    }
}

impl Appended<'_> {
    fn encoded_len(&self) -> usize {
        text_len(APPENDED_MESSAGE, self.message)
            + number_len(APPENDED_PART, self.part.into())
            + number_len(APPENDED_AT, self.at.into())
            + text_len(APPENDED_TEXT, self.text)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_text(APPENDED_MESSAGE, self.message, out);
        put_number(APPENDED_PART, self.part.into(), out);
        put_number(APPENDED_AT, self.at.into(), out);
        put_text(APPENDED_TEXT, self.text, out);
    }
}

fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn length_delimited(tag: u32, length: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    let begin = out.len();
    write(out);
    debug_assert_eq!(out.len() - begin, length, "the length stands before what is written");
}

// A field with its default value is left out.

fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(tag, text.len()) }
}

fn put_text(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        length_delimited(tag, text.len(), out, |out| out.put_slice(text.as_bytes()));
    }
}

fn number_len(tag: u32, number: u64) -> usize {
    if number == 0 { 0 } else { key_len(tag) + encoded_len_varint(number) }
}

fn put_number(tag: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}
