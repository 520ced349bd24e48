//! One connection that carries one session's frames, over any transport.

mod grpc;
mod sse;
mod ws;

use fanfold_wire::v1;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::client::ClientConfig;

/// What a session is followed over. The contract is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// WebSocket with JSON.
    #[default]
    WebSocket,
    /// Server-sent events.
    Sse,
    /// gRPC.
    Grpc,
}

/// What connections are made with.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) http: reqwest::Client,
    pub(crate) channel: Channel,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) config: ClientConfig,
}

/// A connection was not made, or is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Worth another try.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The node said no, with one of its error codes.
    #[error("the node refused: {code}")]
    Refused { code: String, message: String, retry_after_ms: u32 },
}

pub(crate) enum Link {
    WebSocket(Box<ws::Ws>),
    Sse(Box<sse::Sse>),
    Grpc(Box<grpc::Grpc>),
}

impl Link {
    pub(crate) async fn open(transport: Transport, dialer: &Dialer, request: v1::Subscribe) -> Result<Self, LinkError> {
        let open = async {
            Ok(match transport {
                Transport::WebSocket => Self::WebSocket(Box::new(ws::Ws::open(dialer, request).await?)),
                Transport::Sse => Self::Sse(Box::new(sse::Sse::open(dialer, request).await?)),
                Transport::Grpc => Self::Grpc(Box::new(grpc::Grpc::open(dialer, request).await?)),
            })
        };
        let opened = tokio::time::timeout(dialer.config.timeout, open).await;
        opened.unwrap_or_else(|_| Err(LinkError::Lost("it took too long to connect".into())))
    }

    /// The next frame. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<v1::ServerFrame, LinkError> {
        match self {
            Self::WebSocket(link) => link.next().await,
            Self::Sse(link) => link.next().await,
            Self::Grpc(link) => link.next().await,
        }
    }
}

fn lost(error: impl std::fmt::Display) -> LinkError {
    LinkError::Lost(error.to_string())
}
