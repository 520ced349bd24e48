//! The wire: one schema, three encodings, one table of errors.
//!
//! session → services → **wire** → sockets
//!
//! # Contract
//!
//! `proto/fanfold/v1` is the source of truth; [`v1`] is generated from it. [`Format`] encodes a frame as JSON, MessagePack or
//! Protobuf; [`websocket`], [`sse`] and [`RawFrame`] put it on a connection, framing included, so that the bytes can be shared.
//! [`convert`] goes between these types and the fold's, and checks what comes from outside. [`ErrorCode`] is every error that
//! a client can see.
//!
//! # Invariants
//!
//! I2: a delta frame says the cursor it applies to and the one it leads to. No bytes from outside cause a panic.
//!
//! # Not here
//!
//! Sockets, runtimes, sessions.

pub mod convert;
mod error;
mod format;
pub mod frame;
pub mod grpc;
mod raw;
mod shared;
pub mod sse;
pub mod websocket;

pub use error::{ErrorCode, Outcome, Retry, Row};
pub use format::{DecodeError, Format};
pub use raw::RawFrame;
pub use shared::{DeltaFrame, SnapshotFrame};

/// Generated from `proto/fanfold/v1`; its comments are there.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/fanfold.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/fanfold.v1.serde.rs"));
}

/// The gRPC server, generated from `proto/fanfold/v1/service.proto`.
pub mod server {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/server/fanfold.v1.rs"));
}

/// The schema as a compiled `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
