//! The consumer of one node's log: reads what commits said of themselves, and lets go of what they stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfold_fold::{Offset, SessionKey};
use tokio::sync::Mutex as Turn;
use tokio::task::JoinSet;

use super::group::Group;
use super::log::EmbeddedLog;
use super::queue::Chore;
use super::store::{Store, read_error};
use crate::consumer::TicketKind;
use crate::{Consumer, EventLog as _, Lag, Notice, ReadError, Ticket, metric};

/// Sessions that are trimmed at one time, so that they share commits.
const TRIMS_AT_ONCE: usize = 32;

/// Commits that one step of a trim lets go of.
const TRIM_GROUPS: usize = 256;

/// The [`Consumer`] of an [`EmbeddedLog`]. There is one at a time.
pub struct EmbeddedConsumer {
    log: Arc<EmbeddedLog>,
    under_way_max: usize,
    /// What is not above it was there before this consumer: another one may have noticed it.
    began: Offset,
    progress: Mutex<Progress>,
    /// One trims at a time. Commits up to here have been let go of.
    trimmed: Turn<Offset>,
}

struct Progress {
    /// Everything up to here has been noticed.
    noticed: Offset,
    /// Of that, what has not been given back.
    open: BTreeSet<Offset>,
    /// What was last said to the log.
    told: Offset,
}

impl Progress {
    fn floor(&self) -> Offset {
        self.open.first().map_or(self.noticed, |open| Offset(open.0 - 1))
    }
}

impl EmbeddedLog {
    /// Goes on from where its last consumer was. At most so many notices are under way.
    pub fn consumer(self: &Arc<Self>, under_way_max: usize) -> Result<EmbeddedConsumer, ReadError> {
        let noticed = self.consumed()?;
        Ok(EmbeddedConsumer {
            log: Arc::clone(self),
            under_way_max: under_way_max.max(1),
            began: self.visible(),
            progress: Mutex::new(Progress { noticed, open: BTreeSet::new(), told: noticed }),
            trimmed: Turn::new(Offset::NONE),
        })
    }
}

impl EmbeddedConsumer {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there and may be noticed.
    async fn next(&self, notices_max: usize) -> Result<Vec<Notice>, ReadError> {
        let (after, room) = {
            let progress = self.progress();
            (progress.noticed, self.under_way_max.saturating_sub(progress.open.len()).min(notices_max))
        };
        let (visible, began) = (self.log.visible(), self.began);
        if room == 0 || after >= visible {
            return Ok(Vec::new());
        }
        let (notices, upto) = self.log.blocking(move |store| notices(store, after, visible, room)).await?;
        let notices = notices.into_iter().map(|notice| Notice { again: notice.offset <= began, ..notice }).collect::<Vec<_>>();
        let mut progress = self.progress();
        progress.noticed = progress.noticed.max(upto);
        progress.open.extend(notices.iter().map(|notice| notice.offset));
        Ok(notices)
    }

    /// Trims sessions together, so that they share commits.
    async fn trim_all(&self, sessions: BTreeMap<SessionKey, Offset>) -> Result<(), ReadError> {
        let mut trims = JoinSet::new();
        for (session, upto) in sessions {
            if trims.len() >= TRIMS_AT_ONCE {
                joined(trims.join_next().await)?;
            }
            let log = Arc::clone(&self.log);
            trims.spawn(async move { log.trim(&session, upto).await });
        }
        while !trims.is_empty() {
            joined(trims.join_next().await)?;
        }
        Ok(())
    }
}

fn joined(trim: Option<Result<Result<(), ReadError>, tokio::task::JoinError>>) -> Result<(), ReadError> {
    match trim {
        None => Ok(()),
        // Records that can't even be named stay where they are. They are in the archive, or given up.
        Some(Ok(Err(error @ ReadError::Damaged { .. }))) => {
            metrics::counter!(metric::READS_DAMAGED).increment(1);
            tracing::error!(error = &error as &dyn std::error::Error, "a session's records can't be let go of");
            Ok(())
        }
        Some(Ok(result)) => result,
        Some(Err(panicked)) => Err(ReadError::Unavailable(Box::new(panicked))),
    }
}

/// Notices after `after`, and up to where these are all.
fn notices(store: &Store, after: Offset, visible: Offset, notices_max: usize) -> Result<(Vec<Notice>, Offset), ReadError> {
    let (mut notices, mut upto) = (Vec::new(), after);
    for group in store.groups(after) {
        let Some(group) = readable(group.map_err(|error| read_error(error, upto))?) else { continue };
        // I1 truth: what is stored but not acknowledged may yet be lost.
        if group.first > visible {
            break;
        }
        for (offset, entry) in group.iter().filter(|(offset, _)| *offset > after) {
            if notices.len() >= notices_max {
                return Ok((notices, upto));
            }
            let (session, bytes) = (entry.session.clone(), entry.bytes as usize);
            let ticket = Ticket(TicketKind::Embedded(offset));
            notices.push(Notice { session, offset, stored_at_ms: group.stored_at_ms, bytes, again: false, ticket });
            upto = offset;
        }
    }
    // Also where nothing tells of what lies below, as a new epoch begins above it.
    Ok((notices, visible))
}

/// Sessions whose records nobody can name any more are read from where their archive ends when they are next noticed.
fn readable(group: Result<Group, Offset>) -> Option<Group> {
    group
        .inspect_err(|last| {
            metrics::counter!(metric::READS_DAMAGED).increment(1);
            tracing::error!(
                last = last.0,
                "what a commit said of itself is damaged: its records wait for their sessions' next ones"
            );
        })
        .ok()
}

/// What commits below the floor and before the time stored.
#[derive(Default)]
struct Leaving {
    groups: Vec<Offset>,
    sessions: BTreeMap<SessionKey, Offset>,
    bytes_total: u64,
}

fn leaving(store: &Store, after: Offset, floor: Offset, before_ms: u64) -> Result<Leaving, ReadError> {
    let mut leaving = Leaving::default();
    for group in store.groups(after).take(TRIM_GROUPS) {
        let group = match group.map_err(|error| read_error(error, after))? {
            Ok(group) => group,
            Err(last) if last <= floor => {
                leaving.groups.push(last);
                continue;
            }
            Err(_) => break,
        };
        if group.last() > floor || group.stored_at_ms >= before_ms {
            break;
        }
        leaving.groups.push(group.last());
        leaving.bytes_total = group.bytes_total;
        leaving.sessions.extend(group.iter().map(|(offset, entry)| (entry.session.clone(), offset)));
    }
    Ok(leaving)
}

#[async_trait::async_trait]
impl Consumer for EmbeddedConsumer {
    async fn take(&self, notices_max: usize, wait: Duration) -> Result<Vec<Notice>, ReadError> {
        let deadline = tokio::time::Instant::now() + wait;
        let shared = Arc::clone(&self.log.committer.shared);
        loop {
            let notices = self.next(notices_max).await?;
            if !notices.is_empty() || tokio::time::timeout_at(deadline, shared.grown.notified()).await.is_err() {
                return Ok(notices);
            }
        }
    }

    async fn done(&self, tickets: Vec<Ticket>) -> Result<(), ReadError> {
        let floor = {
            let mut progress = self.progress();
            for ticket in tickets {
                match ticket.0 {
                    TicketKind::Embedded(offset) => drop(progress.open.remove(&offset)),
                    #[cfg(feature = "jetstream")]
                    TicketKind::JetStream(_) => unreachable!("a ticket of another log"),
                }
            }
            let floor = progress.floor();
            if floor <= progress.told {
                return Ok(());
            }
            floor
        };
        self.log.committer.chore(Chore::Consumed(floor)).await?;
        let mut progress = self.progress();
        progress.told = progress.told.max(floor);
        Ok(())
    }

    /// Nobody else is there to take them.
    async fn working(&self, _tickets: &[Ticket]) -> Result<(), ReadError> {
        Ok(())
    }

    async fn trim(&self, before_ms: u64) -> Result<(), ReadError> {
        let mut trimmed = self.trimmed.lock().await;
        loop {
            let (after, floor) = (*trimmed, self.progress().floor());
            let leaving = self.log.blocking(move |store| leaving(store, after, floor, before_ms)).await?;
            let Some(last) = leaving.groups.last().copied() else { return Ok(()) };
            self.trim_all(leaving.sessions).await?;
            self.log.committer.chore(Chore::Forget(leaving.groups)).await?;
            self.log.committer.shared.bytes_gone.fetch_max(leaving.bytes_total, Ordering::Relaxed);
            *trimmed = last;
        }
    }

    async fn lag(&self) -> Result<Lag, ReadError> {
        let records = self.log.visible().0.saturating_sub(self.progress().floor().0);
        Ok(Lag { records, fullness: self.log.fullness() })
    }
}
