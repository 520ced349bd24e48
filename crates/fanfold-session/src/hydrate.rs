//! How a session comes into memory: tail first, then snapshot, then the records after it. Where no snapshot was found, the list of
//! sessions says last whether there is a history at all: an erased session's log may say nothing any more, or hold what came late.

use std::sync::Arc;

use fanfold_fold::{Delta, Epoch, FOLD_VERSION, Offset, Record, SessionKey, State, Verdict};
use fanfold_log::{ReadError, StoredRecord, Tail, Wake};
use fanfold_store::{ArchiveGap, SegmentKey, StoreError};

use crate::error::HostError;
use crate::message::Step;
use crate::node::Node;
use crate::park::counted;

/// Records read from the log at a time.
const PAGE_RECORDS_MAX: usize = 512;

/// Bytes read from the log at a time.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Snapshots looked at where the log's epoch has none. More than are kept of a session.
const EARLIER_SNAPSHOTS_MAX: usize = 16;

/// What the row of an erased session says.
const ERASED: &str = "erased";

/// Archived records read at a time.
const ARCHIVE_RECORDS_MAX: usize = 2048;

/// A session as it was when its log ended.
pub(crate) struct Hydrated {
    pub(crate) folded: Folded,
    pub(crate) snapshot: Offset,
    pub(crate) tail: Tail,
    /// What was folded after the snapshot, for readers who are not far behind.
    pub(crate) steps: Vec<Step>,
}

/// A state with what stands beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded {
    pub(crate) state: State,
    pub(crate) offset: Offset,
    /// When the last record was stored that was folded here, by the log's clock. A snapshot doesn't tell.
    pub(crate) stored_at_ms: Option<u64>,
    /// The first record that could not be read and was passed over.
    pub(crate) degraded: Option<Offset>,
}

impl Folded {
    /// Of a session that was erased by the record at `at`.
    pub(crate) fn erased(at: Offset) -> Self {
        Self { state: State::erased(), offset: at, stored_at_ms: None, degraded: None }
    }

    /// Takes in the record that follows. One that can't be read is passed over and remembered: the session goes on (poison).
    pub(crate) fn fold(&mut self, stored: &StoredRecord) -> Option<(Record, Verdict, Delta)> {
        assert!(stored.offset > self.offset, "I2 contiguous: {} after {}", stored.offset, self.offset);
        self.offset = stored.offset;
        self.stored_at_ms = Some(stored.stored_at_ms);
        match Record::decode(&stored.record) {
            Ok(record) => {
                let (verdict, delta) = self.state.apply(&record);
                Some((record, verdict, delta))
            }
            Err(error) => {
                tracing::error!(offset = stored.offset.0, error = &error as &dyn std::error::Error, "record passed over");
                metrics::counter!("fanfold_session_poison_records_total").increment(1);
                self.degraded.get_or_insert(stored.offset);
                None
            }
        }
    }
}

/// Registers for live records, then folds what there is. What arrives meanwhile waits in the tail and is told apart by offset.
pub(crate) async fn hydrate(node: &Node, key: &SessionKey, wake: Wake) -> Result<Hydrated, HostError> {
    let _permit = node.hydrations.acquire().await.map_err(|_| HostError::Draining)?;
    counted(node, key, read(node, key, wake)).await
}

async fn read(node: &Node, key: &SessionKey, wake: Wake) -> Result<Hydrated, HostError> {
    let started = tokio::time::Instant::now();
    let tail = node.ports.log.tail(key, wake).await.map_err(unavailable)?;
    let read = read_history(node, key).await;
    metrics::histogram!("fanfold_session_hydration_seconds").record(started.elapsed().as_secs_f64());
    // A snapshot was found before its session was erased, so the log still said so when it was read.
    if read.as_ref().is_ok_and(|(_, snapshot, _)| *snapshot > Offset::NONE) {
        return read.map(|(folded, snapshot, steps)| Hydrated { folded, snapshot, tail, steps });
    }
    // Asked after the log was read: the row is written before anything is removed.
    if let Some(at) = erased_at(node, key).await? {
        return Ok(Hydrated { folded: Folded::erased(at), snapshot: at, tail, steps: Vec::new() });
    }
    read.map(|(folded, snapshot, steps)| Hydrated { folded, snapshot, tail, steps })
}

/// The offset of the erasure, if the session was erased.
async fn erased_at(node: &Node, key: &SessionKey) -> Result<Option<Offset>, HostError> {
    let row = node.ports.index.row(key).await.map_err(unavailable)?;
    Ok(row.filter(|row| row.status == ERASED).map(|row| row.offset))
}

/// Refuses to look into the past of an erased session.
pub(crate) async fn not_erased(node: &Node, key: &SessionKey) -> Result<(), HostError> {
    match erased_at(node, key).await? {
        Some(at) => Err(HostError::Erased { at }),
        None => Ok(()),
    }
}

/// The state as the log ends, the offset of the snapshot it began with, and what followed.
async fn read_history(node: &Node, key: &SessionKey) -> Result<(Folded, Offset, Vec<Step>), HostError> {
    let mut folded = newest(node, key, Offset(u64::MAX)).await?;
    let snapshot = folded.offset;
    node.ports.log.must_have(key, snapshot).await.map_err(unavailable)?;
    let mut steps = Vec::new();
    let mut steps_bytes = 0;
    advance(node, key, &mut folded, None, |stored, delta| {
        steps_bytes += stored.record.len();
        steps.push(Step { upto: stored.offset, bytes: stored.record.len(), delta: Arc::new(delta) });
        // The ring would let go of the older ones anyway.
        if steps_bytes > 2 * node.config.ring_bytes_max {
            let half = steps.len() / 2;
            steps_bytes -= steps.drain(..half).map(|step| step.bytes).sum::<usize>();
        }
    })
    .await?;
    Ok((folded, snapshot, steps))
}

/// The state at `at`, or at the last offset before it that has a record.
pub(crate) async fn state_at(node: &Node, key: &SessionKey, at: Offset) -> Result<Folded, HostError> {
    not_erased(node, key).await?;
    let mut folded = newest(node, key, at).await?;
    advance(node, key, &mut folded, Some(at), |_, _| {}).await?;
    Ok(folded)
}

/// The newest snapshot at or below `upto`; the empty state if there is none.
async fn newest(node: &Node, key: &SessionKey, upto: Offset) -> Result<Folded, HostError> {
    if let Some(folded) = newest_of(node, key, node.epoch(key), upto).await? {
        return Ok(folded);
    }
    for (epoch, upto) in earlier_epochs(node, key, upto).await? {
        if let Some(folded) = newest_of(node, key, epoch, upto).await? {
            return Ok(folded);
        }
    }
    Ok(Folded::default())
}

/// The newest snapshot of one epoch that can be read.
async fn newest_of(node: &Node, key: &SessionKey, epoch: Epoch, upto: Offset) -> Result<Option<Folded>, HostError> {
    let mut upto = upto;
    loop {
        let snapshot = node.ports.snapshots.newest(key, epoch, FOLD_VERSION, upto).await.map_err(unavailable)?;
        let Some(snapshot) = snapshot else { return Ok(None) };
        match State::decode(&snapshot.state) {
            Ok(state) => return Ok(Some(Folded { state, offset: snapshot.offset, stored_at_ms: None, degraded: None })),
            Err(error) => {
                // The recovery ladder: the next older one.
                tracing::warn!(session = %key, offset = snapshot.offset.0, error = &error as &dyn std::error::Error, "snapshot skipped");
                metrics::counter!("fanfold_session_snapshots_skipped_total").increment(1);
                upto = Offset(snapshot.offset.0.saturating_sub(1));
            }
        }
    }
}

/// Epochs that ended, each with the offset up to which its snapshots count, the newest first.
///
/// A log may have ended an epoch because it lost records that a snapshot includes. So one counts only up to where the archive has its epoch's
/// records: those are the session's history, whatever became of the log.
async fn earlier_epochs(node: &Node, key: &SessionKey, upto: Offset) -> Result<Vec<(Epoch, Offset)>, HostError> {
    let (contents, now) = (&node.ports.contents, node.epoch(key));
    let mut epochs = Vec::<(Epoch, Offset)>::new();
    for kept in contents.snapshots(key, EARLIER_SNAPSHOTS_MAX).await.map_err(unavailable)? {
        let is_known = kept.epoch == now || epochs.iter().any(|(epoch, _)| *epoch == kept.epoch);
        if is_known || kept.fold != FOLD_VERSION || kept.offset > upto {
            continue;
        }
        // Whatever ends at or above it; segments are named in the order of epoch, last and first offset.
        let below = Offset(kept.offset.0.saturating_sub(1));
        let below = SegmentKey { epoch: kept.epoch, last: below, first: Offset(u64::MAX) };
        let next = contents.segments(key, Some(&below), 1).await.map_err(unavailable)?;
        if next.first().is_some_and(|segment| segment.epoch == kept.epoch) {
            epochs.push((kept.epoch, kept.offset));
        }
    }
    Ok(epochs)
}

/// Folds what follows, to the end of the log or up to and including `until`.
async fn advance(
    node: &Node,
    key: &SessionKey,
    folded: &mut Folded,
    until: Option<Offset>,
    mut each: impl FnMut(&StoredRecord, Delta),
) -> Result<(), HostError> {
    loop {
        let (records, end) = read_on(node, key, folded.offset, PAGE_RECORDS_MAX, ARCHIVE_RECORDS_MAX).await?;
        for stored in &records {
            if until.is_some_and(|until| stored.offset > until) {
                return Ok(());
            }
            let delta = folded.fold(stored).map(|(_, _, delta)| delta).unwrap_or_default();
            each(stored, delta);
        }
        if end {
            return Ok(());
        }
    }
}

/// A page of the records after `after`, from the log or, where it was trimmed, from the archive; and whether that is all there is.
pub(crate) async fn history(
    node: &Node,
    key: &SessionKey,
    after: Offset,
    records_max: usize,
) -> Result<(Vec<StoredRecord>, bool), HostError> {
    let (mut records, end) = read_on(node, key, after, records_max, records_max.min(ARCHIVE_RECORDS_MAX)).await?;
    // The archive knows segments: it may give more bytes than a page is to have.
    let fitting = fitting(&records);
    let end = end && fitting >= records.len();
    records.truncate(fitting);
    Ok((records, end))
}

/// How many of the records make a page: at least one, if there is one.
fn fitting(records: &[StoredRecord]) -> usize {
    let mut bytes = 0;
    let fits = |stored: &&StoredRecord| {
        bytes += stored.record.len();
        bytes <= PAGE_BYTES_MAX
    };
    records.iter().take_while(fits).count().max(1)
}

/// The same in the portions that log and archive are read in by whoever wants all of it.
async fn read_on(
    node: &Node,
    key: &SessionKey,
    after: Offset,
    of_log_max: usize,
    of_archive_max: usize,
) -> Result<(Vec<StoredRecord>, bool), HostError> {
    match node.ports.log.read(key, after, of_log_max, PAGE_BYTES_MAX).await {
        Ok(page) => Ok((following(page.records, after), page.end)),
        Err(ReadError::Trimmed { first, certain }) => {
            let records = archived(node, key, after, first, of_archive_max).await?;
            match records.is_empty() {
                false => Ok((records, false)),
                true if certain => Err(HostError::Missing { after }),
                true => beyond(node, key, after, first, of_log_max).await,
            }
        }
        Err(error) => Err(unreadable(key, after, error)),
    }
}

/// Only archived records are ever trimmed, so what lies between `after` and the log's first offset must be there.
async fn archived(
    node: &Node,
    key: &SessionKey,
    after: Offset,
    first: Offset,
    records_max: usize,
) -> Result<Vec<StoredRecord>, HostError> {
    let upto = Offset(first.0.saturating_sub(1));
    let rows = node.ports.archive.records(key, after, upto, records_max).await.map_err(|error| match error {
        // The last rung of the ladder: no other time will it be there.
        StoreError::Unavailable(cause) if cause.is::<ArchiveGap>() => HostError::Missing { after },
        error => unavailable(error),
    })?;
    let mut previous = after;
    let chain = |(offset, stored_at_ms, record)| {
        let stored = StoredRecord { offset, previous, stored_at_ms, record };
        previous = offset;
        stored
    };
    Ok(rows.into_iter().map(chain).collect())
}

/// Neither log nor archive has anything between `after` and `first`: only other sessions' records were trimmed there.
async fn beyond(
    node: &Node,
    key: &SessionKey,
    after: Offset,
    first: Offset,
    records_max: usize,
) -> Result<(Vec<StoredRecord>, bool), HostError> {
    // Where it was erased, what stands there came late, and the erasure itself may have been trimmed.
    not_erased(node, key).await?;
    let page = node.ports.log.read(key, Offset(first.0.saturating_sub(1)), records_max, PAGE_BYTES_MAX).await;
    // Trimmed again in the meantime: another time it will be known.
    let page = page.map_err(|error| unreadable(key, after, error))?;
    Ok((following(page.records, after), page.end))
}

/// The records as they go on from `after`. The first one's own previous may lie below: what the log lost and the archive has is between.
fn following(mut records: Vec<StoredRecord>, after: Offset) -> Vec<StoredRecord> {
    if let Some(first) = records.first_mut() {
        first.previous = after;
    }
    records
}

fn unreadable(key: &SessionKey, after: Offset, error: ReadError) -> HostError {
    match error {
        ReadError::Damaged { offset } => {
            tracing::error!(session = %key, offset = offset.0, "record is damaged");
            HostError::Missing { after }
        }
        ReadError::Trimmed { .. } | ReadError::Unavailable(_) => unavailable(error),
    }
}

pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> HostError {
    HostError::Unavailable(Arc::new(error))
}
