//! When a session's state and its row in the list of sessions are kept. Neither is waited for; a failure is counted and tried again.

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{FOLD_VERSION, Offset, Op, SessionStatus};
use fanfold_store::{SessionRow, Snapshot, StoreError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::config::SnapshotPolicy;
use crate::error::HostError;
use crate::live::Live;
use crate::message::{Msg, Reply};
use crate::node::Node;

/// Least time between two rows of one session that differ in activity only.
const ROW_INTERVAL: Duration = Duration::from_secs(5);

/// How long a state or a row waits for its turn to be kept.
const PLACE_WITHIN: Duration = Duration::from_secs(10);

/// What is known about the newest kept state.
pub(crate) struct Snapshots {
    kept: Offset,
    records: u64,
    bytes: u64,
    run_ended: bool,
    last_at: Instant,
    busy: bool,
    failed: bool,
}

impl Snapshots {
    pub(crate) fn new(kept: Offset) -> Self {
        Self { kept, records: 0, bytes: 0, run_ended: false, last_at: Instant::now(), busy: false, failed: false }
    }

    pub(crate) fn grew(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    fn is_due(&self, policy: &SnapshotPolicy) -> bool {
        let enough = self.records >= policy.records || self.bytes >= policy.bytes || self.run_ended;
        enough && !self.busy && self.last_at.elapsed() >= policy.interval
    }
}

/// What is known about the kept row.
pub(crate) struct Row {
    kept: Offset,
    changed: bool,
    urgent: bool,
    failed: bool,
    last_at: Option<Instant>,
    busy: bool,
    /// It is to be looked at when its interval is over.
    timed: bool,
    waiting: Vec<(Offset, Reply<(), HostError>)>,
}

impl Row {
    /// `changed`: there may be none as new as the session is.
    pub(crate) fn new(changed: bool) -> Self {
        Self {
            kept: Offset::NONE,
            changed,
            urgent: false,
            failed: false,
            last_at: None,
            busy: false,
            timed: false,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn noticed(&mut self, op: &Op) {
        match op {
            Op::SessionChanged(_) | Op::RunChanged(_) | Op::MessageAdded(_) => self.urgent = true,
            Op::MessageReset { .. }
            | Op::PartAppended { .. }
            | Op::PartSet { .. }
            | Op::ToolCallChanged { .. }
            | Op::Custom { .. } => self.changed = true,
        }
    }

    pub(crate) fn wait(&mut self, upto: Offset, reply: Reply<(), HostError>) {
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        self.waiting.push((upto, reply));
        self.urgent = true;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    fn is_due(&self) -> bool {
        let rested = self.last_at.is_none_or(|at| at.elapsed() >= ROW_INTERVAL);
        !self.busy && ((self.urgent && !self.failed) || ((self.changed || self.urgent) && rested))
    }

    /// When it is due by then, if nothing else makes it so.
    fn due_later(&self) -> Option<Instant> {
        let waits = (self.changed || self.urgent) && !self.busy && !self.timed;
        self.last_at.filter(|_| waits).map(|at| at + ROW_INTERVAL)
    }
}

impl Live {
    /// Keeps what is due.
    pub(crate) fn keep(&mut self, run_ended: bool) {
        // Its row is the erasure's, and everything else goes.
        if self.is_erased() {
            return self.row_done_early();
        }
        self.snapshots.run_ended |= run_ended;
        if self.snapshots.is_due(&self.birth.node.config.snapshot) {
            self.keep_snapshot();
        }
        if self.row.is_due() {
            self.keep_row();
        } else if let Some(at) = self.row.due_later() {
            self.row.timed = true;
            let myself = self.myself.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                let _ = myself.send_message(Msg::RowDue);
            });
        }
    }

    pub(crate) fn on_row_due(&mut self) {
        self.row.timed = false;
        if !self.draining {
            self.keep(false);
        }
    }

    /// Before it leaves memory: keeps what isn't kept yet. Says whether something is under way.
    /// What could not be kept is in the log: leaving doesn't wait for a store that is away.
    pub(crate) fn keep_last(&mut self) -> bool {
        if self.is_erased() {
            self.row_done_early();
            return self.snapshots.busy || self.row.busy;
        }
        if self.folded.offset > self.snapshots.kept && !self.snapshots.failed {
            self.keep_snapshot();
        }
        if (self.row.changed || self.row.urgent) && !self.row.failed {
            self.keep_row();
        }
        self.snapshots.busy || self.row.busy
    }

    /// Waits for a place first: the state is encoded when it can go to the store at once.
    fn keep_snapshot(&mut self) {
        self.snapshots.busy = true;
        self.snapshots.last_at = Instant::now();
        let (node, myself) = (Arc::clone(&self.birth.node), self.myself.clone());
        tokio::spawn(async move {
            let place = place(&node).await;
            let _ = myself.send_message(Msg::MayKeep(place));
        });
    }

    pub(crate) fn on_may_keep(&mut self, place: Option<OwnedSemaphorePermit>) {
        let offset = self.folded.offset;
        let Some(place) = place else {
            metrics::counter!("fanfold_session_snapshots_failed_total").increment(1);
            return self.on_snapshot_done(offset, false);
        };
        // Erased meanwhile: there is nothing to keep.
        if self.is_erased() {
            return self.on_snapshot_done(offset, true);
        }
        self.snapshots.records = 0;
        self.snapshots.bytes = 0;
        self.snapshots.run_ended = false;
        let (node, key, myself) = (Arc::clone(&self.birth.node), self.key().clone(), self.myself.clone());
        let state = self.folded.state.encode().into();
        let snapshot = Snapshot { epoch: node.epoch(&key), offset, fold: FOLD_VERSION, state };
        tokio::spawn(async move {
            let result = match node.ports.snapshots.put(&key, &snapshot).await {
                Ok(()) => node.ports.snapshots.prune(&key, node.config.snapshot.keep).await,
                Err(error) => Err(error),
            };
            drop(place);
            if let Err(error) = &result {
                tracing::warn!(session = %key, error = error as &dyn std::error::Error, "snapshot not kept");
                metrics::counter!("fanfold_session_snapshots_failed_total").increment(1);
            }
            let _ = myself.send_message(Msg::SnapshotDone(offset, result.is_ok()));
        });
    }

    pub(crate) fn on_snapshot_done(&mut self, offset: Offset, kept: bool) {
        self.snapshots.busy = false;
        self.snapshots.failed = !kept;
        if kept {
            self.snapshots.kept = self.snapshots.kept.max(offset);
        }
        self.go_on();
    }

    fn keep_row(&mut self) {
        let view = self.folded.state.view();
        let status = match &view.session.status {
            SessionStatus::Absent | SessionStatus::Erased => return self.row_done_early(),
            SessionStatus::Open => "open",
            SessionStatus::Closed(_) => "closed",
        };
        let (node, myself, offset) = (Arc::clone(&self.birth.node), self.myself.clone(), self.folded.offset);
        let active_at_ms = self.folded.stored_at_ms;
        let mut row = SessionRow {
            key: self.key().clone(),
            user: view.session.user.clone(),
            title: view.session.title.clone(),
            status: status.to_owned(),
            opened_at_ms: view.session.opened_at_ms,
            active_at_ms: active_at_ms.unwrap_or_else(|| (node.ports.clock)()),
            open_runs: u32::try_from(view.open_runs().count()).unwrap_or(u32::MAX),
            offset,
        };
        self.row.busy = true;
        self.row.changed = false;
        self.row.urgent = false;
        self.row.last_at = Some(Instant::now());
        tokio::spawn(async move {
            let place = place(&node).await;
            // Nothing new: when it was active stands in the row that there is.
            if active_at_ms.is_none()
                && let Ok(Some(kept)) = node.ports.index.row(&row.key).await
            {
                row.active_at_ms = kept.active_at_ms;
            }
            let result = match place {
                Some(_) => node.ports.index.put_row(&row).await,
                None => Err(StoreError::Overloaded),
            };
            drop(place);
            if let Err(error) = &result {
                tracing::warn!(session = %row.key, error = error as &dyn std::error::Error, "session row not kept");
                metrics::counter!("fanfold_session_rows_failed_total").increment(1);
            }
            let _ = myself.send_message(Msg::RowDone(offset, result.is_ok()));
        });
    }

    /// A session that nobody has opened has no row to keep, and one that is erased has one that isn't ours.
    fn row_done_early(&mut self) {
        self.row.urgent = false;
        self.row.changed = false;
        self.row.waiting.drain(..).for_each(|(_, reply)| {
            let _ = reply.send(Ok(()));
        });
    }

    pub(crate) fn on_row_done(&mut self, offset: Offset, kept: bool) {
        self.row.busy = false;
        self.row.failed = !kept;
        if kept {
            self.row.kept = self.row.kept.max(offset);
            let done = self.row.waiting.extract_if(.., |(upto, _)| *upto <= offset);
            done.for_each(|(_, reply)| {
                let _ = reply.send(Ok(()));
            });
        } else {
            self.row.urgent = true;
        }
        self.go_on();
    }

    /// One that is leaving keeps the rest on its way out.
    fn go_on(&mut self) {
        if !self.draining {
            self.keep(false);
        }
    }
}

/// A place among those that keep something. A store that is away gives none in time, and nobody waits for it any longer.
async fn place(node: &Node) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(PLACE_WITHIN, Arc::clone(&node.keeps).acquire_owned()).await.ok()?.ok()
}
