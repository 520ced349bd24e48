//! What every store must do, as tests that each implementation runs against itself.
//!
//! A check gets a healthy store that others may be using, too: it makes tenants and sessions of its own. Damage is each
//! implementation's own to test.
//!
//! ```ignore
//! async fn open() -> Option<(Arc<MyStore>, impl Drop)> { … }
//! fanfold_store::conformance!(open);
//! ```

mod archive;
mod contents;
mod erasing;
mod index;
mod notes;
mod parking;
mod snapshots;

use fanfold_fold::{Epoch, SessionId, SessionKey, TenantId};

use crate::notes::Notes;
use crate::port::{Archive, Contents, Eraser, Parking, SessionIndex, SnapshotStore};

pub use archive::*;
pub use contents::*;
pub use erasing::*;
pub use index::*;
pub use notes::*;
pub use parking::*;
pub use snapshots::*;

/// All the ports of one store.
pub trait Store: SnapshotStore + Archive + SessionIndex + Parking + Contents + Eraser + Notes {}

impl<T: SnapshotStore + Archive + SessionIndex + Parking + Contents + Eraser + Notes> Store for T {}

/// One `#[tokio::test]` per check. `$open` is an async function that returns an `Arc` of a store and whatever must outlive it, or
/// nothing where what the store needs isn't there, which it has reported. `conformance!(together store)` runs all checks at once, in
/// one test that has a `&dyn Store` already.
#[macro_export]
macro_rules! conformance {
    (together $store:expr) => { $crate::conformance! { @all (@together $store) } };
    ($open:path) => { $crate::conformance! { @all (@each $open) } };
    (@all ($($how:tt)+)) => {
        $crate::conformance! { $($how)+;
            a_snapshot_is_read_as_written,
            the_newest_snapshot_up_to_an_offset_is_found,
            a_snapshot_of_another_fold_or_epoch_is_absent,
            a_snapshot_put_again_changes_nothing,
            pruning_keeps_the_newest,
            a_snapshot_over_the_limit_is_refused,
            snapshots_of_sessions_never_mix,
            records_are_read_as_archived,
            overlapping_cuts_are_merged,
            a_segment_put_again_changes_nothing,
            pages_of_records_join,
            a_missing_segment_is_never_passed_over,
            a_cut_that_bridges_a_gap_fills_it,
            segments_of_older_epochs_stay_the_history,
            the_last_archived_offset_is_known,
            the_months_of_records_do_not_matter_to_readers,
            records_of_sessions_never_mix,
            a_row_is_read_as_written,
            a_lower_offset_never_replaces_a_higher_one,
            rows_put_at_once_leave_the_highest,
            sessions_are_listed_by_activity,
            pages_of_rows_join,
            a_session_that_becomes_active_moves_to_the_top,
            sessions_move_over_minutes_and_years,
            rows_of_a_user_are_found,
            rows_of_a_time_are_found,
            rows_with_words_are_found,
            common_words_are_found,
            tenants_do_not_see_each_other,
            sessions_with_open_runs_are_found,
            own_tries_count_for_nothing,
            failures_are_counted_and_cleared,
            a_parked_session_is_not_tried,
            parked_sessions_are_listed,
            an_erased_session_is_not_read,
            late_writers_do_not_bring_an_erased_session_back,
            erasures_are_listed_until_they_are_done,
            sessions_of_all_tenants_are_named,
            snapshots_are_named,
            segments_are_named,
            notes_are_kept_in_pages_of_their_kind,
            a_note_over_the_limit_is_refused,
        }
    };
    (@together $store:expr; $($check:ident),+ $(,)?) => {
        tokio::join!($(async {
            $crate::conformance::$check($store).await;
            println!("{}: ok", stringify!($check));
        }),+)
    };
    (@each $open:path; $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some((store, _alive)) = $open().await else { return };
                $crate::conformance::$check(&*store).await;
            }
        )+
    };
}

/// A tenant that nobody else uses.
pub(crate) fn new_tenant() -> TenantId {
    TenantId::new(&format!("c-{}", uuid::Uuid::new_v4().simple())).unwrap()
}

pub(crate) fn session_of(tenant: &TenantId, id: &str) -> SessionKey {
    SessionKey::new(tenant.clone(), SessionId::new(id).unwrap())
}

/// A session that nobody else uses.
pub(crate) fn new_session() -> SessionKey {
    session_of(&new_tenant(), "s")
}

pub(crate) fn new_epoch() -> Epoch {
    Epoch(uuid::Uuid::new_v4())
}

/// Sessions of two tenants whose ids are beginnings of each other, or differ in what a separator might be.
pub(crate) fn alike() -> Vec<SessionKey> {
    // Short, and still nobody else's.
    let own = uuid::Uuid::new_v4().simple().to_string();
    let ids = ["a", "a-", "a-b", "a_b", "ab", "a--b", "-", "_", "A", "a-b-c", "aa", "a1"];
    let longest = "x".repeat(64);
    let tenants = [own.clone(), format!("{own}-a"), format!("{own}_a"), format!("{own}a")];
    let tenants = tenants.iter().map(|tenant| TenantId::new(tenant).unwrap());
    tenants
        .flat_map(|tenant| ids.into_iter().chain([&*longest]).map(move |id| session_of(&tenant, id)).collect::<Vec<_>>())
        .collect()
}
