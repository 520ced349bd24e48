//! Frames that many readers share, made from the fold's types.

use fanfold_fold::{Cursor, Delta, SessionId, View};

use crate::v1;
use crate::v1::server_frame::Frame;

/// A delta frame.
pub fn delta(session: &SessionId, after: Cursor, cursor: Cursor, delta: &Delta) -> v1::ServerFrame {
    Frame::Delta(v1::Delta {
        session: session.to_string(),
        after: after.to_string(),
        cursor: cursor.to_string(),
        offset: cursor.offset.0,
        ops: delta.ops.iter().map(Into::into).collect(),
    })
    .into()
}

/// A snapshot.
pub fn snapshot(session: &SessionId, cursor: Cursor, view: &View, older: usize) -> v1::Snapshot {
    v1::Snapshot {
        session: session.to_string(),
        cursor: cursor.to_string(),
        offset: cursor.offset.0,
        view: Some(view.into()),
        older_messages: u32::try_from(older).unwrap_or(u32::MAX),
    }
}

impl From<Frame> for v1::ServerFrame {
    fn from(frame: Frame) -> Self {
        Self { frame: Some(frame) }
    }
}

impl From<v1::client_frame::Frame> for v1::ClientFrame {
    fn from(frame: v1::client_frame::Frame) -> Self {
        Self { frame: Some(frame) }
    }
}
