//! Requests to a node, each answered once.

use std::time::Duration;

use fanfold_wire::v1;
use fanfold_wire::v1::operations_client::OperationsClient;
use fanfold_wire::v1::sessions_client::SessionsClient;
use fanfold_wire::v1::workers_client::WorkersClient;
use http::uri::InvalidUri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::append::{Append, AppendError};
use crate::follow::{Follow, FollowOptions};
use crate::link::Dialer;

/// How long a node waits for a run when it isn't told.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Where the node is and who asks.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Its HTTP address, such as `http://127.0.0.1:8080`.
    pub http: String,
    /// Its gRPC address, such as `http://127.0.0.1:8081`.
    pub grpc: String,
    /// A JSON Web Token, where the node asks for one.
    pub token: Option<String>,
    /// How long a request or a connection attempt may take.
    pub timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            http: "http://127.0.0.1:8080".into(),
            grpc: "http://127.0.0.1:8081".into(),
            token: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// The client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{address:?} is not an address")]
    Address {
        /// What was given.
        address: String,
        /// Why.
        #[source]
        source: InvalidUri,
    },
    /// A token that can't be sent.
    #[error("the token has characters that can't be sent")]
    Token,
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up")]
    Http(#[source] reqwest::Error),
}

/// A request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The node said no.
    #[error("{}", _0.message())]
    Refused(Box<Status>),
    /// The node can't be reached.
    #[error("the node can't be reached: {}", _0.message())]
    Unreachable(Box<Status>),
    /// No answer came, whatever has become of the request. A command may be sent again with the same id.
    #[error("no answer came, and it may have been done: {}", _0.message())]
    Unknown(Box<Status>),
}

impl From<Status> for RequestError {
    fn from(status: Status) -> Self {
        use tonic::Code;
        // The node's own answers carry details. What the transport makes up has none.
        match status.code() {
            Code::Unavailable if status.details().is_empty() => Self::Unreachable(Box::new(status)),
            Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal if status.details().is_empty() => {
                Self::Unknown(Box::new(status))
            }
            _ => Self::Refused(Box::new(status)),
        }
    }
}

/// See the crate. Cheap to clone; connections are made when needed and made again.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    dialer: Dialer,
}

impl Client {
    /// Checks the addresses. Nothing is connected yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let address = |address: &str| {
            let uri: http::Uri =
                address.parse().map_err(|source| ClientError::Address { address: address.to_owned(), source })?;
            Ok::<_, ClientError>(Endpoint::from(uri))
        };
        address(&config.http)?;
        let channel = address(&config.grpc)?.connect_timeout(config.timeout).tcp_nodelay(true).connect_lazy();
        let authorization = match &config.token {
            Some(token) => Some(format!("Bearer {token}").parse().map_err(|_| ClientError::Token)?),
            None => None,
        };
        let http = reqwest::Client::builder().connect_timeout(config.timeout).build().map_err(ClientError::Http)?;
        let dialer = Dialer { http, channel: channel.clone(), authorization: authorization.clone(), config };
        Ok(Self { channel, authorization, dialer })
    }

    /// A node that is there and never answers isn't waited for.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = authorized(message, self.authorization.as_ref());
        request.set_timeout(self.dialer.config.timeout);
        request
    }

    fn sessions(&self) -> SessionsClient<Channel> {
        SessionsClient::new(self.channel.clone()).max_decoding_message_size(256 << 20)
    }

    fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }

    fn workers(&self) -> WorkersClient<Channel> {
        WorkersClient::new(self.channel.clone())
    }

    /// Has a command judged.
    pub async fn submit(&self, command: v1::Command) -> Result<v1::Receipt, RequestError> {
        Ok(self.sessions().submit(self.request(command)).await?.into_inner())
    }

    /// Erases a session for good. Safe to repeat: then it says how far that is.
    pub async fn erase(&self, session: &str) -> Result<v1::EraseReply, RequestError> {
        let request = v1::EraseRequest { session: session.to_owned() };
        Ok(self.sessions().erase(self.request(request)).await?.into_inner())
    }

    /// The state now, or at an offset.
    pub async fn state(&self, request: v1::GetStateRequest) -> Result<v1::Snapshot, RequestError> {
        Ok(self.sessions().get_state(self.request(request)).await?.into_inner())
    }

    /// Stored records.
    pub async fn events(&self, request: v1::ListEventsRequest) -> Result<v1::ListEventsReply, RequestError> {
        Ok(self.sessions().list_events(self.request(request)).await?.into_inner())
    }

    /// What sessions there are.
    pub async fn list(&self, request: v1::ListSessionsRequest) -> Result<v1::ListSessionsReply, RequestError> {
        Ok(self.sessions().list_sessions(self.request(request)).await?.into_inner())
    }

    /// Sessions that no node loads because it broke off too often.
    pub async fn parked(&self) -> Result<v1::ListParkedReply, RequestError> {
        Ok(self.operations().list_parked(self.request(v1::ListParkedRequest {})).await?.into_inner())
    }

    /// Lets a parked session be tried again.
    pub async fn unpark(&self, session: &str) -> Result<(), RequestError> {
        self.operations().unpark(self.request(v1::UnparkRequest { session: session.to_owned() })).await?;
        Ok(())
    }

    /// A page of the runs that failed for good.
    pub async fn dead_letters(&self, request: v1::ListDeadLettersRequest) -> Result<v1::ListDeadLettersReply, RequestError> {
        Ok(self.operations().list_dead_letters(self.request(request)).await?.into_inner())
    }

    /// One of them, with its run.
    pub async fn dead_letter(&self, run: v1::RunRef) -> Result<v1::DeadLetter, RequestError> {
        Ok(self.operations().get_dead_letter(self.request(run)).await?.into_inner())
    }

    /// Has one tried again. Returns the run that is tried now.
    pub async fn redrive(&self, run: v1::RunRef) -> Result<String, RequestError> {
        Ok(self.operations().redrive_dead_letter(self.request(run)).await?.into_inner().run)
    }

    /// Waits for a run, as a worker.
    pub async fn take_run(&self, request: v1::TakeRunRequest) -> Result<v1::TakeRunReply, RequestError> {
        let wait = Duration::from_millis(request.wait_ms.into());
        let mut request = self.request(request);
        // A node that is gone without a word must not be waited for.
        request.set_timeout(wait.max(DEFAULT_WAIT) + self.dialer.config.timeout);
        Ok(self.workers().take_run(request).await?.into_inner())
    }

    /// Says that the worker which has a run is alive.
    pub async fn extend_lease(&self, lease: v1::Lease) -> Result<(), RequestError> {
        self.workers().extend_lease(self.request(lease)).await?;
        Ok(())
    }

    /// Gives back a run that the worker has not started.
    pub async fn give_back_run(&self, request: v1::GiveBackRunRequest) -> Result<(), RequestError> {
        self.workers().give_back_run(self.request(request)).await?;
        Ok(())
    }

    /// Begins to follow a session. Connects when [`Follow::next`] is called.
    pub fn follow(&self, session: &str, options: FollowOptions) -> Result<Follow, fanfold_fold::IdError> {
        Ok(Follow::new(self.dialer.clone(), session.parse()?, options))
    }

    /// Starts an attempt at a run, or goes on with one.
    pub async fn append(&self, start: v1::AppendStart) -> Result<Append, AppendError> {
        let started = Append::start(self.workers(), start, self.authorization.as_ref());
        let unanswered = |_| Status::deadline_exceeded("the node didn't answer in time");
        tokio::time::timeout(self.dialer.config.timeout, started).await.map_err(unanswered)?
    }
}

pub(crate) fn authorized<T>(message: T, authorization: Option<&MetadataValue<Ascii>>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.clone());
    }
    request
}
