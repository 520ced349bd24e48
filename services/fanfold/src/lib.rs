//! A Fanfold node: sessions served over WebSocket, SSE, REST and gRPC, with a worker beside them.

pub mod auth;
pub mod clock;
pub mod config;
