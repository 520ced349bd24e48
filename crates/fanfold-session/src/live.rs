//! A session that is in memory and up to date: how records come in and what follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfold_fold::{AttemptId, Cursor, Merger, Offset, Op, Record, Run, RunId, RunStatus, SessionKey, SessionStatus, Verdict};
use fanfold_log::{StoredRecord, Tail, TailItem};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::actor::{Birth, refuse};
use crate::codec::DeltaFrame;
use crate::error::HostError;
use crate::feed::Ended;
use crate::hydrate::{Folded, Hydrated, history};
use crate::keep::{Row, Snapshots};
use crate::message::{Msg, PendingKey, Receipt, Reply, Step, WatchRun};
use crate::ring::Ring;
use crate::waiting::{Deferred, Questions};
use crate::write::Writes;

/// Records read at a time to repair a gap.
const FILL_RECORDS_MAX: usize = 512;

/// Before a gap that could not be read is read again.
const FILL_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Live {
    pub(crate) birth: Birth,
    pub(crate) myself: ActorRef<Msg>,
    pub(crate) folded: Folded,
    pub(crate) deltas: Ring<Arc<fanfold_fold::Delta>>,
    pub(crate) writes: Writes,
    pub(crate) deferred: Vec<Deferred>,
    pub(crate) snapshots: Snapshots,
    pub(crate) row: Row,
    pub(crate) questions: Questions,
    pub(crate) draining: bool,
    /// It is on its way out: nothing is begun any more.
    left: bool,
    pub(crate) cached: Option<crate::read::CachedSnapshot>,
    tail: Tail,
    filling: bool,
    watches: Vec<WatchRun>,
    /// Runs that have not ended, as they were last told of: they end with an erased session, whose state has no runs.
    open_runs: BTreeMap<RunId, Run>,
}

impl Live {
    pub(crate) fn new(birth: Birth, myself: ActorRef<Msg>, hydrated: Hydrated) -> Self {
        let Hydrated { folded, snapshot, tail, steps } = hydrated;
        let base = folded.offset;
        let mut live = Self {
            deltas: Ring::new(base, birth.node.config.ring_bytes_max),
            writes: Writes::default(),
            deferred: Vec::new(),
            snapshots: Snapshots::new(snapshot),
            row: Row::new(base > snapshot),
            questions: Questions::default(),
            draining: false,
            left: false,
            cached: None,
            filling: false,
            watches: Vec::new(),
            open_runs: BTreeMap::new(),
            birth,
            myself,
            folded,
            tail,
        };
        live.remember_steps(steps);
        live.birth.feed.begin(base);
        live.birth.feed.touch();
        live.note_end();
        for run in live.folded.state.view().open_runs() {
            live.birth.node.ports.observer.run_changed(&live.birth.key, run);
            live.open_runs.insert(run.id.clone(), run.clone());
        }
        live.tell_needs();
        live.keep(false);
        live.weigh();
        live
    }

    /// Readers that were not far behind when the session left memory go on from here.
    fn remember_steps(&mut self, steps: Vec<Step>) {
        let Some(first) = steps.first() else { return };
        // The border before the first step isn't known, so only those after it serve.
        self.deltas = Ring::new(first.upto, self.birth.node.config.ring_bytes_max);
        for step in steps.into_iter().skip(1) {
            self.deltas.push(step.upto, step.bytes, step.delta);
        }
    }

    pub(crate) fn key(&self) -> &SessionKey {
        &self.birth.key
    }

    pub(crate) fn cursor(&self, offset: Offset) -> Cursor {
        self.birth.node.cursor(self.key(), offset)
    }

    pub(crate) fn handle(&mut self, message: Msg) {
        if self.left {
            return self.turn_away(message);
        }
        self.take(message);
        if self.draining {
            self.leave();
        }
        self.tell_needs();
    }

    /// A request that came too late. Where the node stays, its caller sees the reply dropped and asks the session's next actor.
    fn turn_away(&self, message: Msg) {
        if self.draining {
            refuse(message, &HostError::Draining);
        }
    }

    pub(crate) fn take(&mut self, message: Msg) {
        match message {
            Msg::Wake => self.on_wake(),
            Msg::Filled(page) => self.on_filled(page),
            Msg::Leader(question, last) => self.on_leader(question, last),
            Msg::Behind(last) => self.on_behind(last),
            Msg::Appended(key, result) => self.on_appended(key, result),
            Msg::Submit(submit) => self.on_submit(submit),
            Msg::Produce(produce) => self.on_produce(produce),
            Msg::Attach(attach) => self.on_attach(attach),
            Msg::Repair(repair) => self.on_repair(repair),
            Msg::Look(look) => self.on_look(look),
            Msg::WatchRun(watch) => self.on_watch_run(watch),
            Msg::Settle(upto, reply) => self.on_settle(upto, reply),
            Msg::MayKeep(place) => self.on_may_keep(place),
            Msg::SnapshotDone(offset, kept) => self.on_snapshot_done(offset, kept),
            Msg::RowDone(offset, kept) => self.on_row_done(offset, kept),
            Msg::RowDue => self.on_row_due(),
            Msg::Sweep => self.on_sweep(),
            Msg::Passivate => self.on_passivate(),
            // What it does about it, it does after each message from now on.
            Msg::Drain => self.draining = true,
            // It was hydrated once; nobody asks twice.
            Msg::Hydrated(_) => {}
        }
    }

    /// Why it is still needed here, where it can be seen without asking.
    fn tell_needs(&self) {
        self.birth.feed.waiting.store(self.deferred.len() + self.writes.waiting(), Ordering::Relaxed);
        self.birth.feed.has_runs.store(!self.open_runs.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn on_wake(&mut self) {
        // What arrives while a gap is being read stays in the tail; it is looked at when the gap is closed.
        if self.filling {
            return;
        }
        let mut records = Vec::new();
        let mut lost = false;
        for item in self.tail.take() {
            match item {
                TailItem::Record(record) => records.push(record),
                TailItem::Lost => lost = true,
            }
        }
        self.ingest(records);
        if lost {
            metrics::counter!("fanfold_session_tail_lost_total").increment(1);
            self.fill();
        }
    }

    /// Takes in records in order. At a gap in the chain the rest waits for the log (I2).
    fn ingest(&mut self, records: Vec<StoredRecord>) {
        let mut batch = Batch { after: self.folded.offset, merger: Merger::default(), receipts: Vec::new(), ended_run: false };
        for stored in &records {
            if stored.offset <= self.folded.offset {
                continue;
            }
            if stored.previous != self.folded.offset {
                metrics::counter!("fanfold_session_gaps_total").increment(1);
                self.fill();
                break;
            }
            self.take_in(stored, &mut batch);
        }
        if self.folded.offset > batch.after {
            self.publish(batch);
        }
    }

    fn take_in(&mut self, stored: &StoredRecord, batch: &mut Batch) {
        let Some((record, verdict, delta)) = self.folded.fold(stored) else {
            self.deltas.push(stored.offset, 0, Arc::default());
            return;
        };
        self.snapshots.grew(stored.record.len());
        for op in &delta.ops {
            self.row.noticed(op);
            if let Op::RunChanged(run) = op {
                batch.ended_run |= run.status.is_final();
                self.birth.node.ports.observer.run_changed(&self.birth.key, run);
                match run.status.is_final() {
                    true => self.open_runs.remove(&run.id),
                    false => self.open_runs.insert(run.id.clone(), (**run).clone()),
                };
                self.tell_watches(&run.id);
            }
        }
        // Also one that says nothing, or what is known: it is a sign of life.
        if record.command.is_none()
            && !matches!(verdict, Verdict::Refused(_))
            && let Some(run) = self.folded.state.current_run()
        {
            self.birth.node.ports.observer.worked(&self.birth.key, run);
        }
        if let Some(key) = pending_key(&record) {
            batch.receipts.push((key, verdict, stored.offset));
        }
        let delta = Arc::new(delta);
        self.deltas.push(stored.offset, stored.record.len(), Arc::clone(&delta));
        batch.merger.push((*delta).clone());
    }

    /// One frame per format for the whole batch, then the verdicts: a caller's own readers are never behind its receipt.
    fn publish(&mut self, mut batch: Batch) {
        if self.is_erased() {
            self.forget_all();
        } else {
            self.show(&mut batch);
        }
        self.cached = None;
        self.note_end();
        for (key, verdict, offset) in batch.receipts {
            let receipt = Receipt { verdict, offset, cursor: self.cursor(offset) };
            self.writes.settle(&key, &Ok(receipt));
        }
        self.weigh();
        self.keep(batch.ended_run);
        self.retry_deferred();
    }

    fn show(&mut self, batch: &mut Batch) {
        let upto = self.folded.offset;
        let delta = std::mem::take(&mut batch.merger).finish();
        let (after, cursor) = (self.cursor(batch.after), self.cursor(upto));
        let view = self.folded.state.view();
        let session = &self.birth.key.session;
        let frame = DeltaFrame { session, after, cursor, delta: &delta, view: Some(view), again: false };
        let frames = self.birth.feed.active().into_iter().map(|format| {
            let mut bytes = Vec::new();
            self.birth.node.codec(format).delta(&frame, &mut bytes);
            (format, bytes)
        });
        let frames = frames.collect();
        self.birth.feed.publish(upto, frames);
    }

    /// Readers of a session that has ended get what is there, then its end.
    fn note_end(&self) {
        match &self.folded.state.view().session.status {
            SessionStatus::Closed(reason) => self.birth.feed.end(Ended::Closed(reason.clone())),
            SessionStatus::Erased => self.birth.feed.end(Ended::Erased),
            SessionStatus::Absent | SessionStatus::Open => {}
        }
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.folded.state.view().session.status == SessionStatus::Erased
    }

    /// What this session was is gone: its readers get no more of it, and who works for it is told.
    fn forget_all(&mut self) {
        let (upto, ring_bytes_max) = (self.folded.offset, self.birth.node.config.ring_bytes_max);
        self.deltas = Ring::new(upto, ring_bytes_max);
        self.cached = None;
        self.birth.feed.forget(upto, ring_bytes_max);
        for (_, mut run) in std::mem::take(&mut self.open_runs) {
            run.status = RunStatus::Cancelled;
            run.error = None;
            self.birth.node.ports.observer.run_changed(&self.birth.key, &run);
            for watch in self.watches.extract_if(.., |watch| watch.run == run.id) {
                let _ = watch.reply.send(run.clone());
            }
        }
    }

    /// Neither log nor archive has anything left but what came late. The erasure was missed as what came before it: readers who know of
    /// it bring its offset, which the log's leader still says as well.
    fn become_erased(&mut self, at: Offset) {
        self.filling = false;
        self.folded = Folded::erased(at.max(self.folded.offset));
        self.forget_all();
        self.note_end();
        self.weigh();
        self.retry_deferred();
    }

    /// An estimate of the memory it holds, for the node's budget.
    fn weigh(&self) {
        const FIXED: u64 = 12 * 1024;
        let bytes = FIXED + 2 * self.folded.state.content_bytes() + 2 * self.deltas.bytes() as u64;
        self.birth.feed.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Reads from the log what the tail didn't bring.
    pub(crate) fn fill(&mut self) {
        if !std::mem::replace(&mut self.filling, true) {
            self.read_gap(Duration::ZERO);
        }
    }

    fn read_gap(&self, wait: Duration) {
        let (node, key, myself, after) =
            (Arc::clone(&self.birth.node), self.key().clone(), self.myself.clone(), self.folded.offset);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let page = history(&node, &key, after, FILL_RECORDS_MAX).await;
            let _ = myself.send_message(Msg::Filled(page));
        });
    }

    fn on_filled(&mut self, page: Result<(Vec<StoredRecord>, bool), HostError>) {
        match page {
            Ok((records, end)) => {
                self.filling = false;
                let before = self.folded.offset;
                self.ingest(records);
                if !end && self.folded.offset > before {
                    self.fill();
                } else {
                    self.on_wake();
                }
            }
            Err(HostError::Erased { at }) => self.become_erased(at),
            Err(error) => {
                // The tail wakes nobody while it isn't empty, so nothing else would come back here. Readers keep what they have.
                tracing::warn!(session = %self.key(), error = &error as &dyn std::error::Error, "gap not repaired yet");
                metrics::counter!("fanfold_session_fills_failed_total").increment(1);
                self.read_gap(FILL_AGAIN);
            }
        }
    }

    fn on_watch_run(&mut self, watch: WatchRun) {
        let run = watch.run.clone();
        self.watches.retain(|watch| !watch.reply.is_closed());
        self.watches.push(watch);
        self.tell_watches(&run);
    }

    /// Tells those who work on a run when its attempt is no longer theirs.
    fn tell_watches(&mut self, run: &RunId) {
        if self.watches.is_empty() {
            return;
        }
        let Some(run) = self.folded.state.view().run(run).cloned() else { return };
        let over = |watch: &WatchRun| watch.run == run.id && !is_current(&run, &watch.attempt);
        for watch in self.watches.extract_if(.., |watch| over(watch)) {
            let _ = watch.reply.send(run.clone());
        }
    }

    pub(crate) fn is_working(&self) -> bool {
        self.watches.iter().any(|watch| !watch.reply.is_closed())
    }

    fn on_settle(&mut self, upto: Offset, reply: Reply<(), HostError>) {
        self.row.wait(upto, reply);
        self.keep(false);
    }
}

fn is_current(run: &fanfold_fold::Run, attempt: &AttemptId) -> bool {
    match run.status {
        RunStatus::Running => run.attempt.as_ref() == Some(attempt),
        RunStatus::Queued
        | RunStatus::Waiting
        | RunStatus::Completed
        | RunStatus::Cancelled
        | RunStatus::Failed
        | RunStatus::Orphaned => false,
    }
}

/// What one wake-up brought.
struct Batch {
    after: Offset,
    merger: Merger,
    receipts: Vec<(PendingKey, Verdict, Offset)>,
    ended_run: bool,
}

/// Which caller on this node may wait for the record's verdict.
fn pending_key(record: &Record) -> Option<PendingKey> {
    if let Some(command) = &record.command {
        return Some(PendingKey::Command(command.clone()));
    }
    record.events.iter().find_map(|event| match event {
        fanfold_fold::Event::Output(output) => Some(PendingKey::Output(output.attempt.clone(), output.seq)),
        _ => None,
    })
}

/// Sweeps look at what is overdue.
impl Live {
    fn on_sweep(&mut self) {
        let now = Instant::now();
        self.writes.expire(now);
        self.expire_deferred(now);
        self.keep(false);
        if self.writes.waiting() > 0 || !self.deferred.is_empty() {
            self.fill();
        }
    }

    /// While a run is open the session stays: whoever sees to it that the run ends is told of it from here, and of nothing elsewhere.
    fn on_passivate(&mut self) {
        let asked = self.birth.feed.readers() > 0 || self.writes.waiting() > 0 || !self.deferred.is_empty();
        if asked || self.is_working() || !self.open_runs.is_empty() {
            return;
        }
        self.leave();
    }

    /// Keeps the state, then goes. A node that goes away comes here after each message, until that is done or has failed.
    fn leave(&mut self) {
        // Whoever waits for an append hears what became of it: "not applied" would be untrue of what the log has.
        if self.left || self.writes.waiting() > 0 || self.row.is_busy() || self.snapshots.is_busy() {
            return;
        }
        if self.keep_last() {
            return;
        }
        self.left = true;
        for deferred in std::mem::take(&mut self.deferred) {
            self.turn_away(deferred.message);
        }
        self.birth.directory.retire(&self.birth.key, &self.myself);
    }
}
