//! What waits for the committer: bounded in count and bytes, taken in order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfold_fold::{Offset, SessionKey};
use tokio::sync::oneshot;

use crate::metric;
use crate::{AppendError, Expect, ReadError};

/// Bytes that an append occupies beside its record, about.
const OVERHEAD_BYTES: usize = 256;

/// One thing to do, with whom to tell.
#[derive(Debug)]
pub(crate) enum Request {
    Append(Append),
    Chore(Chore, oneshot::Sender<Result<(), ReadError>>),
}

#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) session: SessionKey,
    pub(crate) record: Bytes,
    pub(crate) expect: Expect,
    pub(crate) id: Option<std::sync::Arc<str>>,
    pub(crate) answer: oneshot::Sender<Result<Offset, AppendError>>,
}

/// What is written beside records. A reader has listed what goes, so that the committer never scans.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Lets go of a session's records.
    Trim { session: SessionKey, offsets: Vec<Offset> },
    /// Lets go of a session's records, and says that it is erased by the one at `at`.
    Erase { session: SessionKey, at: Offset, offsets: Vec<Offset> },
    /// Lets go of what the commits that end at these offsets say of themselves, as soon as no start-up needs it.
    Forget(Vec<Offset>),
    /// Everything up to here is in the archive.
    Consumed(Offset),
}

impl Request {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => OVERHEAD_BYTES + append.record.len() + append.id.as_deref().map_or(0, str::len),
            Self::Chore(Chore::Trim { offsets, .. } | Chore::Erase { offsets, .. } | Chore::Forget(offsets), _) => {
                OVERHEAD_BYTES + size_of_val(&**offsets)
            }
            Self::Chore(Chore::Consumed(_), _) => OVERHEAD_BYTES,
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Queue {
    records_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    requests: std::collections::VecDeque<Request>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { records_max, bytes_max, inner: Mutex::default(), filled: Condvar::new() }
    }

    pub(crate) fn push(&self, request: Request) -> Result<(), Refusal> {
        let bytes = request.bytes();
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refusal::Closed);
        }
        if inner.requests.len() >= self.records_max || inner.bytes + bytes > self.bytes_max {
            return Err(Refusal::Full);
        }
        inner.bytes += bytes;
        inner.requests.push_back(request);
        if inner.requests.len() == 1 {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and takes as many as one commit may have; `None` when the queue is closed and empty.
    pub(crate) fn take(&self, records_max: usize, bytes_max: usize) -> Option<Vec<Request>> {
        let mut inner = self.lock();
        while inner.requests.is_empty() {
            if inner.closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut count, mut bytes) = (0, 0);
        for request in inner.requests.iter().take(records_max) {
            if count > 0 && bytes + request.bytes() > bytes_max {
                break;
            }
            count += 1;
            bytes += request.bytes();
        }
        inner.bytes -= bytes;
        metrics::gauge!(metric::QUEUE_RECORDS).set((inner.requests.len() - count) as f64);
        metrics::gauge!(metric::QUEUE_BYTES).set(inner.bytes as f64);
        Some(inner.requests.drain(..count).collect())
    }

    /// Refuses what comes from now on. What is queued stays.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fanfold_fold::{SessionId, TenantId};

    use super::*;

    fn append(bytes: usize) -> Request {
        let session = SessionKey::new(TenantId::default(), SessionId::new("s").unwrap());
        let record = Bytes::from(vec![0; bytes]);
        Request::Append(Append { session, record, expect: Expect::Any, id: None, answer: oneshot::channel().0 })
    }

    #[test]
    fn it_is_bounded_in_count_and_in_bytes() {
        let queue = Queue::new(2, 1 << 20);
        assert_eq!(queue.push(append(1)), Ok(()));
        assert_eq!(queue.push(append(1)), Ok(()));
        assert_eq!(queue.push(append(1)), Err(Refusal::Full), "I5 bounded: count");
        let queue = Queue::new(100, 1000);
        assert_eq!(queue.push(append(700)), Ok(()));
        assert_eq!(queue.push(append(100)), Err(Refusal::Full), "I5 bounded: bytes");
        assert_eq!(queue.take(10, 10).unwrap().len(), 1, "one, however large");
        assert_eq!(queue.push(append(700)), Ok(()), "its bytes are free again");
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_over() {
        let queue = Queue::new(10, 10_000);
        for _ in 0..5 {
            queue.push(append(1)).unwrap();
        }
        queue.close();
        assert_eq!(queue.push(append(1)), Err(Refusal::Closed));
        assert_eq!(queue.take(3, 10_000).unwrap().len(), 3);
        assert_eq!(queue.take(3, 10_000).unwrap().len(), 2);
        assert!(queue.take(3, 10_000).is_none());
    }
}
