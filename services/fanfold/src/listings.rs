//! What changes in the lists of sessions, for those who watch one.
//!
//! Every row that this node keeps is told at once. Where other nodes keep rows in the same store, the list is read again and again for
//! as long as somebody watches it, and what is being erased as well, which no list shows: a hint that got lost would be a row that stays
//! wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use fanfold_store::{Erasure, SessionIndex, SessionPage, SessionQuery, SessionRow, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::backend::Store;
use crate::clock;

/// Rows of one tenant that watchers can still be told. Who is further behind begins anew.
const ROWS_MAX: usize = 2000;

/// Between two looks at a shared store, for each tenant that is watched on this node …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … how many of them at a time …
const LOOKS_MAX: usize = 4;
/// … how far back, so that other nodes' clocks may be behind …
const LOOK_BACK_MS: u64 = 30_000;
/// … how many rows at a time …
const LOOK_ROWS: usize = 500;
/// … and how often that. Where more have changed, watchers begin anew, and the next look is further away, up to …
const LOOK_PAGES_MAX: usize = ROWS_MAX / LOOK_ROWS;
/// … this. An erasure is listed for longer.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);

/// Erasures that are looked at, of all tenants. Where there are more, watchers begin anew.
const ERASURES_MAX: usize = 10_000;
/// They are read once for all tenants that are looked at within this.
const ERASURES_EVERY: Duration = LOOK_EVERY;

/// Between two times that one watcher is told.
const REST: Duration = Duration::from_millis(500);

/// The list of sessions of a store, with watchers. Clones share them.
#[derive(Clone)]
pub struct Listings {
    store: Arc<dyn Store>,
    /// Whether other nodes keep rows in the store, too.
    is_shared: bool,
    tenants: Arc<Mutex<HashMap<TenantId, Weak<Tenant>>>>,
    looks: Arc<Semaphore>,
    erasures: Arc<tokio::sync::Mutex<Option<(Instant, Erasing)>>>,
}

/// What is being erased. `None`: more than is looked at.
type Erasing = Option<Arc<[Erasure]>>;

impl Listings {
    /// `is_shared`: whether other nodes use the store.
    pub fn new(store: Arc<dyn Store>, is_shared: bool) -> Self {
        Self { store, is_shared, tenants: Arc::default(), looks: Arc::new(Semaphore::new(LOOKS_MAX)), erasures: Arc::default() }
    }

    /// From now on. Who then lists the sessions misses nothing.
    pub fn watch(&self, tenant: &TenantId) -> Watching {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, tenant| tenant.strong_count() > 0);
        let known = tenants.get(tenant).and_then(Weak::upgrade);
        let watched = known.unwrap_or_else(|| {
            let new = Arc::new(Tenant::default());
            tenants.insert(tenant.clone(), Arc::downgrade(&new));
            if self.is_shared {
                tokio::spawn(self.clone().look(Look::new(tenant), Arc::downgrade(&new)));
            }
            new
        });
        Watching::new(watched)
    }

    /// Tells those on this node that a row is like this now.
    pub(crate) fn tell(&self, row: &SessionRow) {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = tenants.get(&row.key.tenant).and_then(Weak::upgrade);
        drop(tenants);
        if let Some(tenant) = watched {
            tenant.tell([row.clone()]);
        }
    }

    /// Looks what other nodes have kept, until nobody watches any more.
    async fn look(self, mut look: Look, watched: Weak<Tenant>) {
        let mut every = LOOK_EVERY;
        while watched.strong_count() > 0 {
            let changed = match self.looks.acquire().await {
                Ok(_place) => self.changed(&mut look).await,
                Err(_closed) => return,
            };
            let Some(watched) = watched.upgrade() else { return };
            match changed {
                Ok(Some(rows)) => {
                    watched.tell(rows);
                    every = LOOK_EVERY;
                }
                Ok(None) => {
                    watched.begin_anew();
                    every = (2 * every).min(LOOK_EVERY_MAX);
                }
                // The next look goes as far back as this one.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the list of sessions can't be looked at"),
            }
            drop(watched);
            tokio::time::sleep(every).await;
        }
    }

    /// Rows that are others than at the last look. `None`: more than can be told.
    async fn changed(&self, look: &mut Look) -> Result<Option<Vec<SessionRow>>, StoreError> {
        let now_ms = clock::now_ms();
        let since_ms = Some(look.at_ms.saturating_sub(LOOK_BACK_MS));
        let mut query = SessionQuery { since_ms, ..SessionQuery::new(look.tenant.clone(), LOOK_ROWS) };
        let mut rows = Vec::new();
        for _ in 0..LOOK_PAGES_MAX {
            let page = self.store.list(&query).await?;
            rows.extend(page.rows);
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        let erasures = self.erasures().await?;
        let is_all = query.before.is_none() && erasures.is_some();
        let of_tenant = |erasure: &&Erasure| erasure.session.tenant == look.tenant;
        rows.extend(erasures.iter().flat_map(|all| all.iter()).filter(of_tenant).map(Erasure::row));
        look.at_ms = now_ms;
        let seen = rows.iter().map(|row| (row.key.session.clone(), version(row))).collect();
        let seen = std::mem::replace(&mut look.seen, seen);
        rows.retain(|row| seen.get(&row.key.session) != Some(&version(row)));
        Ok(is_all.then_some(rows))
    }

    /// What is being erased, as it was a moment ago.
    async fn erasures(&self) -> Result<Erasing, StoreError> {
        let mut known = self.erasures.lock().await;
        if let Some((_, erasures)) = known.as_ref().filter(|(at, _)| at.elapsed() < ERASURES_EVERY) {
            return Ok(erasures.clone());
        }
        let erasures = self.store.erasures(None, ERASURES_MAX + 1).await?;
        let erasures = (erasures.len() <= ERASURES_MAX).then(|| Arc::from(erasures));
        *known = Some((Instant::now(), erasures.clone()));
        Ok(erasures)
    }
}

/// What is known of one tenant's list in a store that others use as well.
struct Look {
    tenant: TenantId,
    at_ms: u64,
    seen: HashMap<SessionId, Version>,
}

/// A row's, of those of its session.
type Version = (Offset, u64);

fn version(row: &SessionRow) -> Version {
    (row.offset, row.active_at_ms)
}

impl Look {
    fn new(tenant: &TenantId) -> Self {
        Self { tenant: tenant.clone(), at_ms: clock::now_ms(), seen: HashMap::new() }
    }
}

#[async_trait::async_trait]
impl SessionIndex for Listings {
    async fn put_row(&self, row: &SessionRow) -> Result<(), StoreError> {
        self.store.put_row(row).await?;
        self.tell(row);
        Ok(())
    }

    async fn row(&self, session: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        self.store.row(session).await
    }

    async fn unfinished(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<SessionKey>, StoreError> {
        self.store.unfinished(after, rows_max).await
    }

    async fn list(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        self.store.list(query).await
    }
}

/// What changed in one tenant's list while somebody watched.
#[derive(Default)]
struct Tenant {
    changes: Mutex<Changes>,
    /// The number of the last change.
    head: watch::Sender<u64>,
}

#[derive(Default)]
struct Changes {
    last: u64,
    /// Changes up to this one are not known any more.
    forgotten: u64,
    rows: BTreeMap<u64, SessionRow>,
    numbers: HashMap<SessionId, u64>,
}

impl Tenant {
    fn tell(&self, rows: impl IntoIterator<Item = SessionRow>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        rows.into_iter().for_each(|row| changes.add(row));
        self.head.send_replace(changes.last);
    }

    fn begin_anew(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.last += 1;
        let last = changes.last;
        *changes = Changes { last, forgotten: last, ..Changes::default() };
    }
}

impl Changes {
    /// Of each session only the newest row is kept. One that is not newer was told already: this node kept it, and found it in the store.
    fn add(&mut self, row: SessionRow) {
        if let Some(number) = self.numbers.get(&row.key.session) {
            if self.rows.get(number).is_some_and(|known| known.offset >= row.offset) {
                return;
            }
            self.rows.remove(number);
        }
        self.last += 1;
        self.numbers.insert(row.key.session.clone(), self.last);
        self.rows.insert(self.last, row);
        if self.rows.len() > ROWS_MAX
            && let Some((number, row)) = self.rows.pop_first()
        {
            self.numbers.remove(&row.key.session);
            self.forgotten = number;
        }
    }
}

/// More has changed than is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed;

/// A watcher of one tenant's list.
pub struct Watching {
    upto: u64,
    head: watch::Receiver<u64>,
    tenant: Arc<Tenant>,
}

impl Watching {
    fn new(tenant: Arc<Tenant>) -> Self {
        let head = tenant.head.subscribe();
        let upto = *head.borrow();
        Self { upto, head, tenant }
    }

    /// Waits for changes, and a little longer so that more come at once. Where some are [`Missed`], the list is to be read anew.
    pub async fn next(&mut self) -> Result<Vec<SessionRow>, Missed> {
        tokio::time::sleep(REST).await;
        let upto = self.upto;
        // The sender lives as long as the tenant that is held here.
        let _ = self.head.wait_for(|head| *head > upto).await;
        let changes = self.tenant.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let after = std::mem::replace(&mut self.upto, changes.last);
        if after < changes.forgotten {
            Err(Missed)
        } else {
            Ok(changes.rows.range(after + 1..).map(|(_, row)| row.clone()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfold_store::{EmbeddedStore, Eraser as _};

    use super::*;

    fn row(session: &str, offset: u64) -> SessionRow {
        SessionRow {
            key: SessionKey::new(TenantId::default(), SessionId::new(session).unwrap()),
            user: None,
            title: None,
            status: "open".into(),
            opened_at_ms: 0,
            active_at_ms: offset,
            open_runs: 0,
            offset: Offset(offset),
        }
    }

    fn watching(tenant: &Arc<Tenant>) -> Watching {
        Watching::new(Arc::clone(tenant))
    }

    /// What is told within a minute of a clock that only waits.
    async fn next(watching: &mut Watching) -> Result<Vec<SessionRow>, Missed> {
        tokio::time::timeout(Duration::from_secs(60), watching.next()).await.expect("something is told")
    }

    async fn told(watching: &mut Watching) -> Result<Vec<(String, u64)>, Missed> {
        let rows = next(watching).await?;
        Ok(rows.into_iter().map(|row| (row.key.session.to_string(), row.offset.0)).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_is_told_the_newest_row_of_each_session_once() {
        let tenant = Arc::new(Tenant::default());
        tenant.tell([row("before", 1)]);
        let mut watching = watching(&tenant);
        tenant.tell([row("a", 2), row("b", 3), row("a", 5)]);
        tenant.tell([row("b", 2), row("a", 5)]);
        assert_eq!(told(&mut watching).await, Ok(vec![("b".into(), 3), ("a".into(), 5)]), "an older row changes nothing");
        let next = tokio::time::timeout(Duration::from_secs(3600), watching.next()).await;
        assert!(next.is_err(), "nothing has changed: {next:?}");
        tenant.tell([row("a", 6)]);
        assert_eq!(told(&mut watching).await, Ok(vec![("a".into(), 6)]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_far_behind_begins_anew() {
        let tenant = Arc::new(Tenant::default());
        let (mut fast, mut slow) = (watching(&tenant), watching(&tenant));
        let rows = |from: usize| {
            let later = (from * ROWS_MAX) as u64;
            (from..from + ROWS_MAX).map(move |number| row(&format!("s{number}"), later + number as u64 + 1))
        };
        tenant.tell(rows(0));
        assert_eq!(told(&mut fast).await.unwrap().len(), ROWS_MAX);
        tenant.tell(rows(1));
        assert_eq!(tenant.changes.lock().unwrap().rows.len(), ROWS_MAX, "I5 bounded");
        assert_eq!(told(&mut fast).await.unwrap().len(), ROWS_MAX);
        assert_eq!(told(&mut slow).await, Err(Missed));
        tenant.tell([row("s1", 9999)]);
        assert_eq!(told(&mut slow).await, Ok(vec![("s1".into(), 9999)]), "and goes on from there");
        tenant.begin_anew();
        tenant.tell([row("s1", 10_000)]);
        assert_eq!(told(&mut slow).await, Err(Missed));
    }

    /// A store that two nodes share, and their lists of it.
    fn nodes() -> (tempfile::TempDir, Arc<EmbeddedStore>, [Listings; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
        let nodes = [(); 2].map(|()| Listings::new(store.clone(), true));
        (folder, store, nodes)
    }

    fn active(session: &str, offset: u64) -> SessionRow {
        SessionRow { active_at_ms: clock::now_ms(), ..row(session, offset) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_another_node_erases_is_told() {
        let (_folder, store, [here, there]) = nodes();
        there.put_row(&active("s", 1)).await.unwrap();
        let mut watching = here.watch(&TenantId::default());
        assert_eq!(told(&mut watching).await, Ok(vec![("s".into(), 1)]));
        for (tenant, at) in [("other", 7), ("default", 9)] {
            let session = SessionKey::new(tenant.parse().unwrap(), "s".parse().unwrap());
            store.erase(&Erasure { session, offset: Offset(at), erased_at_ms: clock::now_ms() }).await.unwrap();
        }
        let rows = next(&mut watching).await.unwrap();
        let told = rows.iter().map(|row| (row.key.session.as_str(), row.status.as_str(), row.offset.0));
        assert_eq!(told.collect::<Vec<_>>(), [("s", "erased", 9)]);
        let again = tokio::time::timeout(Duration::from_secs(60), watching.next()).await;
        assert!(again.is_err(), "told once: {again:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_this_node_kept_is_told_once() {
        let (_folder, _store, [here, _there]) = nodes();
        let mut watching = here.watch(&TenantId::default());
        here.put_row(&active("s", 1)).await.unwrap();
        assert_eq!(told(&mut watching).await, Ok(vec![("s".into(), 1)]));
        let again = tokio::time::timeout(Duration::from_secs(60), watching.next()).await;
        assert!(again.is_err(), "{again:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_more_than_one_page_are_told_without_beginning_anew() {
        let (_folder, store, [here, _there]) = nodes();
        let mut watching = here.watch(&TenantId::default());
        let count = LOOK_ROWS + 10;
        for number in 0..count {
            store.put_row(&active(&format!("s{number}"), number as u64 + 1)).await.unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < count {
            seen.extend(told(&mut watching).await.unwrap().into_iter().map(|(session, _)| session));
        }
    }
}
