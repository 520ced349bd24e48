//! The limits of a node's sessions. Each says what happens when it is reached.

use std::time::Duration;

/// Every limit of the session layer, with defaults for one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    /// Sessions in memory. Another one is answered `busy` until an idle one has been let go.
    pub sessions_max: usize,
    /// Estimated bytes of all sessions in memory. Above it, those without readers and open runs are let go, least
    /// recently used first.
    pub bytes_max: u64,
    /// Hydrations at a time. Others wait their turn.
    pub hydrations_max: usize,
    /// Processes that one session may break off in its hydration, and hydrations of it that may fail in a row for want of its history or by
    /// a bug. Then it is parked: no node hydrates it until an operator says so.
    pub hydration_attempts_max: u32,
    /// Requests that wait for one session: for its hydration, for an append, for an offset. Another is answered `busy`.
    pub waiting_max: usize,
    /// About as many bytes of them may wait in each of these places. One request always may.
    pub waiting_bytes_max: usize,
    /// Bytes of deltas that a session keeps per format, and once more unencoded.
    /// A cursor further behind than this gets a snapshot instead.
    pub ring_bytes_max: usize,
    /// A reader further behind than this many encoded bytes gets one merged delta instead of each frame.
    pub merge_above_bytes: usize,
    /// How long a request waits for an offset that this node has not reached, or for an append. Then: `unknown` or `busy`.
    pub wait_max: Duration,
    /// Least time between two updates of a reader in full mode, which get whole parts.
    pub full_interval: Duration,
    /// A session without readers, open runs and requests is let go after this.
    pub idle_after: Duration,
    /// When states are kept.
    pub snapshot: SnapshotPolicy,
    /// Presence entries per session. Another is answered `busy`.
    pub presence_max: usize,
    /// How long a presence entry lasts unless it is refreshed.
    pub presence_ttl: Duration,
}

/// When a session's state is kept, so that it need not be folded from the beginning. Whichever comes first, but not before `interval`.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotPolicy {
    /// Records since the last one.
    pub records: u64,
    /// Bytes of records since the last one.
    pub bytes: u64,
    /// Least time between two.
    pub interval: Duration,
    /// Older ones than this many are let go.
    pub keep: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            bytes_max: 1 << 30,
            hydrations_max: 64,
            hydration_attempts_max: 5,
            waiting_max: 1024,
            waiting_bytes_max: 8 << 20,
            ring_bytes_max: 256 * 1024,
            merge_above_bytes: 64 * 1024,
            wait_max: Duration::from_secs(5),
            full_interval: Duration::from_millis(100),
            idle_after: Duration::from_secs(60),
            snapshot: SnapshotPolicy { records: 1000, bytes: 1 << 20, interval: Duration::from_secs(1), keep: 3 },
            presence_max: 256,
            presence_ttl: Duration::from_secs(30),
        }
    }
}
