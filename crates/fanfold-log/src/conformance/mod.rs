//! What every [`EventLog`] must do, as tests that each implementation runs against itself.
//!
//! A check gets a healthy log that others may be using, too: it makes sessions of its own, and expects nothing of the offsets
//! between its records. It waits for conditions with a deadline, never for time to pass. Where delivery to tails is at most
//! once ([`EventLog::tail_may_lose`]), it repairs what is missing as a session does: by the chain, and by asking for the last offset.
//!
//! ```ignore
//! async fn open() -> (Arc<dyn EventLog>, impl Drop) { … }
//! fanfold_log::conformance!(open);
//! ```

mod append;
mod consumer;
mod erase;
mod read;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Offset, SessionId, SessionKey, TenantId};
use tokio::sync::Notify;

use crate::{EventLog, Expect, Page, StoredRecord, Tail, TailItem, Wake};

pub use append::*;
pub use consumer::*;
pub use erase::*;
pub use read::*;
pub use tail::*;

/// How long a check waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a tail that may lose records is silent before the log is asked.
const SILENCE: Duration = Duration::from_secs(1);

/// One `#[tokio::test]` per check. `$open` is an async function that returns a log and whatever must outlive it, or `None` where
/// there is none to be had. `conformance!(together log)` runs all checks in one test, one after another, with a log of their own each.
#[macro_export]
macro_rules! conformance {
    (together $log:expr) => { $crate::conformance!(@each (@run $log)); };
    ($open:path) => { $crate::conformance!(@each (@test $open)); };
    (@each $how:tt) => {
        $crate::conformance!(@split $how,
            a_session_begins_empty,
            offsets_grow_and_records_are_read_as_written,
            an_expectation_of_an_empty_session_holds_once,
            an_expected_last_offset_must_be_the_last,
            a_repeated_append_id_is_stored_once,
            a_record_may_be_as_large_as_the_limit_and_no_larger,
            concurrent_appenders_keep_their_own_order,
            sessions_are_independent,
            pages_are_bounded_in_records,
            pages_are_bounded_in_bytes,
            a_read_beyond_the_end_is_empty,
            trimmed_records_are_said_to_be_trimmed,
            a_tail_gets_what_is_appended_after_it,
            every_tail_of_a_session_gets_everything_and_only_that,
            nothing_is_missed_between_tail_and_read,
            a_tail_that_overflows_says_so,
            many_sessions_are_asked_for_at_once,
            a_log_that_has_lost_an_offset_says_so,
            of_an_erased_session_one_record_is_left,
            what_is_stored_behind_an_erasure_goes_when_it_is_repeated,
            a_repetition_of_what_was_erased_is_not_stored,
            a_closed_log_takes_nothing,
        );
    };
    (@split $how:tt, $($check:ident),+ $(,)?) => { $( $crate::conformance!(@one $how, $check); )+ };
    (@one (@run $log:expr), $check:ident) => { $crate::conformance::$check($log).await; };
    (@one (@test $open:path), $check:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let opened = Option::<(std::sync::Arc<dyn $crate::EventLog>, _)>::from($open().await);
            let Some((log, _alive)) = opened else { return };
            $crate::conformance::$check(log).await;
        }
    };
}

/// A session that nobody else uses.
pub(crate) fn new_session() -> SessionKey {
    let id = SessionId::new(&format!("c-{}", uuid::Uuid::new_v4().simple())).expect("an id");
    SessionKey::new(TenantId::default(), id)
}

/// Bytes that tell themselves apart, of the given length or a little more.
pub(crate) fn record(number: usize, bytes: usize) -> Bytes {
    let mut text = format!("record {number} ");
    while text.len() < bytes {
        text.push((b'a' + (text.len() % 26) as u8) as char);
    }
    Bytes::from(text)
}

pub(crate) async fn append(log: &dyn EventLog, session: &SessionKey, record: Bytes) -> Offset {
    log.append(session, record, Expect::Any, None).await.expect("a healthy log stores")
}

/// Everything from the first record to the end, with the pages' promises checked.
pub(crate) async fn read_all(log: &dyn EventLog, session: &SessionKey, after: Offset) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let mut upto = after;
    loop {
        let page = log.read(session, upto, 100, 1 << 20).await.expect("a healthy log reads");
        check_chain(&page, upto);
        upto = page.records.last().map_or(upto, |record| record.offset);
        assert!(page.end || !page.records.is_empty(), "a page has a record if there is one");
        records.extend(page.records);
        if page.end {
            return records;
        }
    }
}

#[track_caller]
pub(crate) fn check_chain(page: &Page, after: Offset) {
    let mut upto = after;
    for (index, record) in page.records.iter().enumerate() {
        assert!(record.offset > upto, "I2 contiguous: {} follows {upto}", record.offset);
        match index {
            0 => assert!(record.previous <= upto, "I2 contiguous: first previous {} after {upto}", record.previous),
            _ => assert_eq!(record.previous, upto, "I2 contiguous"),
        }
        upto = record.offset;
    }
}

/// Follows a session as an actor does: what the tail says when it joins, and the log for what is missing.
pub(crate) struct Follower {
    log: Arc<dyn EventLog>,
    session: SessionKey,
    tail: Tail,
    woken: Arc<Notify>,
    pub(crate) seen: Vec<StoredRecord>,
    /// Records that came by the tail, and not by reading.
    pub(crate) live: usize,
}

impl Follower {
    /// Registers, then reads what is there.
    pub(crate) async fn start(log: &Arc<dyn EventLog>, session: &SessionKey) -> Self {
        let woken = Arc::new(Notify::new());
        let wake: Wake = {
            let woken = woken.clone();
            Arc::new(move || woken.notify_one())
        };
        let tail = log.tail(session, wake).await.expect("a healthy log has tails");
        let mut follower = Self { log: log.clone(), session: session.clone(), tail, woken, seen: Vec::new(), live: 0 };
        follower.backfill().await;
        follower
    }

    fn upto(&self) -> Offset {
        self.seen.last().map_or(Offset::NONE, |record| record.offset)
    }

    async fn backfill(&mut self) {
        let missing = read_all(&*self.log, &self.session, self.upto()).await;
        self.seen.extend(missing);
    }

    /// Waits until it has seen `offset`.
    pub(crate) async fn until(&mut self, offset: Offset) {
        let reached = async {
            while self.upto() < offset {
                self.step().await;
            }
        };
        tokio::time::timeout(DEADLINE, reached).await.expect("the tail delivers");
    }

    async fn step(&mut self) {
        match self.log.tail_may_lose() {
            false => self.woken.notified().await,
            true => match tokio::time::timeout(SILENCE, self.woken.notified()).await {
                Ok(()) => {}
                Err(_silent) => {
                    let last = self.log.last_of(std::slice::from_ref(&self.session)).await;
                    if last[0].expect("a healthy log answers") > self.upto() {
                        self.backfill().await;
                    }
                }
            },
        }
        for item in self.tail.take() {
            match item {
                TailItem::Record(record) if record.offset <= self.upto() => {}
                TailItem::Record(record) if record.previous == self.upto() => {
                    self.live += 1;
                    self.seen.push(record);
                }
                TailItem::Record(record) => {
                    assert!(self.log.tail_may_lose(), "{} came after {} without the one between", record.offset, self.upto());
                    self.backfill().await;
                }
                TailItem::Lost => self.backfill().await,
            }
        }
    }
}
