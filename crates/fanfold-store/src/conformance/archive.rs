//! The archive: whatever the cuts, one contiguous history or an error.

use bytes::Bytes;
use fanfold_fold::{Epoch, Offset, SessionKey};

use super::{Store, alike, new_epoch, new_session};
use crate::port::{Segment, StoreError};

/// A day in March 2026.
const AT_MS: u64 = 1_773_000_000_000;

/// A history whose offsets skip: 3, 6, 9, …
fn nth(number: u64) -> (Offset, u64, Bytes) {
    (Offset(number * 3), AT_MS + number, Bytes::from(format!("record {number}")))
}

/// The records from the `from`th to the `upto`th, inclusive, cut as one segment.
fn cut(epoch: Epoch, from: u64, upto: u64) -> Segment {
    Segment::new(epoch, Offset((from - 1) * 3), (from..=upto).map(nth).collect()).unwrap()
}

fn span(from: u64, upto: u64) -> Vec<(Offset, u64, Bytes)> {
    (from..=upto).map(nth).collect()
}

/// Pages up to where the archive ends, or does not go on.
async fn read(store: &dyn Store, session: &SessionKey, after: u64, page: usize) -> (Vec<(Offset, u64, Bytes)>, bool) {
    let (mut all, mut upto) = (Vec::new(), Offset(after));
    loop {
        match store.records(session, upto, Offset(u64::MAX), page).await {
            Ok(records) if records.is_empty() => return (all, true),
            Ok(records) => {
                assert!(records.len() <= page, "I5 bounded: {} records of {page}", records.len());
                upto = records.last().unwrap().0;
                all.extend(records);
            }
            Err(StoreError::Unavailable(_)) => return (all, false),
            Err(error @ (StoreError::TooLarge { .. } | StoreError::Overloaded)) => panic!("{error}"),
        }
    }
}

/// Bytes, offsets and times, also of a record of the largest size.
pub async fn records_are_read_as_archived(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    assert_eq!(store.records(&session, Offset::NONE, Offset(9), 9).await.unwrap(), []);
    let noise = (0..512 << 10).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let records = vec![(Offset(1), 0, Bytes::new()), (Offset(5), u64::MAX, noise), (Offset(1 << 50), 7, Bytes::from("x"))];
    let segment = Segment::new(epoch, Offset::NONE, records.clone()).unwrap();
    store.put_segment(&session, &segment).await.unwrap();
    assert!(read(store, &session, 0, 10).await == (records, true));
}

/// Every offset once, in order, whatever the order and size of the cuts.
pub async fn overlapping_cuts_are_merged(store: &dyn Store) {
    let cuts = [(1, 10), (5, 7), (8, 15), (15, 15), (14, 30), (1, 3), (29, 31), (2, 31), (32, 40), (10, 35)];
    for turn in 0..cuts.len() {
        let (session, epoch) = (new_session(), new_epoch());
        for (from, upto) in cuts.iter().cycle().skip(turn).take(cuts.len()) {
            store.put_segment(&session, &cut(epoch, *from, *upto)).await.unwrap();
        }
        assert_eq!(read(store, &session, 0, 1000).await, (span(1, 40), true), "from cut {turn} on");
    }
}

/// At least once is what an archiver does.
pub async fn a_segment_put_again_changes_nothing(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    for (from, upto) in [(1, 4), (1, 4), (5, 6), (1, 4), (5, 6)] {
        store.put_segment(&session, &cut(epoch, from, upto)).await.unwrap();
    }
    assert_eq!(read(store, &session, 0, 1000).await, (span(1, 6), true));
}

/// (after, upto], at most so many: between records and at them.
pub async fn pages_of_records_join(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    for (from, upto) in [(1, 4), (3, 9), (10, 10), (11, 20)] {
        store.put_segment(&session, &cut(epoch, from, upto)).await.unwrap();
    }
    for page in [1, 2, 3, 7, 20, 21] {
        assert_eq!(read(store, &session, 0, page).await, (span(1, 20), true), "pages of {page}");
    }
    for after in 0..62 {
        assert_eq!(read(store, &session, after, 100).await.0, span(after / 3 + 1, 20), "after {after}");
        for upto in [after, after + 1, after + 5, 60, 61, u64::MAX] {
            let records = store.records(&session, Offset(after), Offset(upto), 100).await.unwrap();
            let expected = span(after / 3 + 1, (upto / 3).min(20));
            assert_eq!(records, expected, "({after}, {upto}]");
        }
    }
}

/// I2: what is before the gap, then an error; what is behind it to whoever stands there.
pub async fn a_missing_segment_is_never_passed_over(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    store.put_segment(&session, &cut(epoch, 1, 4)).await.unwrap();
    store.put_segment(&session, &cut(epoch, 6, 9)).await.unwrap();
    assert_eq!(read(store, &session, 0, 100).await, (span(1, 4), false), "the fifth is missing");
    assert_eq!(store.records(&session, Offset::NONE, Offset(12), 100).await.unwrap(), span(1, 4), "nobody asks for it");
    assert_eq!(read(store, &session, 15, 100).await, (span(6, 9), true));
    let other = new_session();
    store.put_segment(&other, &cut(epoch, 6, 9)).await.unwrap();
    assert_eq!(read(store, &other, 0, 100).await, (Vec::new(), false), "the beginning is missing");
}

/// Also when it ends far behind the gap.
pub async fn a_cut_that_bridges_a_gap_fills_it(store: &dyn Store) {
    let (session, epoch) = (new_session(), new_epoch());
    for (from, upto) in [(1, 4), (6, 9), (8, 12), (14, 15)] {
        store.put_segment(&session, &cut(epoch, from, upto)).await.unwrap();
    }
    assert_eq!(read(store, &session, 0, 100).await, (span(1, 4), false));
    store.put_segment(&session, &cut(epoch, 3, 14)).await.unwrap();
    for page in [1, 3, 100] {
        assert_eq!(read(store, &session, 0, page).await, (span(1, 15), true), "pages of {page}");
    }
}

/// Offsets grow over epochs, so what an older one stored stays the session's history; whatever order their names are in.
pub async fn segments_of_older_epochs_stay_the_history(store: &dyn Store) {
    let mut epochs = [new_epoch(), new_epoch(), new_epoch()];
    for _ in 0..3 {
        epochs.rotate_left(1);
        let session = new_session();
        for (epoch, from, upto) in [(0, 1, 4), (0, 5, 6), (1, 7, 7), (2, 8, 12), (2, 11, 13)] {
            store.put_segment(&session, &cut(epochs[epoch], from, upto)).await.unwrap();
        }
        for page in [1, 5, 100] {
            assert_eq!(read(store, &session, 0, page).await, (span(1, 13), true), "pages of {page}");
        }
        assert_eq!(read(store, &session, 7 * 3, 100).await, (span(8, 13), true));
        assert_eq!(store.last(&session).await.unwrap(), Offset(13 * 3));
    }
}

/// Of whatever cut and epoch: an archiver goes on from there.
pub async fn the_last_archived_offset_is_known(store: &dyn Store) {
    let (session, epochs) = (new_session(), [new_epoch(), new_epoch()]);
    assert_eq!(store.last(&session).await.unwrap(), Offset::NONE);
    for (epoch, from, upto, last) in [(0, 3, 4, 4), (0, 1, 2, 4), (1, 5, 9, 9), (0, 2, 3, 9), (1, 5, 6, 9), (1, 9, 300, 300)] {
        store.put_segment(&session, &cut(epochs[epoch], from, upto)).await.unwrap();
        assert_eq!(store.last(&session).await.unwrap(), Offset(last * 3), "after {from} to {upto}");
    }
    for other in alike() {
        assert_eq!(store.last(&other).await.unwrap(), Offset::NONE, "{other}");
    }
}

/// They decide where a segment is kept; a log's clock may even go back.
pub async fn the_months_of_records_do_not_matter_to_readers(store: &dyn Store) {
    const MONTH_MS: u64 = 31 * 86_400_000;
    let (session, epoch) = (new_session(), new_epoch());
    let months = [5_u64, 6, 4, 4, 9, 0, 20];
    let record = |index: usize| (Offset(1 + index as u64), months[index] * MONTH_MS, Bytes::from(format!("{index}")));
    for index in 0..months.len() {
        let segment = Segment::new(epoch, Offset(index as u64), vec![record(index)]).unwrap();
        store.put_segment(&session, &segment).await.unwrap();
    }
    let expected = (0..months.len()).map(record).collect::<Vec<_>>();
    assert_eq!(read(store, &session, 0, 3).await, (expected, true));
}

/// Whatever their ids.
pub async fn records_of_sessions_never_mix(store: &dyn Store) {
    let (sessions, epoch) = (alike(), new_epoch());
    for (number, session) in sessions.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        store.put_segment(session, &cut(epoch, 1, 1 + number as u64)).await.unwrap();
    }
    for (number, session) in sessions.iter().enumerate() {
        let expected = if number % 2 == 0 { span(1, 1 + number as u64) } else { Vec::new() };
        assert_eq!(read(store, session, 0, 1000).await, (expected, true), "{session}");
    }
}
