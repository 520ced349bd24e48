//! Which sessions there are: what a caller may see of the list, once or for as long as they watch.

use std::sync::Arc;

use fanfold_fold::{SessionId, SessionKey};
use fanfold_store::{SessionIndex as _, SessionPage, SessionQuery, SessionRow};
use fanfold_wire::convert::id;
use fanfold_wire::v1;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;

use super::{Edge, Failure, limit};
use crate::auth::{Action, Caller, Grants, authorize, authorize_some};
use crate::listings::{Missed, Watching};

/// Rows of a page where the caller doesn't say, and at most.
const ROWS: usize = 50;
const ROWS_MAX: usize = 500;

/// Rows of single sessions that are asked for at one time.
const ROWS_AT_ONCE: usize = 32;

impl Edge {
    /// What sessions there are.
    pub async fn list(&self, caller: &Caller, request: &v1::ListSessionsRequest) -> Result<v1::ListSessionsReply, Failure> {
        let v1::ListSessionsRequest { user, since_ms, until_ms, query: words, .. } = request.clone();
        let before = request.page.as_deref().map(place).transpose()?;
        let rows_max = limit(request.limit, ROWS, ROWS_MAX);
        let query = SessionQuery { user, since_ms, until_ms, words, before, rows_max, tenant: caller.tenant.clone() };
        let SessionPage { rows, next } = self.page(caller, &query).await?;
        Ok(v1::ListSessionsReply { sessions: rows.into_iter().map(row).collect(), next_page: next.map(name) })
    }

    /// Who may read single sessions sees these and no other.
    async fn page(&self, caller: &Caller, query: &SessionQuery) -> Result<SessionPage, Failure> {
        authorize_some(caller, Action::List)?;
        let Grants::Sessions(granted) = &caller.grants else { return Ok(self.listings.list(query).await?) };
        let keys: Vec<_> = granted.iter().map(|session| SessionKey::new(caller.tenant.clone(), session.clone())).collect();
        let rows = stream::iter(keys).map(|key| async move { self.listings.row(&key).await }).buffered(ROWS_AT_ONCE);
        let rows: Vec<_> = rows.try_collect().await?;
        let seen = rows.into_iter().flatten().filter(|row| row.status != ERASED && may_see(caller, row));
        Ok(query.page_of(seen.collect()))
    }

    /// The list's beginning; what changes from then on is told by [`Watched::next`].
    pub(crate) async fn watch(
        self: Arc<Self>,
        caller: watch::Receiver<Caller>,
        request: v1::Watch,
    ) -> Result<(Watched, v1::Listed), Failure> {
        let watching = self.listings.watch(&caller.borrow().tenant);
        let watched = Watched { edge: self, watching, caller, request };
        let begun = watched.begin().await?;
        Ok((watched, begun))
    }
}

/// The status of a row of which nothing else is left.
const ERASED: &str = "erased";

/// A list that somebody watches.
pub(crate) struct Watched {
    edge: Arc<Edge>,
    watching: Watching,
    /// Whom a new token has made of them.
    caller: watch::Receiver<Caller>,
    request: v1::Watch,
}

impl Watched {
    async fn begin(&self) -> Result<v1::Listed, Failure> {
        let v1::Watch { user, limit } = self.request.clone();
        let caller = self.caller.borrow().clone();
        let request = v1::ListSessionsRequest { user, limit, ..v1::ListSessionsRequest::default() };
        let v1::ListSessionsReply { sessions, next_page } = self.edge.list(&caller, &request).await?;
        Ok(v1::Listed { rows: sessions, reset: true, next_page })
    }

    /// Waits for what there is to tell.
    pub(crate) async fn next(mut self) -> Result<(Self, v1::Listed), Failure> {
        loop {
            let rows = match self.watching.next().await {
                Ok(rows) => rows,
                Err(Missed) => {
                    let begun = self.begin().await?;
                    return Ok((self, begun));
                }
            };
            let caller = self.caller.borrow().clone();
            let user = self.request.user.as_deref();
            // Of one that was erased nobody can say any more whose it was.
            let of_user = |row: &SessionRow| user.is_none() || row.user.as_deref() == user || row.status == ERASED;
            let rows = rows.into_iter().filter(|row| of_user(row) && may_see(&caller, row)).map(row).collect::<Vec<_>>();
            if !rows.is_empty() {
                return Ok((self, v1::Listed { rows, reset: false, next_page: None }));
            }
        }
    }
}

fn may_see(caller: &Caller, row: &SessionRow) -> bool {
    let session = Some(&row.key.session);
    [Action::List, Action::Read].into_iter().all(|action| authorize(caller, action, session).is_ok())
}

fn row(row: SessionRow) -> v1::SessionRow {
    v1::SessionRow {
        session: row.key.session.to_string(),
        user: row.user,
        title: row.title,
        status: row.status,
        opened_at_ms: row.opened_at_ms,
        active_at_ms: row.active_at_ms,
        offset: row.offset.0,
        open_runs: row.open_runs,
    }
}

/// Where a page goes on, as clients bring it back.
fn name((active_at_ms, session): (u64, SessionId)) -> String {
    format!("{active_at_ms}.{session}")
}

fn place(text: &str) -> Result<(u64, SessionId), Failure> {
    let malformed = || Failure::bad_request("field page: is not from a list");
    let (active_at_ms, session) = text.split_once('.').ok_or_else(malformed)?;
    Ok((active_at_ms.parse().map_err(|_| malformed())?, id(session, "page")?))
}
