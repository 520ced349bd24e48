//! The list of sessions. Rows are versions, and a list is made of facts that stay true: in this minute, this session was active.
//! A session that has been active since is found in a later minute, and left out where its row says so.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use fanfold_fold::{SessionId, SessionKey, TenantId};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _};
use uuid::Uuid;

use super::ScyllaStore;
use super::call::Call;
use super::erase::for_good;
use super::value::varint;
use crate::port::{SessionPage, SessionQuery, SessionRow, StoreError};
use crate::stored::key::session_key;
use crate::stored::row::{DamagedRow, Stored};
use crate::stored::wanted::{Wanted, place};
use crate::stored::{damaged, unavailable};

/// Partitions that what belongs to no tenant is spread over.
pub(crate) const BUCKETS: i32 = 64;

/// Rows read at one time for one list.
const ROWS_AT_ONCE: usize = 32;

/// Rows looked at for one page, and those of the minute in which this many are reached.
const LOOKED_MAX: usize = 2000;

/// Facts of which this process remembers that they are stored. At this many it begins anew.
const FACTS_MAX: usize = 1 << 16;

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;

/// What is stored once and never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    Day(TenantId, Uuid, i64),
    Active(TenantId, Uuid, i64, i32, SessionId),
    /// The words of a session's row of this digest.
    Named(SessionKey, Uuid),
}

/// Facts that need not be written again.
#[derive(Default)]
pub(crate) struct Facts(Mutex<HashSet<Fact>>);

impl Facts {
    pub(crate) fn is_new(&self, fact: &Fact) -> bool {
        self.0.lock().is_ok_and(|known| !known.contains(fact))
    }

    pub(crate) fn learn(&self, facts: Vec<Fact>) {
        if let Ok(mut known) = self.0.lock() {
            if known.len() + facts.len() > FACTS_MAX {
                known.clear();
            }
            known.extend(facts);
        }
    }

    pub(crate) fn forget(&self, fact: &Fact) {
        if let Ok(mut known) = self.0.lock() {
            known.remove(fact);
        }
    }
}

/// A minute of a day since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Minute {
    day: i64,
    minute: i32,
}

impl Minute {
    fn of(at_ms: u64) -> Self {
        let minutes = at_ms / MINUTE_MS;
        Self { day: (minutes / DAY_MINUTES) as i64, minute: (minutes % DAY_MINUTES) as i32 }
    }

    /// Its beginning.
    fn start_ms(self) -> u64 {
        (self.day as u64 * DAY_MINUTES + self.minute as u64) * MINUTE_MS
    }
}

/// A tenant's list, or a user's within it: a user's text may be of any length, and need not stand in keys.
pub(crate) fn list(user: Option<&str>) -> Uuid {
    user.map_or(Uuid::nil(), |user| Uuid::new_v5(&Uuid::NAMESPACE_OID, user.as_bytes()))
}

/// Where what belongs to no tenant has this session.
pub(crate) fn bucket(session: &SessionKey) -> i32 {
    (crc32c::crc32c(&session_key(session)) % BUCKETS as u32) as i32
}

impl ScyllaStore {
    /// The facts first: a fact without a row is passed over, a row without its facts would not be listed.
    pub(crate) async fn put_version(&self, row: &SessionRow) -> Result<(), StoreError> {
        let call = self.cql.call();
        let Minute { day, minute } = Minute::of(row.active_at_ms);
        let (tenant, session) = (&row.key.tenant, &row.key.session);
        let lists = [Some(list(None)), row.user.as_deref().map(|user| list(Some(user)))];
        let facts = lists.into_iter().flatten().flat_map(|list| {
            [Fact::Day(tenant.clone(), list, day), Fact::Active(tenant.clone(), list, day, minute, session.clone())]
        });
        let facts = facts.filter(|fact| self.facts.is_new(fact)).collect::<Vec<_>>();
        try_join_all(facts.iter().map(|fact| self.put_fact(call, fact))).await?;
        self.facts.learn(facts);
        let ids = (tenant.as_str(), session.as_str());
        if row.open_runs > 0 {
            call.execute(&self.statements.put_open_run, (bucket(&row.key), ids.0, ids.1)).await?;
        }
        let (at, active) = (varint(row.offset.0), varint(row.active_at_ms));
        let content = row.encode(&session_key(&row.key)).map_err(unavailable)?;
        call.execute(&self.statements.put_row, (ids.0, ids.1, &at, &active, content)).await?;
        self.put_words(call, row).await?;
        // What was written behind an erasure is never read: it need not stay.
        let newest: Option<(Option<Bytes>, Option<Bytes>)> = call.row(&self.statements.row, ids).await?;
        match newest {
            Some((Some(_), _)) => {
                self.drop_words(call, row).await?;
                call.execute(&self.statements.drop_row, (for_good(), ids.0, ids.1, &at, &active)).await
            }
            Some((None, _)) | None => Ok(()),
        }
    }

    async fn put_fact(&self, call: Call<'_>, fact: &Fact) -> Result<(), StoreError> {
        match fact {
            Fact::Day(tenant, list, day) => call.execute(&self.statements.put_day, (tenant.as_str(), list, day)).await,
            Fact::Active(tenant, list, day, minute, session) => {
                let values = (tenant.as_str(), list, day, minute, session.as_str());
                call.execute(&self.statements.put_active, values).await
            }
            Fact::Named(..) => Ok(()),
        }
    }

    pub(crate) async fn newest_row(&self, call: Call<'_>, session: &SessionKey) -> Result<Option<Newest>, StoreError> {
        let ids = (session.tenant.as_str(), session.session.as_str());
        let Some((erased, content)) = call.row::<(Option<Bytes>, Option<Bytes>)>(&self.statements.row, ids).await? else {
            return Ok(None);
        };
        let key = session_key(session);
        let decode = |content: &[u8]| {
            SessionRow::decode(&key, content).map_err(|error: DamagedRow| {
                damaged("row");
                unavailable(error)
            })
        };
        match (erased, content) {
            (Some(erased), _) => decode(&erased).map(Newest::Erased).map(Some),
            (None, Some(content)) => decode(&content).map(Newest::Live).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// By a word that few sessions have, or else through the list.
    pub(crate) async fn list_rows(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        let call = self.cql.call();
        let wanted = Wanted::new(query);
        let mut listing =
            Listing { store: self, call, wanted: &wanted, rows: Vec::new(), met: HashMap::new(), looked: 0, done: None };
        match self.find(call, &wanted).await? {
            Some(sessions) => {
                let rows = listing.read(sessions.into_iter().collect()).await?;
                Ok(wanted.page(rows.into_iter().filter_map(|(_, row)| row.filter(|row| wanted.fits(row))).collect()))
            }
            None => {
                self.walk(&mut listing).await?;
                Ok(listing.page())
            }
        }
    }

    /// Day by day and minute by minute, the newest first. What is read is bounded by the page, by [`LOOKED_MAX`], and by how many
    /// sessions were active in one minute.
    async fn walk(&self, listing: &mut Listing<'_>) -> Result<(), StoreError> {
        let (call, query) = (listing.call, listing.wanted.query);
        let list = list(query.user.as_deref());
        let since = Minute::of(query.since_ms.unwrap_or(0));
        let until_ms = query.until_ms.map(|until| until.saturating_sub(1));
        let begin_ms = query.before.as_ref().map(|(at, _)| *at).into_iter().chain(until_ms).min();
        let mut from = begin_ms.map_or(Minute { day: i64::MAX, minute: i32::MAX }, Minute::of);
        let mut days = call.pages::<(i64,)>(&self.statements.days, (query.tenant.as_str(), list, from.day))?;
        while let Some(page) = days.next().await? {
            for (day,) in page {
                if day < since.day {
                    return Ok(());
                }
                if day < from.day {
                    from = Minute { day, minute: i32::MAX };
                }
                let values = (query.tenant.as_str(), list, day, from.minute);
                let mut active = call.pages::<(i32, String)>(&self.statements.active, values)?;
                let mut minute = Vec::new();
                while let Some(entries) = active.next().await? {
                    for (at, session) in entries {
                        let at = Minute { day, minute: at };
                        if minute.first().is_some_and(|(first, _)| *first != at) {
                            listing.take(std::mem::take(&mut minute)).await?;
                        }
                        if listing.is_full() || at < since {
                            return Ok(());
                        }
                        minute.extend(SessionId::new(&session).ok().map(|session| (at, session)));
                    }
                }
                listing.take(minute).await?;
                if listing.is_full() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn open_runs(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        let call = self.cql.call();
        let mut found = Vec::new();
        for bucket in after.map_or(0, bucket)..BUCKETS {
            let after = after.filter(|after| self::bucket(after) == bucket);
            let (tenant, session) = after.map_or(("", ""), |after| (after.tenant.as_str(), after.session.as_str()));
            let mut pages = call.pages::<(String, String)>(&self.statements.open_runs, (bucket, tenant, session))?;
            while let Some(page) = pages.next().await? {
                let keys = page.into_iter().filter_map(|(tenant, session)| session_of(&tenant, &session));
                let mut rows = stream::iter(keys).map(|key| self.open_run(call, key)).buffered(ROWS_AT_ONCE);
                while let Some(key) = rows.next().await {
                    if found.len() >= rows_max {
                        return Ok(found);
                    }
                    found.extend(key?);
                }
            }
        }
        Ok(found)
    }

    /// The row decides: what it was found by only says that there once was an open run.
    async fn open_run(&self, call: Call<'_>, key: SessionKey) -> Result<Option<SessionKey>, StoreError> {
        match self.newest_row(call, &key).await? {
            Some(Newest::Live(row)) if row.open_runs > 0 => Ok(Some(key)),
            Some(Newest::Live(_) | Newest::Erased(_)) | None => Ok(None),
        }
    }
}

/// What is known of a session.
pub(crate) enum Newest {
    Live(SessionRow),
    Erased(SessionRow),
}

/// A page of a list while it is made.
struct Listing<'a> {
    store: &'a ScyllaStore,
    call: Call<'a>,
    wanted: &'a Wanted<'a>,
    rows: Vec<SessionRow>,
    /// Sessions that were met already, and the minute that they belong to.
    met: HashMap<SessionId, Option<Minute>>,
    looked: usize,
    /// Set where it stopped: everything of this minute and later ones was looked at.
    done: Option<Minute>,
}

impl Listing<'_> {
    fn is_full(&self) -> bool {
        self.done.is_some()
    }

    /// Takes the sessions of one minute in, in their order.
    async fn take(&mut self, entries: Vec<(Minute, SessionId)>) -> Result<(), StoreError> {
        let Some((minute, _)) = entries.first().cloned() else { return Ok(()) };
        let may_be = entries.into_iter().filter(|(_, session)| self.met.get(session).is_none_or(|at| *at == Some(minute)));
        let may_be = may_be.map(|(_, session)| session).collect::<Vec<_>>();
        self.looked += may_be.len();
        let mut fitting = Vec::new();
        for (session, row) in self.read(may_be).await? {
            let at = row.as_ref().map(|row| Minute::of(row.active_at_ms));
            self.met.insert(session, at);
            fitting.extend(row.filter(|row| at == Some(minute) && self.wanted.fits(row)));
        }
        fitting.sort_by(|a, b| (b.active_at_ms, &b.key.session).cmp(&(a.active_at_ms, &a.key.session)));
        self.rows.extend(fitting);
        if self.rows.len() >= self.wanted.query.rows_max || self.looked >= LOOKED_MAX {
            self.done = Some(minute);
        }
        Ok(())
    }

    /// Each with its row, if it has one and wasn't erased.
    async fn read(&self, sessions: Vec<SessionId>) -> Result<Vec<(SessionId, Option<SessionRow>)>, StoreError> {
        let (store, call, tenant) = (self.store, self.call, &self.wanted.query.tenant);
        let rows = stream::iter(sessions).map(|session| {
            let key = SessionKey::new(tenant.clone(), session);
            async move { (store.newest_row(call, &key).await, key) }
        });
        let rows = rows.buffered(ROWS_AT_ONCE).collect::<Vec<_>>().await;
        let found = rows.into_iter().map(|(row, key)| match row {
            Ok(Some(Newest::Live(row))) => Ok((key.session, Some(row))),
            Ok(Some(Newest::Erased(_)) | None) => Ok((key.session, None)),
            // One that is damaged spoils no list; servers that are away do.
            Err(StoreError::Unavailable(error)) if error.is::<DamagedRow>() => {
                tracing::warn!(session = %key, "session left out of a list: its row is damaged");
                Ok((key.session, None))
            }
            Err(error) => Err(error),
        });
        found.collect()
    }

    /// More of the last minute than the page has room for is looked at again for the next one.
    fn page(self) -> SessionPage {
        let rows_max = self.wanted.query.rows_max;
        let mut rows = self.rows;
        let next = match self.done {
            Some(_) if rows.len() >= rows_max => rows.get(rows_max - 1).map(place),
            // Below all ids of its first moment.
            Some(minute) => SessionId::new("-").ok().map(|lowest| (minute.start_ms(), lowest)),
            None => None,
        };
        rows.truncate(rows_max);
        SessionPage { rows, next }
    }
}

pub(crate) fn session_of(tenant: &str, session: &str) -> Option<SessionKey> {
    Some(SessionKey::new(TenantId::new(tenant).ok()?, SessionId::new(session).ok()?))
}
