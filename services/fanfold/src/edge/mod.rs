//! What every transport shares: who asks, what they ask for, how they are answered. Transports only move bytes.

mod attempt;
mod beginning;
mod command;
mod connection;
mod erase;
mod failure;
mod framing;
mod list;
mod notice;
mod operations;
mod readers;
mod simple;
mod subscriptions;
mod talk;
mod work;

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{Cursor, Offset, SessionId, SessionKey, SessionStatus};
use fanfold_session::Sessions;
use fanfold_store::Parking;
use fanfold_wire::convert::id;
use fanfold_wire::{ErrorCode, frame, v1};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Action, Authenticator, Caller, authorize};
use crate::clock;
use crate::config::LimitConfig;
use crate::erase::Erasures;
use crate::listings::Listings;
use crate::run::budget::Budget;
use crate::run::desk::Desk;
use crate::run::graves::Graves;
use crate::run::hook::Hooks;

pub(crate) use attempt::{Attempt, over};
pub(crate) use connection::{Connection, describe_metrics};
pub use failure::Failure;
pub use framing::Framing;
pub use notice::Notice;
pub(crate) use notice::notices;
pub use readers::Readers;
pub(crate) use subscriptions::{Filling, Subscriptions};
pub(crate) use talk::{End, Event, Talk, reconnect_after_ms};

/// What a client that had stopped to take anything may take to be told why it is let go of.
pub(crate) const STALLED_LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Messages in a snapshot where the reader doesn't say.
pub const WINDOW_DEFAULT: usize = 100;

/// A node as its transports see it.
pub struct Edge {
    /// Its name.
    pub node: String,
    /// The sessions.
    pub sessions: Sessions,
    /// Where workers get runs.
    pub desk: Arc<Desk>,
    /// Runs that failed for good.
    pub graves: Arc<Graves>,
    /// How many runs and tokens there may be.
    pub budget: Arc<Budget>,
    /// Whom to tell when a run has ended.
    pub hooks: Option<Hooks>,
    /// Where erased sessions are removed from.
    pub erasures: Arc<Erasures>,
    /// What sessions there are, and who watches that.
    pub listings: Listings,
    /// How readers came.
    pub readers: Readers,
    /// What must not be loaded.
    pub parking: Arc<dyn Parking>,
    /// Who may come in.
    pub authenticator: Authenticator,
    /// What they may use.
    pub limits: LimitConfig,
    /// Origins whose pages may connect.
    pub origins: Vec<String>,
    /// One for each connection at a time.
    pub connections: Arc<Semaphore>,
    /// True once the node goes away.
    pub draining: watch::Receiver<bool>,
    /// The same, and what else all connections are told.
    pub notices: watch::Receiver<Notice>,
}

impl Edge {
    /// A place for one more connection.
    pub fn connection(&self) -> Result<Connection, Failure> {
        if *self.draining.borrow() {
            return Err(ErrorCode::Draining.into());
        }
        let permit = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| ErrorCode::TooManyConnections)?;
        Ok(Connection::new(permit))
    }

    /// Who holds this token.
    pub fn caller(&self, token: Option<&str>) -> Result<Caller, Failure> {
        Ok(self.authenticator.caller(token, clock::now_s())?)
    }

    /// The session of this id, if the caller may do this with it.
    pub fn session(&self, caller: &Caller, action: Action, session: &str) -> Result<SessionKey, Failure> {
        let session: SessionId = id(session, "session")?;
        authorize(caller, action, Some(&session))?;
        Ok(SessionKey::new(caller.tenant.clone(), session))
    }

    /// The state now, or at an offset of the past.
    pub async fn state(&self, caller: &Caller, request: &v1::GetStateRequest) -> Result<v1::Snapshot, Failure> {
        let key = self.session(caller, Action::Read, &request.session)?;
        let window = window(request.window);
        let looked = match request.at {
            Some(at) => self.sessions.look_at(&key, Offset(at), window).await?,
            None => self.sessions.look(&key, least(&key, request.at_least.as_deref())?, window).await?,
        };
        if looked.view.session.status == SessionStatus::Erased {
            return Err(ErrorCode::SessionErased.into());
        }
        if looked.offset == Offset::NONE && request.at.is_none() {
            return Err(ErrorCode::SessionNotFound.into());
        }
        Ok(snapshot(&key, &looked))
    }

    /// Stored records.
    pub async fn events(&self, caller: &Caller, request: &v1::ListEventsRequest) -> Result<v1::ListEventsReply, Failure> {
        let key = self.session(caller, Action::Read, &request.session)?;
        let limit = limit(request.limit, 100, 1000);
        let (mut records, end) = self.sessions.records(&key, Offset(request.after), limit).await?;
        let all = records.len();
        if all == 0 && request.after == 0 && self.sessions.look(&key, Offset::NONE, 0).await?.offset == Offset::NONE {
            return Err(ErrorCode::SessionNotFound.into());
        }
        records.retain(|record| request.upto.is_none_or(|upto| record.offset <= Offset(upto)));
        let end = end || records.len() < all;
        Ok(v1::ListEventsReply { records: records.iter().map(record).collect(), end })
    }
}

fn limit(asked: u32, default: usize, max: usize) -> usize {
    match usize::try_from(asked).unwrap_or(max) {
        0 => default,
        asked => asked.min(max),
    }
}

/// Messages of a snapshot.
pub(crate) fn window(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => WINDOW_DEFAULT,
        asked => asked,
    }
}

/// The offset of a cursor that this node must have seen.
pub(crate) fn least(key: &SessionKey, cursor: Option<&str>) -> Result<Offset, Failure> {
    let Some(cursor) = cursor else { return Ok(Offset::NONE) };
    let cursor: Cursor = cursor.parse()?;
    if !cursor.fits(key) {
        return Err(ErrorCode::CursorOfOtherSession.into());
    }
    Ok(cursor.offset)
}

/// A state as it is told.
pub(crate) fn snapshot(key: &SessionKey, looked: &fanfold_session::Looked) -> v1::Snapshot {
    frame::snapshot(&key.session, looked.cursor, &looked.view, looked.older)
}

/// A record as it is told.
pub(crate) fn record(stored: &fanfold_session::StoredRecord) -> v1::Record {
    let shell = v1::Record { offset: stored.offset.0, stored_at_ms: stored.stored_at_ms, ..v1::Record::default() };
    match fanfold_fold::Record::decode(&stored.record) {
        Ok(record) => v1::Record {
            at_ms: record.at_ms,
            by: record.by,
            command: record.command.map(|command| command.to_string()),
            events: record.events.iter().map(Into::into).collect(),
            ..shell
        },
        Err(error) => v1::Record { unreadable: error.to_string(), ..shell },
    }
}
