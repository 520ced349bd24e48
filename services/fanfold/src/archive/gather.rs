//! Which sessions have something new, and when that is to be written. Pure: time comes with each call.

use std::collections::HashMap;
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};
use fanfold_log::{Notice, Ticket};
use tokio::time::Instant;

use super::config::ArchiveConfig;

/// What is new in one session.
#[derive(Debug)]
pub(crate) struct Pile {
    pub(crate) session: SessionKey,
    /// The last record noticed.
    pub(crate) last: Offset,
    pub(crate) tickets: Vec<Ticket>,
    bytes: usize,
    /// When its oldest and its newest record were stored, by the log's clock.
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
    /// When its first and its last notice came here.
    since: Instant,
    touched: Instant,
    /// It was noticed before.
    again: bool,
    /// Times that it could not be written.
    pub(crate) failed: u32,
    /// Not before this, after it failed.
    retry_at: Option<Instant>,
}

impl Pile {
    /// Something of it may have been written before, by a try that came to no end.
    pub(crate) fn was_tried(&self) -> bool {
        self.again || self.failed > 0
    }
}

pub(crate) struct Gather {
    config: ArchiveConfig,
    piles: HashMap<SessionKey, Pile>,
    tickets: usize,
}

impl Gather {
    pub(crate) fn new(config: &ArchiveConfig) -> Self {
        Self { config: config.clone(), piles: HashMap::new(), tickets: 0 }
    }

    /// Notices that may come.
    pub(crate) fn room(&self) -> usize {
        self.config.waiting_records_max.saturating_sub(self.tickets)
    }

    pub(crate) fn add(&mut self, notice: Notice, now: Instant) {
        let Notice { session, offset, stored_at_ms, bytes, again, ticket } = notice;
        let pile = self.piles.entry(session).or_insert_with_key(|session| Pile {
            session: session.clone(),
            last: offset,
            tickets: Vec::new(),
            bytes: 0,
            oldest_ms: stored_at_ms,
            newest_ms: stored_at_ms,
            since: now,
            touched: now,
            again,
            failed: 0,
            retry_at: None,
        });
        pile.again |= again;
        pile.last = pile.last.max(offset);
        pile.tickets.push(ticket);
        pile.bytes += bytes;
        pile.newest_ms = pile.newest_ms.max(stored_at_ms);
        pile.touched = now;
        self.tickets += 1;
    }

    /// What could not be written. What is new since is added to it.
    pub(crate) fn put_back(&mut self, mut pile: Pile, retry_at: Instant) {
        pile.retry_at = Some(retry_at);
        self.tickets += pile.tickets.len();
        if let Some(newer) = self.piles.remove(&pile.session) {
            pile.last = pile.last.max(newer.last);
            pile.bytes += newer.bytes;
            pile.newest_ms = pile.newest_ms.max(newer.newest_ms);
            pile.touched = pile.touched.max(newer.touched);
            pile.again |= newer.again;
            pile.tickets.extend(newer.tickets);
        }
        self.piles.insert(pile.session.clone(), pile);
    }

    /// Takes sessions that are to be written now: those that have enough, are quiet, or have waited; when there is no room for more, the
    /// oldest ones.
    pub(crate) fn due(&mut self, now: Instant, now_ms: u64, sessions_max: usize) -> Vec<Pile> {
        let full = self.room() == 0;
        let mut due: Vec<(Instant, SessionKey)> = self
            .piles
            .values()
            .filter(|pile| pile.retry_at.is_none_or(|at| at <= now) && (full || self.is_due(pile, now, now_ms)))
            .map(|pile| (pile.since, pile.session.clone()))
            .collect();
        due.sort_unstable_by_key(|(since, _)| *since);
        due.truncate(sessions_max);
        let due: Vec<Pile> = due.into_iter().filter_map(|(_, session)| self.piles.remove(&session)).collect();
        self.tickets -= due.iter().map(|pile| pile.tickets.len()).sum::<usize>();
        due
    }

    fn is_due(&self, pile: &Pile, now: Instant, now_ms: u64) -> bool {
        let enough = pile.tickets.len() >= self.config.segment_records || pile.bytes >= self.config.segment_bytes;
        enough || self.left(pile, now, now_ms).is_zero()
    }

    /// Until it has been quiet or has waited for long enough. Quiet by either clock: what is found after a while was so all the time.
    fn left(&self, pile: &Pile, now: Instant, now_ms: u64) -> Duration {
        let quiet_since = Duration::from_millis(now_ms.saturating_sub(pile.newest_ms)).max(now - pile.touched);
        let quiet = self.config.quiet().saturating_sub(quiet_since);
        quiet.min(self.config.wait_max().saturating_sub(now - pile.since))
    }

    /// Until something is due, if nothing comes.
    pub(crate) fn wait(&self, now: Instant, now_ms: u64) -> Duration {
        let left = |pile: &Pile| pile.retry_at.map_or(Duration::ZERO, |at| at - now).max(self.left(pile, now, now_ms));
        self.piles.values().map(left).min().unwrap_or(Duration::MAX).max(Duration::from_millis(5))
    }

    /// Tickets of all that waits.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        self.piles.values().flat_map(|pile| pile.tickets.iter().cloned()).collect()
    }

    /// When the oldest record that waits was stored, by the log's clock.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.piles.values().map(|pile| pile.oldest_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanfold_fold::{SessionId, TenantId};
    use fanfold_log::{Consumer as _, EmbeddedLog, EmbeddedLogConfig, EventLog as _, Expect};

    use super::*;

    /// When the records were stored, by the log's clock.
    const STORED_MS: u64 = 1_000_000;

    fn config() -> ArchiveConfig {
        let limits = ArchiveConfig {
            segment_records: 3,
            segment_bytes: 1000,
            quiet_ms: 100,
            wait_ms_max: 500,
            ..ArchiveConfig::default()
        };
        ArchiveConfig { waiting_records_max: 10, ..limits }
    }

    fn key(name: &str) -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new(name).unwrap())
    }

    /// Notices of records of these sessions and sizes, as a log gives them.
    async fn notices(records: &[(&str, usize)]) -> Vec<Notice> {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLogConfig { dir: dir.path().into(), ..EmbeddedLogConfig::default() };
        let log = std::sync::Arc::new(EmbeddedLog::open(log, std::sync::Arc::new(|| STORED_MS)).unwrap());
        for (session, bytes) in records {
            log.append(&key(session), Bytes::from(vec![0; *bytes]), Expect::Any, None).await.unwrap();
        }
        log.consumer(100).unwrap().take(100, Duration::ZERO).await.unwrap()
    }

    struct Table {
        gather: Gather,
        begin: Instant,
    }

    impl Table {
        fn new() -> Self {
            Self { gather: Gather::new(&config()), begin: Instant::now() }
        }

        fn add(&mut self, notices: &[Notice], at_ms: u64) {
            notices.iter().for_each(|notice| self.gather.add(notice.clone(), self.begin + Duration::from_millis(at_ms)));
        }

        fn due(&mut self, at_ms: u64) -> Vec<Pile> {
            self.gather.due(self.begin + Duration::from_millis(at_ms), STORED_MS + at_ms, 100)
        }

        #[track_caller]
        fn check(&mut self, at_ms: u64, expected: &[(&str, usize)]) -> Vec<Pile> {
            let due = self.due(at_ms);
            let mut found = due.iter().map(|pile| (pile.session.session.as_str(), pile.tickets.len())).collect::<Vec<_>>();
            found.sort_unstable();
            assert_eq!(found, expected, "at {at_ms} ms");
            due
        }
    }

    #[tokio::test]
    async fn a_session_is_due_when_it_has_enough_or_is_quiet() {
        let notices = notices(&[("a", 1), ("a", 1), ("b", 999), ("a", 1), ("b", 1), ("c", 1)]).await;
        let mut table = Table::new();
        table.add(&notices[..3], 0);
        table.check(99, &[]);
        table.add(&notices[3..], 99);
        table.check(99, &[("a", 3), ("b", 2)]);
        table.check(100, &[("c", 1)]);
        assert_eq!(table.gather.room(), 10);
    }

    #[tokio::test]
    async fn nothing_waits_for_ever_behind_a_trickle() {
        let notices = notices(&[("a", 1), ("a", 1)]).await;
        let mut table = Table::new();
        (table.gather.config.segment_records, table.gather.config.waiting_records_max) = (100, 100);
        for at_ms in (0..500).step_by(50) {
            table.add(&notices[..1], at_ms);
            // By its own time each is new.
            table.gather.piles.values_mut().for_each(|pile| pile.newest_ms = STORED_MS + at_ms);
            table.check(at_ms, &[]);
        }
        table.check(500, &[("a", 10)]);
    }

    #[tokio::test]
    async fn what_is_found_old_is_due_at_once_and_a_full_table_too() {
        let notices = notices(&[("a", 1), ("b", 1)]).await;
        let mut table = Table::new();
        table.add(&notices, 100);
        table.check(100, &[("a", 1), ("b", 1)]);
        let mut table = Table::new();
        table.gather.config.waiting_records_max = 2;
        table.add(&notices, 0);
        assert_eq!(table.gather.room(), 0, "I5 bounded");
        table.check(0, &[("a", 1), ("b", 1)]);
    }

    #[tokio::test]
    async fn what_failed_comes_again_with_what_is_new() {
        let notices = notices(&[("a", 1), ("a", 1)]).await;
        let mut table = Table::new();
        table.add(&notices[..1], 0);
        let failed = table.check(100, &[("a", 1)]).remove(0);
        table.add(&notices[1..], 100);
        let retry_at = table.begin + Duration::from_millis(300);
        table.gather.put_back(failed, retry_at);
        assert_eq!(table.gather.room(), 8);
        table.check(299, &[]);
        let again = table.check(300, &[("a", 2)]);
        assert_eq!(again[0].last, notices[1].offset);
    }
}
