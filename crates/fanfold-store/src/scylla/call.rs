//! One call of a port: its requests share a deadline, and are repeated until then. Every statement of the store is idempotent.

use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use rand::Rng;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::bound::BoundStatement;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::config::ScyllaConfig;
use crate::metric;
use crate::port::StoreError;
use crate::stored::unavailable;

/// Before the first repetition; doubled for each one after it. What is waited is a random part of it.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The servers, and how much may be asked of them at once.
pub(crate) struct Cql {
    pub(crate) session: Session,
    requests: Semaphore,
    call_max: Duration,
}

impl Cql {
    pub(crate) fn new(session: Session, config: &ScyllaConfig) -> Self {
        let requests = Semaphore::new(config.requests_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { session, requests, call_max: Duration::from_millis(config.call_ms_max) }
    }

    /// Begins a call: its time runs from now on.
    pub(crate) fn call(&self) -> Call<'_> {
        Call { cql: self, deadline: Instant::now() + self.call_max }
    }
}

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    cql: &'a Cql,
    deadline: Instant,
}

impl<'a> Call<'a> {
    /// A statement without an answer.
    pub(crate) async fn execute(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<(), StoreError> {
        let bound = statement.clone().bind(&values).map_err(unavailable)?;
        self.request(&bound, PagingState::start()).await.map(drop)
    }

    /// All rows. For what is bounded by a limit in the statement, or by what is one session's.
    pub(crate) async fn rows<R>(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let mut rows = Vec::new();
        let mut pages = self.pages(statement, values)?;
        while let Some(page) = pages.next().await? {
            rows.extend(page);
        }
        Ok(rows)
    }

    /// The first row, if there is one.
    pub(crate) async fn row<R>(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<Option<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let mut pages = self.pages(statement, values)?;
        while let Some(page) = pages.next().await? {
            if let Some(row) = page.into_iter().next() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Rows by pages of the statement's size.
    pub(crate) fn pages<R>(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<Pages<'a, R>, StoreError> {
        let bound = statement.clone().bind(&values).map_err(unavailable)?;
        Ok(Pages { call: *self, bound, next: Some(PagingState::start()), rows: std::marker::PhantomData })
    }

    async fn request(&self, bound: &BoundStatement, from: PagingState) -> Result<(QueryResult, Option<PagingState>), StoreError> {
        let session = &self.cql.session;
        self.until_deadline(|| session.execute_bound_single_page(bound, from.clone())).await.map(|(result, rest)| {
            let next = match rest.into_paging_control_flow() {
                ControlFlow::Continue(next) => Some(next),
                ControlFlow::Break(()) => None,
            };
            (result, next)
        })
    }

    /// Tries again, with growing random pauses, what may succeed the next time.
    async fn until_deadline<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, ExecutionError>>,
    {
        // Half of the time is for the servers.
        let patience = (self.deadline - Instant::now()) / 2;
        let place = timeout(patience, self.cql.requests.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(gave_up(StoreError::Overloaded)) };
        let mut back_off = BACK_OFF;
        let mut why = unavailable(Silent);
        loop {
            let started = Instant::now();
            match timeout_at(self.deadline, request()).await {
                Ok(Ok(answer)) => {
                    metrics::histogram!(metric::CQL_SECONDS).record(started.elapsed().as_secs_f64());
                    return Ok(answer);
                }
                Ok(Err(error)) => match kind(&error) {
                    Kind::Final => return Err(gave_up(unavailable(error))),
                    Kind::Away => why = unavailable(error),
                    Kind::Overloaded => why = StoreError::Overloaded,
                },
                Err(_) => return Err(gave_up(why)),
            }
            let pause = rand::rng().random_range(Duration::from_millis(1)..=back_off);
            if Instant::now() + pause >= self.deadline {
                return Err(gave_up(why));
            }
            metrics::counter!(metric::CQL_REPEATED).increment(1);
            tokio::time::sleep(pause).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }
}

/// Rows by pages.
pub(crate) struct Pages<'a, R> {
    call: Call<'a>,
    bound: BoundStatement,
    next: Option<PagingState>,
    rows: std::marker::PhantomData<fn() -> R>,
}

impl<R: for<'r> DeserializeRow<'r, 'r>> Pages<'_, R> {
    /// The next page, which may be empty; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<R>>, StoreError> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let (result, next) = self.call.request(&self.bound, from).await?;
        self.next = next;
        let rows = result.into_rows_result().map_err(unavailable)?;
        let rows = rows.rows::<R>().map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)?;
        Ok(Some(rows))
    }
}

/// No server answered, or too few did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the servers didn't answer in time")]
struct Silent;

enum Kind {
    /// The same again.
    Final,
    /// May be better in a moment.
    Away,
    /// May be better in a moment, if others wait, too.
    Overloaded,
}

fn kind(error: &ExecutionError) -> Kind {
    match error {
        ExecutionError::RequestTimeout(_) | ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => Kind::Away,
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::BrokenConnectionError(_) => Kind::Away,
            RequestAttemptError::UnableToAllocStreamId => Kind::Overloaded,
            RequestAttemptError::DbError(error, _) => match error {
                DbError::Overloaded | DbError::RateLimitReached { .. } => Kind::Overloaded,
                DbError::Unavailable { .. }
                | DbError::IsBootstrapping
                | DbError::ReadTimeout { .. }
                | DbError::WriteTimeout { .. }
                | DbError::ReadFailure { .. }
                | DbError::WriteFailure { .. }
                | DbError::ServerError
                | DbError::TruncateError => Kind::Away,
                _ => Kind::Final,
            },
            _ => Kind::Final,
        },
        _ => Kind::Final,
    }
}

/// Counted here; whoever asked says what became of it.
fn gave_up(error: StoreError) -> StoreError {
    metrics::counter!(metric::CQL_FAILED).increment(1);
    error
}
