//! What every queue must do, as tests that each implementation runs against itself.
//!
//! A check gets an empty queue of its own with room for [`HINTS_MAX`] hints and [`LETTERS_MAX`] buried runs. It waits for conditions with a deadline; where it needs
//! time to pass, the queue's own clock must go on with it, as under paused time.
//!
//! ```ignore
//! async fn open() -> (Arc<dyn RunQueue>, impl Drop) { … }
//! fanfold_runs::conformance!(open, start_paused = true);
//! ```

mod dead;
mod lease;
mod order;

use std::time::Duration;

use fanfold_fold::{RunId, SessionId, SessionKey, TenantId};

use crate::port::{Hint, Lease, RunQueue};

pub use dead::*;
pub use lease::*;
pub use order::*;

/// Room that the queue of a check has.
pub const HINTS_MAX: usize = 200;

/// Buried runs that it keeps.
pub const LETTERS_MAX: usize = 20;

/// How long a check waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// A lease that outlives any check.
const LONG: Duration = Duration::from_secs(3600);

/// A lease or delay whose end a check waits for.
const SHORT: Duration = Duration::from_secs(2);

/// One `#[tokio::test]` per check, with whatever arguments follow. `$open` is an async function that returns an `Arc` of a queue and
/// whatever must outlive it, or `None` where there is none to be had. `conformance!(together tasks, open())` spawns all checks into a
/// `JoinSet` instead; `open()` is a future that gives a queue and whatever must outlive it.
#[macro_export]
macro_rules! conformance {
    (together $tasks:ident, $queue:expr) => { $crate::conformance!(@each (@spawn $tasks, $queue)); };
    ($open:path $(, $key:ident = $value:expr)*) => { $crate::conformance!(@each (@test $open, [$($key = $value),*])); };
    (@each $how:tt) => {
        $crate::conformance!(@split $how,
            an_empty_queue_has_nothing,
            a_hint_is_taken_as_offered,
            a_run_is_known_until_it_is_done,
            one_hint_of_a_session_is_leased_at_a_time_in_order,
            runs_of_two_sessions_may_have_one_name,
            a_hint_of_later_is_held_back_with_those_behind_it,
            a_tenant_that_offers_much_waits_for_itself,
            whoever_waits_is_woken,
            a_hint_held_back_finds_whoever_still_waits,
            every_hint_is_taken_once_by_many_takers,
            a_taker_that_goes_away_takes_nothing_with_it,
            a_full_queue_says_so,
            a_lease_that_ends_is_delivered_again,
            there_is_no_largest_number_of_deliveries,
            a_lease_that_is_extended_lasts,
            what_is_given_back_comes_back_in_its_place,
            an_ended_lease_has_no_effect,
            a_buried_run_is_kept_for_operators,
            buried_runs_have_a_limit,
            a_redriven_run_is_tried_again,
            a_run_that_was_buried_before_is_as_it_was,
            what_is_forgotten_is_neither_buried_nor_tried_again,
            lists_are_in_pages,
        );
    };
    (@split $how:tt, $($check:ident),+ $(,)?) => { $( $crate::conformance!(@one $how, $check); )+ };
    (@one (@spawn $tasks:ident, $queue:expr), $check:ident) => {
        let queue = $queue;
        $tasks.spawn(async move {
            let (queue, _alive) = queue.await;
            $crate::conformance::$check(queue).await;
            stringify!($check)
        });
    };
    (@one (@test $open:path, [$($key:ident = $value:expr),*]), $check:ident) => {
        #[tokio::test($($key = $value),*)]
        async fn $check() {
            let opened = Option::<(std::sync::Arc<dyn $crate::RunQueue>, _)>::from($open().await);
            let Some((queue, _alive)) = opened else { return };
            $crate::conformance::$check(queue).await;
        }
    };
}

pub(crate) fn session(tenant: &str, session: &str) -> SessionKey {
    SessionKey::new(TenantId::new(tenant).unwrap(), SessionId::new(session).unwrap())
}

pub(crate) fn hint(tenant: &str, id: &str, run: &str) -> Hint {
    Hint::new(session(tenant, id), RunId::new(run).unwrap())
}

pub(crate) async fn offer(queue: &dyn RunQueue, hint: &Hint) {
    assert_eq!(queue.offer(hint).await.unwrap(), crate::Offered::Queued, "{hint:?}");
}

/// A hint that must come.
pub(crate) async fn take(queue: &dyn RunQueue, lease: Duration) -> Lease {
    queue.take("worker", lease, DEADLINE).await.unwrap().expect("a hint can be had")
}

/// Nothing is to be had now.
#[track_caller]
pub(crate) fn nothing(queue: &dyn RunQueue) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let taken = queue.take("worker", LONG, Duration::ZERO).await.unwrap();
        assert_eq!(taken, None, "at {caller}");
    }
}
