//! One thread that takes what waits, makes it durable in one go, and then tells everybody.
//!
//! queue → decide → store (fsync) → mark (fsync) → visible → answers and tails

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fanfold_fold::{Offset, SessionKey};
use tokio::sync::{Notify, oneshot};

use super::error::StoreError;
use super::group::{Entry, Group};
use super::ledger::{Decision, Ledger};
use super::queue::{Append, Chore, Queue, Request};
use super::store::Commit;
use super::tails::Tails;
use crate::{AppendError, ReadError, StoredRecord, metric};

/// Milliseconds since 1970, as the node's clock has them.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the committer writes to. The embedded store with its mark; in tests, one that fails.
pub(crate) trait Disk: Send + 'static {
    /// The session's last durable offset.
    fn last(&self, session: &SessionKey) -> Result<Offset, StoreError>;

    /// Makes a commit durable, mark included. After an error nobody knows what is.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError>;
}

/// What the committer shares with those who wait for it and those who read.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) tails: Arc<Tails>,
    /// I1: the last offset that anybody may see.
    pub(crate) visible: AtomicU64,
    /// Told of each commit.
    pub(crate) grown: Notify,
    /// Bytes of all records ever stored, and of those that have been let go of.
    pub(crate) bytes_total: AtomicU64,
    pub(crate) bytes_gone: AtomicU64,
}

pub(crate) struct Committer<D> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: D,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) commit_records_max: usize,
    pub(crate) commit_bytes_max: usize,
}

/// A commit as it is put together, with who waits for it.
#[derive(Default)]
struct Draft {
    records: Vec<(SessionKey, StoredRecord)>,
    ids: Vec<Option<Arc<str>>>,
    chores: Vec<Chore>,
    appends: Vec<(oneshot::Sender<Result<Offset, AppendError>>, Decision)>,
    done: Vec<oneshot::Sender<Result<(), ReadError>>>,
    stored_at_ms: u64,
    bytes_total: u64,
}

impl<D: Disk> Committer<D> {
    /// Runs until the queue is closed and empty, or the disk fails. However it ends, nothing is taken afterwards.
    pub(crate) fn run(mut self) {
        let _closing = CloseOnDrop(self.shared.clone());
        while let Some(requests) = self.shared.queue.take(self.commit_records_max, self.commit_bytes_max) {
            let started = Instant::now();
            let draft = self.draft(requests);
            match self.commit(&draft) {
                Ok(()) => self.publish(draft),
                Err(error) => return self.poison(draft, error),
            }
            metrics::histogram!(metric::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        }
    }

    fn draft(&mut self, requests: Vec<Request>) -> Draft {
        let stored_at_ms = (self.clock)();
        let bytes_total = self.shared.bytes_total.load(Ordering::Relaxed);
        let mut draft = Draft { stored_at_ms, bytes_total, ..Draft::default() };
        for request in requests {
            match request {
                Request::Append(append) => self.decide(append, &mut draft),
                Request::Chore(chore, answer) => {
                    draft.chores.push(chore);
                    draft.done.push(answer);
                }
            }
        }
        draft
    }

    /// Decisions are told after the commit only: they may rest on records of the same one.
    fn decide(&mut self, append: Append, draft: &mut Draft) {
        let Append { session, record, expect, id, answer } = append;
        let disk = &self.disk;
        let decision = match self.ledger.decide(&session, expect, id.as_ref(), || disk.last(&session)) {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!(session = %session, error = &error as &dyn std::error::Error, "the session's end can't be read");
                metrics::counter!(metric::APPENDS, "outcome" => "unknown").increment(1);
                let _gone = answer.send(Err(AppendError::Unknown(Box::new(error))));
                return;
            }
        };
        if let Decision::Store { offset, previous } = decision {
            draft.bytes_total += record.len() as u64;
            let stored_at_ms = draft.stored_at_ms;
            draft.records.push((session, StoredRecord { offset, previous, stored_at_ms, record }));
            draft.ids.push(id);
        }
        draft.appends.push((answer, decision));
    }

    fn commit(&mut self, draft: &Draft) -> Result<(), StoreError> {
        if draft.records.is_empty() && draft.chores.is_empty() {
            return Ok(());
        }
        let entry = |((session, record), id): (&(SessionKey, StoredRecord), &Option<Arc<str>>)| Entry {
            session: session.clone(),
            previous: record.previous,
            // At most `RECORD_BYTES_MAX`.
            bytes: record.record.len() as u32,
            id: id.clone(),
        };
        let first = Offset(self.ledger.last().0 + 1 - draft.records.len() as u64);
        let entries = draft.records.iter().zip(&draft.ids).map(entry).collect();
        let group = Group { first, stored_at_ms: draft.stored_at_ms, bytes_total: draft.bytes_total, entries };
        self.disk.commit(&Commit { group: &group, records: &draft.records, chores: &draft.chores })
    }

    fn publish(&self, draft: Draft) {
        // Visible first: who registers a tail from here on reads what the tail doesn't get.
        self.shared.visible.store(self.ledger.last().0, Ordering::Release);
        self.shared.bytes_total.store(draft.bytes_total, Ordering::Relaxed);
        self.shared.grown.notify_one();
        metrics::histogram!(metric::COMMIT_RECORDS).record(draft.records.len() as f64);
        let (mut stored, mut repeated, mut conflicts) = (0, 0, 0);
        for (answer, decision) in draft.appends {
            let result = match decision {
                Decision::Store { offset, .. } => {
                    stored += 1;
                    Ok(offset)
                }
                Decision::Repeated(offset) => {
                    repeated += 1;
                    Ok(offset)
                }
                Decision::Conflict { last } => {
                    conflicts += 1;
                    Err(AppendError::Conflict { last })
                }
            };
            let _gone = answer.send(result);
        }
        for answer in draft.done {
            let _gone = answer.send(Ok(()));
        }
        self.shared.tails.deliver(draft.records.into_iter());
        for (outcome, count) in [("stored", stored), ("repeated", repeated), ("conflict", conflicts)] {
            metrics::counter!(metric::APPENDS, "outcome" => outcome).increment(count);
        }
    }

    /// I9: after a failed sync the disk's state is unknown, and trying again would only hide it.
    fn poison(self, draft: Draft, error: StoreError) {
        tracing::error!(error = &error as &dyn std::error::Error, "the log takes no more appends until it is opened again");
        metrics::gauge!(metric::POISONED).set(1.0);
        let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
        metrics::counter!(metric::APPENDS, "outcome" => "unknown").increment(draft.appends.len() as u64);
        for (answer, _) in draft.appends {
            let _gone = answer.send(Err(AppendError::Unknown(Box::new(error.clone()))));
        }
        for answer in draft.done {
            let _gone = answer.send(Err(ReadError::Unavailable(Box::new(error.clone()))));
        }
    }
}

/// Closes the queue and refuses what is in it, also when the committer panics: nobody waits for a thread that is gone.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.queue.close();
        while let Some(requests) = self.0.queue.take(usize::MAX, usize::MAX) {
            for request in requests {
                match request {
                    Request::Append(append) => {
                        metrics::counter!(metric::APPENDS, "outcome" => "closed").increment(1);
                        let _gone = append.answer.send(Err(AppendError::Closed));
                    }
                    Request::Chore(_, answer) => {
                        let _gone = answer.send(Err(ReadError::Unavailable(Box::new(StoreError::Poisoned))));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use bytes::Bytes;
    use fanfold_fold::{SessionId, TenantId};

    use super::super::config::EmbeddedLogConfig;
    use super::super::log::Running;
    use super::*;
    use crate::Expect;

    /// What the test says becomes of a commit. `Panic` is a bug in the committer itself.
    enum Fate {
        Durable,
        Fails,
        Panic,
    }

    /// A disk that tells of each commit by the offsets in it, and waits to be told what becomes of it.
    struct Scripted {
        commits: SyncSender<Vec<u64>>,
        fates: Mutex<Receiver<Fate>>,
    }

    impl Disk for Scripted {
        fn last(&self, _session: &SessionKey) -> Result<Offset, StoreError> {
            Ok(Offset::NONE)
        }

        fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
            let offsets = commit.records.iter().map(|(_, record)| record.offset.0).collect();
            self.commits.send(offsets).unwrap();
            match self.fates.lock().unwrap().recv().unwrap() {
                Fate::Durable => Ok(()),
                Fate::Fails => Err(StoreError::Mark(std::io::Error::other("no space, no disk"))),
                Fate::Panic => panic!("a bug"),
            }
        }
    }

    struct Bench {
        log: Arc<Running>,
        commits: Receiver<Vec<u64>>,
        fates: SyncSender<Fate>,
    }

    fn bench(config: EmbeddedLogConfig) -> Bench {
        let (commits, committed) = sync_channel(100);
        let (fates, fate) = sync_channel(100);
        let disk = Scripted { commits, fates: Mutex::new(fate) };
        let log = Running::start(disk, Ledger::new(Offset(1), 10, 10), Arc::new(|| 7), &config).unwrap();
        Bench { log: Arc::new(log), commits: committed, fates }
    }

    fn session() -> SessionKey {
        SessionKey::new(TenantId::default(), SessionId::new("s").unwrap())
    }

    type Answer = tokio::task::JoinHandle<Result<Offset, AppendError>>;

    /// Has the append queued when it returns: the queue is filled before the first wait.
    async fn append(bench: &Bench, expect: Expect) -> Answer {
        let log = bench.log.clone();
        let mut append = Box::pin(async move { log.append(&session(), Bytes::from_static(b"r"), expect, None).await });
        let first = futures::poll!(&mut append);
        match first {
            std::task::Poll::Ready(answer) => tokio::spawn(async { answer }),
            std::task::Poll::Pending => tokio::spawn(append),
        }
    }

    #[tokio::test]
    async fn what_waits_shares_the_next_commit_and_nobody_hears_before_it() {
        let bench = bench(EmbeddedLogConfig::default());
        let first = append(&bench, Expect::Empty).await;
        assert_eq!(bench.commits.recv().unwrap(), [1]);
        let tail = bench.log.shared.tails.register(&session(), Arc::new(|| {}));
        let second = append(&bench, Expect::Any).await;
        let third = append(&bench, Expect::Empty).await;
        let fourth = append(&bench, Expect::Last(Offset(2))).await;
        assert!(tail.take().is_empty() && !first.is_finished(), "I1 truth");
        assert_eq!(bench.log.shared.visible.load(Ordering::Acquire), 0, "I1 truth");
        bench.fates.send(Fate::Durable).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), Offset(1));
        assert_eq!(bench.commits.recv().unwrap(), [2, 3], "one commit");
        assert_eq!(bench.log.shared.visible.load(Ordering::Acquire), 1, "I1 truth");
        bench.fates.send(Fate::Durable).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), Offset(2));
        assert!(matches!(third.await.unwrap(), Err(AppendError::Conflict { last: Offset(2) })), "as of its turn");
        assert_eq!(fourth.await.unwrap().unwrap(), Offset(3));
        bench.log.close().await;
        let seen = tail.take().into_iter().map(|item| match item {
            crate::TailItem::Record(stored) => (stored.offset.0, stored.previous.0, stored.stored_at_ms),
            crate::TailItem::Lost => panic!("nothing is lost"),
        });
        assert_eq!(seen.collect::<Vec<_>>(), [(1, 0, 7), (2, 1, 7), (3, 2, 7)]);
    }

    #[tokio::test]
    async fn after_a_failed_commit_the_log_takes_nothing_more() {
        let bench = bench(EmbeddedLogConfig::default());
        let tail = bench.log.shared.tails.register(&session(), Arc::new(|| {}));
        let first = append(&bench, Expect::Any).await;
        assert_eq!(bench.commits.recv().unwrap(), [1]);
        let waiting = append(&bench, Expect::Any).await;
        bench.fates.send(Fate::Fails).unwrap();
        let failed = first.await.unwrap().unwrap_err();
        assert!(matches!(failed, AppendError::Unknown(_)), "{failed:?}");
        let cause = std::error::Error::source(&failed).unwrap();
        assert_eq!(cause.to_string(), "the high-water mark could not be written");
        assert!(matches!(waiting.await.unwrap(), Err(AppendError::Closed)), "never tried");
        assert!(matches!(append(&bench, Expect::Any).await.await.unwrap(), Err(AppendError::Closed)));
        bench.log.close().await;
        assert!(bench.commits.try_recv().is_err(), "no second commit");
        assert!(tail.take().is_empty(), "I1 truth");
        assert_eq!(bench.log.shared.visible.load(Ordering::Acquire), 0, "I1 truth");
    }

    #[tokio::test]
    async fn a_committer_that_dies_leaves_nobody_waiting() {
        let bench = bench(EmbeddedLogConfig::default());
        let first = append(&bench, Expect::Any).await;
        assert_eq!(bench.commits.recv().unwrap(), [1]);
        let waiting = append(&bench, Expect::Any).await;
        bench.fates.send(Fate::Panic).unwrap();
        assert!(matches!(first.await.unwrap(), Err(AppendError::Unknown(_))));
        assert!(matches!(waiting.await.unwrap(), Err(AppendError::Closed)));
        bench.log.close().await;
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_close_drains_it() {
        let bench = bench(EmbeddedLogConfig { queue_records_max: 3, commit_records_max: 2, ..EmbeddedLogConfig::default() });
        let mut answers = vec![append(&bench, Expect::Any).await];
        assert_eq!(bench.commits.recv().unwrap(), [1]);
        for _ in 0..3 {
            answers.push(append(&bench, Expect::Any).await);
        }
        let refused = append(&bench, Expect::Any).await.await.unwrap();
        assert!(matches!(refused, Err(AppendError::Overloaded)), "I5 bounded: {refused:?}");
        bench.log.shared.queue.close();
        (0..3).for_each(|_| bench.fates.send(Fate::Durable).unwrap());
        bench.log.close().await;
        assert_eq!([bench.commits.recv().unwrap(), bench.commits.recv().unwrap()], [vec![2, 3], vec![4]]);
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap(), Offset(index as u64 + 1), "taken is answered");
        }
    }

    /// The thread holds what the disk holds: when it's gone, so is the disk's end of the channel.
    #[test]
    fn dropping_the_log_ends_its_thread() {
        let Bench { log, commits, fates: _fates } = bench(EmbeddedLogConfig::default());
        drop(log);
        assert!(commits.recv().is_err());
    }
}
