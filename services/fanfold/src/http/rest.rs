//! REST: sessions, messages, state, events, commands. Bodies are the wire's messages as JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use fanfold_wire::v1::command::Action;
use fanfold_wire::{ErrorCode, v1};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::asked::Asked;
use super::bearer;
use super::problem::Problem;
use crate::auth::Caller;
use crate::clock;
use crate::edge::{Edge, Failure};

type Answer<T> = Result<Json<T>, Problem>;

pub(super) fn caller(edge: &Edge, headers: &HeaderMap) -> Result<Caller, Problem> {
    Ok(edge.caller(bearer(headers).as_deref())?)
}

/// Reads a body; an empty one is an empty object.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Problem(Failure::bad_request(error.to_string())))
}

#[derive(Deserialize)]
pub(super) struct ListAsk {
    user: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    query: Option<String>,
    page: Option<String>,
    #[serde(default)]
    limit: u32,
}

/// `GET /v1/sessions`
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Asked(ask): Asked<ListAsk>,
    headers: HeaderMap,
) -> Answer<v1::ListSessionsReply> {
    let ListAsk { user, since_ms, until_ms, query, page, limit } = ask;
    let request = v1::ListSessionsRequest { user, page, limit, since_ms, until_ms, query };
    Ok(Json(edge.list(&caller(&edge, &headers)?, &request).await?))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ReadersAsk {
    wait_ms: u32,
    known: u64,
}

/// `GET /v1/sessions/{session}/readers`
pub(super) async fn readers(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    Asked(ask): Asked<ReadersAsk>,
    headers: HeaderMap,
) -> Answer<v1::ListReadersReply> {
    let request = v1::ListReadersRequest { session, wait_ms: ask.wait_ms, known: ask.known };
    Ok(Json(edge.readers(&caller(&edge, &headers)?, &request).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    session: Option<String>,
    title: Option<String>,
    user: Option<String>,
    /// The command's id, so that a repetition opens one session.
    id: Option<String>,
}

/// `POST /v1/sessions`
pub(super) async fn open(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<v1::Receipt>), Problem> {
    let caller = caller(&edge, &headers)?;
    let OpenBody { session, title, user, id } = body(&bytes)?;
    let session = session.unwrap_or_else(|| clock::new_session().to_string());
    let user = user.or_else(|| (!edge.authenticator.is_open()).then(|| caller.subject.to_string()));
    let action = Action::Open(v1::SessionOpened { title, user });
    let receipt = submit(&edge, &caller, id, session, action).await?;
    Ok((StatusCode::CREATED, Json(receipt)))
}

#[derive(Deserialize)]
pub(super) struct StateAsk {
    at: Option<u64>,
    at_least: Option<String>,
    #[serde(default)]
    window: u32,
}

/// `GET /v1/sessions/{session}`
pub(super) async fn state(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    Asked(ask): Asked<StateAsk>,
    headers: HeaderMap,
) -> Answer<v1::Snapshot> {
    let request = v1::GetStateRequest { session, at: ask.at, at_least: ask.at_least, window: ask.window };
    Ok(Json(edge.state(&caller(&edge, &headers)?, &request).await?))
}

/// `DELETE /v1/sessions/{session}`
pub(super) async fn erase(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<v1::EraseReply>), Problem> {
    let reply = edge.erase(&caller(&edge, &headers)?, &v1::EraseRequest { session }).await?;
    let status = match reply.stage() {
        v1::ErasureStage::Unspecified | v1::ErasureStage::Erased => StatusCode::ACCEPTED,
        v1::ErasureStage::Removed | v1::ErasureStage::Done => StatusCode::OK,
    };
    Ok((status, Json(reply)))
}

#[derive(Deserialize)]
pub(super) struct EventsAsk {
    #[serde(default)]
    after: u64,
    upto: Option<u64>,
    #[serde(default)]
    limit: u32,
}

/// `GET /v1/sessions/{session}/events`
pub(super) async fn events(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    Asked(ask): Asked<EventsAsk>,
    headers: HeaderMap,
) -> Answer<v1::ListEventsReply> {
    let request = v1::ListEventsRequest { session, after: ask.after, upto: ask.upto, limit: ask.limit };
    Ok(Json(edge.events(&caller(&edge, &headers)?, &request).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    text: String,
    /// Whether an answer is wanted.
    #[serde(default = "yes")]
    answer: bool,
    model: Option<String>,
    parent: Option<String>,
    #[serde(default)]
    interrupt: bool,
    /// The command's id, so that a repetition is sent once.
    id: Option<String>,
}

fn yes() -> bool {
    true
}

/// `POST /v1/sessions/{session}/messages`
pub(super) async fn message(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer<v1::Receipt> {
    let caller = caller(&edge, &headers)?;
    let MessageBody { text, answer, model, parent, interrupt, id } = body(&bytes)?;
    let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text })) };
    let answer = answer.then(|| v1::Answer { model, interrupt, ..v1::Answer::default() });
    let send = v1::Send { parent, parts: vec![part], answer, role: v1::Role::User.into(), ..v1::Send::default() };
    Ok(Json(submit(&edge, &caller, id, session, Action::Send(send)).await?))
}

/// `POST /v1/sessions/{session}/commands`
pub(super) async fn command(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer<v1::Receipt> {
    let caller = caller(&edge, &headers)?;
    let mut command: v1::Command = body(&bytes)?;
    if !command.session.is_empty() && command.session != session {
        return Err(Failure::bad_request("field session: is not the one of the path").into());
    }
    command.session = session;
    refused(edge.submit(&caller, command).await?).map(Json)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CancelBody {
    run: Option<String>,
    reason: String,
    id: Option<String>,
}

/// `POST /v1/sessions/{session}/cancel`
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer<v1::Receipt> {
    let caller = caller(&edge, &headers)?;
    let CancelBody { run, reason, id } = body(&bytes)?;
    Ok(Json(submit(&edge, &caller, id, session, Action::Cancel(v1::Cancel { run, reason })).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresenceBody {
    doing: String,
}

/// `POST /v1/sessions/{session}/presence`
pub(super) async fn presence(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let caller = caller(&edge, &headers)?;
    let PresenceBody { doing } = body(&bytes)?;
    edge.appear(&caller, &session, &doing).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/parked`
pub(super) async fn parked(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Answer<v1::ListParkedReply> {
    Ok(Json(edge.parked(&caller(&edge, &headers)?).await?))
}

/// `POST /v1/sessions/{session}/unpark`
pub(super) async fn unpark(
    State(edge): State<Arc<Edge>>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    edge.unpark(&caller(&edge, &headers)?, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct LettersAsk {
    page: Option<String>,
    #[serde(default)]
    limit: u32,
}

/// `GET /v1/dead-letters`
pub(super) async fn dead_letters(
    State(edge): State<Arc<Edge>>,
    Asked(LettersAsk { page, limit }): Asked<LettersAsk>,
    headers: HeaderMap,
) -> Answer<v1::ListDeadLettersReply> {
    let request = v1::ListDeadLettersRequest { page, limit };
    Ok(Json(edge.dead_letters(&caller(&edge, &headers)?, &request).await?))
}

/// `GET /v1/dead-letters/{session}/{run}`
pub(super) async fn dead_letter(
    State(edge): State<Arc<Edge>>,
    Path((session, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<v1::DeadLetter> {
    Ok(Json(edge.dead_letter(&caller(&edge, &headers)?, &v1::RunRef { session, run }).await?))
}

/// `POST /v1/dead-letters/{session}/{run}/redrive`
pub(super) async fn redrive(
    State(edge): State<Arc<Edge>>,
    Path((session, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<v1::RedriveReply> {
    Ok(Json(edge.redrive(&caller(&edge, &headers)?, &v1::RunRef { session, run }).await?))
}

async fn submit(
    edge: &Edge,
    caller: &Caller,
    id: Option<String>,
    session: String,
    action: Action,
) -> Result<v1::Receipt, Problem> {
    let command = v1::Command { id: id.unwrap_or_default(), session, action: Some(action), ..v1::Command::default() };
    refused(edge.submit(caller, command).await?)
}

/// A refusal is an error of its own status; a repetition is as good as its first.
fn refused(receipt: v1::Receipt) -> Result<v1::Receipt, Problem> {
    match ErrorCode::from_name(&receipt.refusal) {
        Some(code) => Err(code.into()),
        None => Ok(receipt),
    }
}
