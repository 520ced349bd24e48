//! What the nodes of a world note of hydrations, each for itself, and where that goes wrong on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fanfold_fold::SessionKey;
use fanfold_store::{Begun, HYDRATION_SILENCE_MAX, Parked, Parking, StoreError, Tries};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Board {
    /// What is noted is there, and nobody is told so.
    pub unconfirmed: AtomicBool,
    /// Nothing is forgotten.
    pub no_clears: AtomicBool,
    pub tries: Mutex<BTreeMap<SessionKey, Vec<Try>>>,
    pub parked: Mutex<BTreeMap<SessionKey, Parked>>,
    /// Told of failures.
    pub failing: Notify,
    processes: Mutex<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Try {
    Begun { process: u64, at_ms: u64 },
    Failed,
}

impl Board {
    /// As a process sees it that begins now.
    pub fn process(self: &Arc<Self>) -> Arc<SimParking> {
        let mut processes = self.processes.lock().unwrap();
        *processes += 1;
        Arc::new(SimParking { board: self.clone(), process: *processes })
    }

    /// As so many processes leave it that ended while they hydrated.
    pub fn broke_off(self: &Arc<Self>, session: &SessionKey, processes: usize) {
        for _ in 0..processes {
            let process = self.process().process;
            self.note(session, Try::Begun { process, at_ms: 0 });
        }
    }

    /// Failures that are noted.
    pub fn failed(&self, session: &SessionKey) -> usize {
        self.tries.lock().unwrap()[session].iter().filter(|tried| **tried == Try::Failed).count()
    }

    fn note(&self, session: &SessionKey, tried: Try) {
        self.tries.lock().unwrap().entry(session.clone()).or_default().push(tried);
    }

    fn confirm(&self) -> Result<(), StoreError> {
        match self.unconfirmed.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("too slow".into())),
            false => Ok(()),
        }
    }
}

pub struct SimParking {
    board: Arc<Board>,
    process: u64,
}

#[async_trait::async_trait]
impl Parking for SimParking {
    async fn begin(&self, session: &SessionKey, now_ms: u64) -> Result<Begun, StoreError> {
        if let Some(parked) = self.board.parked.lock().unwrap().get(session) {
            return Ok(Begun::Parked(parked.clone()));
        }
        let tries = self.board.tries.lock().unwrap().get(session).cloned().unwrap_or_default();
        self.board.note(session, Try::Begun { process: self.process, at_ms: now_ms });
        self.board.confirm()?;
        let silent_since = now_ms.saturating_sub(HYDRATION_SILENCE_MAX.as_millis() as u64);
        let (mut silent, mut failed) = (BTreeSet::new(), 0);
        for tried in &tries {
            match tried {
                Try::Begun { process, at_ms } if *process != self.process && *at_ms <= silent_since => {
                    _ = silent.insert(*process)
                }
                // Noted in the order of time: it has said since that it goes on.
                Try::Begun { process, .. } => _ = silent.remove(process),
                Try::Failed => failed += 1,
            }
        }
        Ok(Begun::Attempt(Tries { broken_off: silent.len() as u32, failed }))
    }

    async fn fail(&self, session: &SessionKey, _now_ms: u64) -> Result<(), StoreError> {
        self.board.note(session, Try::Failed);
        self.board.failing.notify_one();
        self.board.confirm()
    }

    async fn clear(&self, session: &SessionKey) -> Result<(), StoreError> {
        if self.board.no_clears.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("too slow".into()));
        }
        self.board.tries.lock().unwrap().remove(session);
        self.board.confirm()
    }

    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        self.board.parked.lock().unwrap().insert(parked.session.clone(), parked.clone());
        self.board.confirm()
    }

    async fn unpark(&self, session: &SessionKey) -> Result<bool, StoreError> {
        self.board.tries.lock().unwrap().remove(session);
        Ok(self.board.parked.lock().unwrap().remove(session).is_some())
    }

    async fn parked(&self, _after: Option<&SessionKey>, _rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        Ok(self.board.parked.lock().unwrap().values().cloned().collect())
    }
}
