//! One session, from where its archive ends to where its log ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Event, Offset, Record, SessionKey, SessionStatus};
use fanfold_log::{EventLog, ReadError, StoredRecord};
use fanfold_session::{HostError, Sessions};
use fanfold_store::{ArchiveGap, Erasure, Segment, SessionRow, StoreError};

use super::config::ArchiveConfig;
use super::gather::Pile;
use crate::backend::Store;
use crate::erase::{EraseError, Erasures};

/// Records read from the log at a time.
const PAGE_RECORDS_MAX: usize = 1024;

/// Bytes read from the log at a time.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Tries before damaged records are given up.
const DAMAGED_TRIES: u32 = 3;

/// How long a session may take to keep its row.
const SETTLE_MAX: Duration = Duration::from_secs(10);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a session is not archived.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Store, log or node are away or have too much to do: it is the same for all.
    Away(Cause),
    /// Something about this session.
    Session(Cause),
    /// Another one had failed.
    NotTried,
    /// It is erased. The record that says so stays in the log for as long, so that every node that has the session meets it.
    Early(Duration),
}

pub(crate) struct Writer {
    carrier: Carrier,
    erasures: Arc<Erasures>,
}

/// From a log into an archive, as long as no record has erased the session.
pub(crate) struct Carrier {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    sessions: Sessions,
    records_max: usize,
    bytes_max: usize,
}

/// What was archived of a session.
#[derive(Default)]
pub(super) struct Written {
    last: Offset,
    last_at_ms: u64,
    first_at_ms: u64,
    /// A run was asked for in it.
    requested: bool,
    /// The record that erased it, and when that was stored: nothing was archived from there on.
    erased: Option<(Offset, u64)>,
}

/// Where a session is folded, to see whether a record has erased it.
#[derive(Clone, Copy)]
pub(super) enum Folded {
    /// In memory, as for everybody: one that kills its node is parked.
    InMemory,
    /// Beside it, for this question alone: also of a log that nodes refuse.
    Beside,
}

/// What matters of a record here.
enum Says {
    Erased,
    RunRequested,
    Other,
}

impl Writer {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        sessions: Sessions,
        erasures: Arc<Erasures>,
        config: &ArchiveConfig,
    ) -> Self {
        Self { carrier: Carrier::new(log, store, sessions, config), erasures }
    }

    /// Archives what the session has that isn't archived, and sees that nothing hangs on the log alone.
    pub(crate) async fn write(&self, pile: &Pile) -> Result<(), Failure> {
        let (session, store) = (&pile.session, &self.carrier.store);
        let row = store.row(session).await.map_err(store_failure)?;
        // Also what came late for one that was erased long ago.
        if let Some(stage) = self.erasures.again(row.as_ref()).await.map_err(erase_failure)? {
            return self.settled(self.erasures.left(stage));
        }
        let after = store.last(session).await.map_err(store_failure)?;
        let written = match after >= pile.last {
            // It came again, or another node was faster. Whoever wrote it may have died before what follows.
            true => Written { last: after, last_at_ms: pile.newest_ms, first_at_ms: pile.oldest_ms, ..Written::default() },
            false => self.carrier.segments(session, after, Folded::InMemory, pile.failed).await?,
        };
        if let Some((at, erased_at_ms)) = written.erased {
            let stage = self.erasures.remove(session, at, erased_at_ms).await.map_err(erase_failure)?;
            return self.settled(self.erasures.left(stage));
        }
        match row {
            None => self.first_row(session, &written).await,
            // Whoever keeps the row sees to the runs that it tells of.
            Some(row) if row.offset >= written.last && row.open_runs == 0 => Ok(()),
            Some(row) if written.requested || pile.was_tried() => self.offer_runs(session, &row).await,
            Some(_) => Ok(()),
        }
    }

    fn settled(&self, left: Duration) -> Result<(), Failure> {
        if left.is_zero() { Ok(()) } else { Err(Failure::Early(left)) }
    }

    /// A session without a row would be taken for new once it has left the log. Its own fold writes the row; bringing it into memory
    /// also offers its runs.
    async fn first_row(&self, session: &SessionKey, written: &Written) -> Result<(), Failure> {
        let settled = tokio::time::timeout(SETTLE_MAX, self.carrier.sessions.settle(session, written.last)).await;
        match settled {
            Ok(Ok(())) => {}
            Ok(Err(HostError::Parked | HostError::Missing { .. } | HostError::Erased { .. })) => {
                return self.carrier.bare_row(session, written).await;
            }
            Ok(Err(error @ (HostError::Busy | HostError::Draining | HostError::Unavailable(_)))) => {
                return Err(Failure::Away(Box::new(error)));
            }
            Err(late) => return Err(Failure::Away(Box::new(late))),
        }
        match self.carrier.store.row(session).await.map_err(store_failure)? {
            Some(_) => Ok(()),
            None => self.carrier.bare_row(session, written).await,
        }
    }

    /// In memory, its open runs are offered to workers; a hint too many costs its taker a look. Where none is open, and whoever ended the
    /// last one died before the row said so, the row is kept here.
    async fn offer_runs(&self, session: &SessionKey, row: &SessionRow) -> Result<(), Failure> {
        let sessions = &self.carrier.sessions;
        let offered = match sessions.look(session, Offset::NONE, 0).await {
            Ok(looked) if row.open_runs > 0 && looked.view.open_runs().next().is_none() => {
                sessions.settle(session, looked.offset).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match offered {
            // An operator looks after it, and with it after its runs.
            Ok(()) | Err(HostError::Parked | HostError::Missing { .. } | HostError::Erased { .. }) => Ok(()),
            Err(error @ (HostError::Busy | HostError::Draining | HostError::Unavailable(_))) => {
                Err(Failure::Away(Box::new(error)))
            }
        }
    }
}

impl Carrier {
    pub(crate) fn new(log: Arc<dyn EventLog>, store: Arc<dyn Store>, sessions: Sessions, config: &ArchiveConfig) -> Self {
        Self { log, store, sessions, records_max: config.segment_records, bytes_max: config.segment_bytes }
    }

    /// Archives what the session has that isn't archived, for a log that is to let go of all it has.
    pub(crate) async fn carry(&self, session: &SessionKey) -> Result<(), Failure> {
        let row = self.store.row(session).await.map_err(store_failure)?;
        if row.as_ref().is_some_and(|row| row.status == "erased") {
            return Ok(());
        }
        let after = self.store.last(session).await.map_err(store_failure)?;
        let written = self.segments(session, after, Folded::Beside, 0).await?;
        if let Some((offset, erased_at_ms)) = written.erased {
            // On the list of what is to be erased: nodes finish it.
            let erasure = Erasure { session: session.clone(), offset, erased_at_ms };
            return self.store.erase(&erasure).await.map_err(store_failure);
        }
        match row {
            None if written.last > Offset::NONE => self.bare_row(session, &written).await,
            None if after > Offset::NONE => self.bare_row(session, &self.written_before(session, after).await?).await,
            None | Some(_) => Ok(()),
        }
    }

    /// What another try has archived of a session, which came to no end.
    async fn written_before(&self, session: &SessionKey, last: Offset) -> Result<Written, Failure> {
        let at = async |after, upto| {
            let found = self.store.records(session, after, upto, 1).await.map_err(store_failure);
            match found {
                Ok(found) => Ok(found.first().map_or(0, |(_, at_ms, _)| *at_ms)),
                // Nobody can say when.
                Err(Failure::Session(_)) => Ok(0),
                Err(failure) => Err(failure),
            }
        };
        let (first_at_ms, last_at_ms) = (at(Offset::NONE, last).await?, at(Offset(last.0 - 1), last).await?);
        Ok(Written { last, last_at_ms, first_at_ms, ..Written::default() })
    }

    /// `tries`: before this one. What is damaged may have been read wrongly, and is given up after some only.
    pub(super) async fn segments(
        &self,
        session: &SessionKey,
        after: Offset,
        folded: Folded,
        tries: u32,
    ) -> Result<Written, Failure> {
        let mut cut = Cut { carrier: self, session, previous: after, records: Vec::new(), bytes: 0 };
        let mut written = Written::default();
        let (mut upto, mut end) = (after, false);
        while !end {
            let page = match self.log.read(session, upto, PAGE_RECORDS_MAX, PAGE_BYTES_MAX).await {
                Ok(page) => page,
                Err(ReadError::Trimmed { first, certain }) => {
                    cut.end().await?;
                    let archived = self.store.last(session).await.map_err(store_failure)?;
                    if archived > upto {
                        // Another node was faster.
                        (cut.previous, upto) = (archived, archived);
                        continue;
                    }
                    let before = Offset(first.0.saturating_sub(1));
                    let lost = if certain { Some(before) } else { self.named_between(session, upto, first).await? };
                    if let Some(lost) = lost {
                        // Nothing but what is archived is trimmed: the archive has lost it. Its readers are told by the gap.
                        tracing::error!(%session, after = upto.0, first = first.0, "records have left the log and aren't in the archive");
                        metrics::counter!("fanfold_archive_gaps_total").increment(1);
                        cut.previous = lost;
                    }
                    upto = before;
                    continue;
                }
                Err(error @ ReadError::Damaged { .. }) if tries < DAMAGED_TRIES => return Err(Failure::Session(Box::new(error))),
                Err(ReadError::Damaged { offset }) => {
                    cut.end().await?;
                    let behind = self.behind(session, offset).await?;
                    tracing::error!(%session, after = upto.0, behind = behind.0, "damaged records of the log are given up");
                    metrics::counter!("fanfold_archive_gaps_total").increment(1);
                    (cut.previous, upto) = (behind, behind);
                    continue;
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(Failure::Away(Box::new(error))),
            };
            end = page.end;
            for stored in page.records {
                upto = stored.offset;
                if written.last == Offset::NONE {
                    written.first_at_ms = stored.stored_at_ms;
                }
                (written.last, written.last_at_ms) = (stored.offset, stored.stored_at_ms);
                match says(&stored.record) {
                    // What was gathered of it is not written any more.
                    Says::Erased if self.is_erased(folded, session, stored.offset).await? => {
                        written.erased = Some((stored.offset, stored.stored_at_ms));
                        return Ok(written);
                    }
                    Says::RunRequested => written.requested = true,
                    Says::Erased | Says::Other => {}
                }
                cut.add(stored).await?;
            }
        }
        cut.end().await?;
        Ok(written)
    }

    /// Whether a record that says so has erased the session: as with every record, its fold decides.
    async fn is_erased(&self, folded: Folded, session: &SessionKey, at: Offset) -> Result<bool, Failure> {
        let looked = match folded {
            Folded::InMemory => self.sessions.look(session, at, 0).await,
            Folded::Beside => self.sessions.look_at(session, at, 0).await,
        };
        match looked {
            Ok(looked) => Ok(looked.view.session.status == SessionStatus::Erased),
            // No fold gets that far, and who erases such a session says so straight in the log.
            Err(HostError::Erased { .. } | HostError::Parked | HostError::Missing { .. }) => Ok(true),
            Err(error @ (HostError::Busy | HostError::Draining | HostError::Unavailable(_))) => {
                Err(Failure::Away(Box::new(error)))
            }
        }
    }

    /// From where on a log can be read again that is damaged at `offset`, or from there on: damage may concern all that is stored
    /// together. At its end there is nothing to read, and nothing damaged.
    async fn behind(&self, session: &SessionKey, offset: Offset) -> Result<Offset, Failure> {
        let is_damaged = async |after| match self.log.read(session, after, 1, PAGE_BYTES_MAX).await {
            Err(ReadError::Damaged { .. }) => Ok(true),
            Ok(_) | Err(ReadError::Trimmed { .. }) => Ok(false),
            Err(error @ ReadError::Unavailable(_)) => Err(Failure::Away(Box::new(error))),
        };
        // Doubled until it can be read, then halved until nothing that can be read is passed over.
        let (mut damaged, mut readable, mut step) = (Offset(offset.0.saturating_sub(1)), offset, 1);
        while is_damaged(readable).await? {
            damaged = readable;
            readable = Offset(readable.0.saturating_add(step));
            step *= 2;
        }
        while readable.0 - damaged.0 > 1 {
            let middle = Offset(damaged.0 + (readable.0 - damaged.0) / 2);
            if is_damaged(middle).await? { damaged = middle } else { readable = middle }
        }
        Ok(readable)
    }

    /// The last record between two others that the archive names, though it hasn't got it (any more).
    async fn named_between(&self, session: &SessionKey, after: Offset, first: Offset) -> Result<Option<Offset>, Failure> {
        let segments = self.store.segments(session, None, usize::MAX).await.map_err(store_failure)?;
        let ends = segments.iter().flat_map(|name| [name.first, name.last]);
        Ok(ends.filter(|at| after < *at && *at < first).max())
    }

    /// Of a session that can't be folded, or that nobody has opened: that it is there.
    async fn bare_row(&self, session: &SessionKey, written: &Written) -> Result<(), Failure> {
        let row = SessionRow {
            key: session.clone(),
            user: None,
            title: None,
            status: "open".into(),
            opened_at_ms: written.first_at_ms,
            active_at_ms: written.last_at_ms,
            open_runs: 0,
            offset: written.last,
        };
        self.store.put_row(&row).await.map_err(store_failure)
    }
}

/// Records on their way into segments.
struct Cut<'a> {
    carrier: &'a Carrier,
    session: &'a SessionKey,
    /// The session's last record before these.
    previous: Offset,
    records: Vec<(Offset, u64, Bytes)>,
    bytes: usize,
}

impl Cut<'_> {
    async fn add(&mut self, stored: StoredRecord) -> Result<(), Failure> {
        let full = self.records.len() >= self.carrier.records_max || self.bytes + stored.record.len() > self.carrier.bytes_max;
        if full && !self.records.is_empty() {
            self.end().await?;
        }
        self.bytes += stored.record.len();
        self.records.push((stored.offset, stored.stored_at_ms, stored.record));
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let epoch = self.carrier.log.epoch(self.session);
        let (records, bytes) = (std::mem::take(&mut self.records), std::mem::take(&mut self.bytes));
        let Some(segment) = Segment::new(epoch, self.previous, records) else { return Ok(()) };
        self.carrier.store.put_segment(self.session, &segment).await.map_err(store_failure)?;
        self.previous = segment.key.last;
        metrics::counter!("fanfold_archive_segments_total").increment(1);
        metrics::counter!("fanfold_archive_records_total").increment(segment.records.len() as u64);
        metrics::counter!("fanfold_archive_bytes_total").increment(bytes as u64);
        Ok(())
    }
}

/// A record that can't be read says nothing; the fold passes over it, too.
fn says(record: &[u8]) -> Says {
    let Ok(record) = Record::decode(record) else { return Says::Other };
    let has = |is: fn(&Event) -> bool| record.events.iter().any(is);
    if has(|event| matches!(event, Event::SessionErased(_))) {
        Says::Erased
    } else if has(|event| matches!(event, Event::RunRequested(_))) {
        Says::RunRequested
    } else {
        Says::Other
    }
}

fn erase_failure(error: EraseError) -> Failure {
    Failure::Away(Box::new(error))
}

fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::TooLarge { .. } => Failure::Session(Box::new(error)),
        StoreError::Unavailable(cause) if cause.is::<ArchiveGap>() => Failure::Session(cause),
        StoreError::Unavailable(_) | StoreError::Overloaded => Failure::Away(Box::new(error)),
    }
}
