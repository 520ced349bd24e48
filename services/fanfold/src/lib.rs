//! A Fanfold node: sessions served over WebSocket, SSE, REST and gRPC, with a worker beside them.

mod accept;
pub mod archive;
pub mod auth;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod edge;
pub mod erase;
pub mod grpc;
pub mod http;
mod listings;
mod moving;
mod namesake;
pub mod node;
pub mod presence;
pub mod run;
mod socket;
