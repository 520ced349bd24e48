//! Over gRPC.

use fanfold_wire::grpc::Details;
use fanfold_wire::v1;
use fanfold_wire::v1::server_frame::Frame;
use fanfold_wire::v1::sessions_client::SessionsClient;
use prost::Message as _;
use tonic::{Status, Streaming};

use super::{Dialer, LinkError, lost};
use crate::client::authorized;

pub(crate) struct Grpc {
    frames: Streaming<v1::ServerFrame>,
    /// Pieces of a large snapshot so far.
    parts: Vec<u8>,
}

impl Grpc {
    pub(super) async fn open(dialer: &Dialer, subscribe: v1::Subscribe) -> Result<Self, LinkError> {
        let mut client = SessionsClient::new(dialer.channel.clone());
        let request = authorized(subscribe, dialer.authorization.as_ref());
        let frames = client.subscribe(request).await.map_err(refused)?.into_inner();
        Ok(Self { frames, parts: Vec::new() })
    }

    pub(super) async fn next(&mut self) -> Result<v1::ServerFrame, LinkError> {
        loop {
            let frame = self.frames.message().await.map_err(refused)?.ok_or_else(|| lost("it ended"))?;
            let Some(Frame::SnapshotPart(part)) = frame.frame else { return Ok(frame) };
            self.parts.extend_from_slice(&part.bytes);
            if part.last {
                let bytes = std::mem::take(&mut self.parts);
                return Ok(Frame::Snapshot(v1::Snapshot::decode(&*bytes).map_err(lost)?).into());
            }
        }
    }
}

/// The node's own statuses name their code in the details; a lost connection has none.
fn refused(status: Status) -> LinkError {
    match Details::of(&status) {
        Some(Details { code, retry_after_ms, .. }) => {
            LinkError::Refused { code: code.name().to_owned(), message: status.message().to_owned(), retry_after_ms }
        }
        None => lost(format!("{:?} {}", status.code(), status.message())),
    }
}
