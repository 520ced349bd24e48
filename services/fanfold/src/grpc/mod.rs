//! gRPC: the same sessions, the same frames, the same limits.

mod append;
mod socket;
mod status;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fanfold_wire::server::operations_server::{Operations, OperationsServer};
use fanfold_wire::server::sessions_server::{Sessions as SessionsService, SessionsServer};
use fanfold_wire::server::workers_server::{Workers, WorkersServer};
use fanfold_wire::v1;
use futures::stream::{self as streams, Stream};
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use self::socket::Socket;
use self::status::status;
use self::stream::FrameStream;
use crate::accept::Sockets;
use crate::auth::Caller;
use crate::edge::{Edge, Failure};

/// The services on a node.
#[derive(Clone)]
struct Service {
    edge: Arc<Edge>,
}

/// Serves until `stop`, then lets streams end by themselves. Health is off as soon as the node drains.
pub async fn serve(
    edge: Arc<Edge>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    tell_health(&health, ServingStatus::Serving).await;
    let mut draining = edge.draining.clone();
    tokio::spawn(async move {
        // A sender that is gone means the same.
        let _ = draining.wait_for(|draining| *draining).await;
        tell_health(&health, ServingStatus::NotServing).await;
    });
    let request_bytes_max = edge.limits.request_bytes_max;
    let sockets = Sockets::new(listener, &edge.limits);
    // A client that is gone without a word, behind a proxy that is still there.
    let ping_interval = Duration::from_millis(edge.limits.ping_interval_ms);
    let service = Service { edge };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fanfold_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let mut routes = Routes::new(health_service)
        .add_service(SessionsServer::new(service.clone()).max_decoding_message_size(request_bytes_max))
        .add_service(OperationsServer::new(service.clone()).max_decoding_message_size(request_bytes_max))
        .add_service(WorkersServer::new(service).max_decoding_message_size(request_bytes_max));
    match reflection {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "no reflection"),
    }
    let routes = routes.into_axum_router().layer(axum::middleware::map_response(status::only));
    let mut server = tonic::transport::Server::builder().http2_keepalive_interval(Some(ping_interval));
    server.add_routes(routes.into()).serve_with_incoming_shutdown(incoming(sockets), stop).await
}

/// Of the node as a whole, and of each service.
async fn tell_health(health: &HealthReporter, status: ServingStatus) {
    let services = [SessionsServer::<Service>::NAME, WorkersServer::<Service>::NAME, OperationsServer::<Service>::NAME];
    for name in [""].into_iter().chain(services) {
        health.set_service_status(name, status).await;
    }
}

fn incoming(sockets: Sockets) -> impl Stream<Item = Result<Socket, Infallible>> {
    streams::unfold(sockets, async |mut sockets| {
        let (socket, place) = sockets.next().await;
        Some((Ok(Socket::new(socket, place)), sockets))
    })
}

impl Service {
    fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        self.edge.caller(bearer(metadata)).map_err(refuse)
    }
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn refuse(failure: Failure) -> Status {
    status(&failure)
}

#[tonic::async_trait]
impl SessionsService for Service {
    type SubscribeStream = FrameStream;
    type AttachStream = FrameStream;

    async fn subscribe(&self, request: Request<v1::Subscribe>) -> Result<Response<FrameStream>, Status> {
        let caller = self.caller(request.metadata())?;
        stream::subscribe(Arc::clone(&self.edge), caller, request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn attach(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<FrameStream>, Status> {
        // The token may come with the first frame instead.
        let caller = match bearer(request.metadata()) {
            Some(_) => Some(self.caller(request.metadata())?),
            None => self.edge.caller(None).ok(),
        };
        stream::attach(Arc::clone(&self.edge), caller, request.into_inner()).map(Response::new).map_err(refuse)
    }

    async fn submit(&self, request: Request<v1::Command>) -> Result<Response<v1::Receipt>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.submit(&caller, request.into_inner()).await.map(Response::new).map_err(refuse)
    }

    async fn get_state(&self, request: Request<v1::GetStateRequest>) -> Result<Response<v1::Snapshot>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.state(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn list_events(&self, request: Request<v1::ListEventsRequest>) -> Result<Response<v1::ListEventsReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.events(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Result<Response<v1::ListSessionsReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.list(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn erase(&self, request: Request<v1::EraseRequest>) -> Result<Response<v1::EraseReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.erase(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn list_readers(&self, request: Request<v1::ListReadersRequest>) -> Result<Response<v1::ListReadersReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.readers(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }
}

#[tonic::async_trait]
impl Operations for Service {
    async fn list_parked(&self, request: Request<v1::ListParkedRequest>) -> Result<Response<v1::ListParkedReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.parked(&caller).await.map(Response::new).map_err(refuse)
    }

    async fn unpark(&self, request: Request<v1::UnparkRequest>) -> Result<Response<v1::UnparkReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.unpark(&caller, &request.get_ref().session).await.map(Response::new).map_err(refuse)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.dead_letters(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn get_dead_letter(&self, request: Request<v1::RunRef>) -> Result<Response<v1::DeadLetter>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.dead_letter(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn redrive_dead_letter(&self, request: Request<v1::RunRef>) -> Result<Response<v1::RedriveReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.redrive(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }
}

#[tonic::async_trait]
impl Workers for Service {
    type AppendStream = append::ReplyStream;

    async fn take_run(&self, request: Request<v1::TakeRunRequest>) -> Result<Response<v1::TakeRunReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.take_run(&caller, request.get_ref()).await.map(Response::new).map_err(refuse)
    }

    async fn extend_lease(&self, request: Request<v1::Lease>) -> Result<Response<v1::ExtendLeaseReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.extend_lease(&caller, request.get_ref()).map(Response::new).map_err(refuse)
    }

    async fn give_back_run(&self, request: Request<v1::GiveBackRunRequest>) -> Result<Response<v1::GiveBackRunReply>, Status> {
        let caller = self.caller(request.metadata())?;
        self.edge.give_back_run(&caller, request.get_ref()).map(Response::new).map_err(refuse)
    }

    async fn append(&self, request: Request<Streaming<v1::AppendRequest>>) -> Result<Response<append::ReplyStream>, Status> {
        let caller = self.caller(request.metadata())?;
        append::append(Arc::clone(&self.edge), caller, request.into_inner()).await.map(Response::new).map_err(refuse)
    }
}
