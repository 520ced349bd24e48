//! Whether an endpoint is worth asking, by what became of the last answers. Pure: times come in.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Results that count.
const RESULTS_MAX: usize = 20;

/// For how long a result counts.
const RESULT_AGE_MAX: Duration = Duration::from_secs(60);

/// Failures among them before the circuit may open: one alone says little.
const FAILURES_MIN: usize = 5;

/// How long it stays open the first time. Twice as long after each probe that fails.
const OPEN_FIRST: Duration = Duration::from_secs(5);

/// How long it stays open at most.
const OPEN_MAX: Duration = Duration::from_secs(300);

/// How long to wait for what a probe finds out; nobody knows how long that takes.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// A circuit breaker.
///
/// ```text
///   closed ── half of the last results failed ──▶ open ── time is up ──▶ half open
///      ▲                                           └◀─ the probe fails ────┤  one probe
///      └──────────────────────────── the probe goes well ──────────────────┘  at a time
/// ```
///
/// A pause that the provider asks for is kept in every state, and changes none.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    results: VecDeque<(Instant, bool)>,
    state: State,
    paused_until: Option<Instant>,
    /// Times that it opened without going well in between.
    opened: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen {
        probing: bool,
    },
}

/// Whether an endpoint may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Like always.
    Yes,
    /// To find out whether it is well again. Whoever gets this says what became of it.
    Probe,
    /// Not before so long.
    No(Duration),
}

/// How an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Answers among the recent ones that went well.
    pub succeeded: usize,
    /// Those that didn't, and it was the endpoint's doing.
    pub failed: usize,
    /// Whether it is asked.
    pub circuit: CircuitState,
}

/// Where a circuit breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It is asked.
    Closed,
    /// It is passed over.
    Open,
    /// One request at a time finds out whether it is well again.
    HalfOpen,
}

impl Circuit {
    /// Whether the endpoint may be asked now.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Admission::No(until - now);
        }
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::HalfOpen { probing: false };
        }
        match &mut self.state {
            State::Closed => Admission::Yes,
            State::Open { until } => Admission::No(*until - now),
            State::HalfOpen { probing: true } => Admission::No(PROBE_WAIT),
            State::HalfOpen { probing } => {
                *probing = true;
                Admission::Probe
            }
        }
    }

    /// An answer came to its end, or failed through no fault of the endpoint.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        match self.state {
            // One that began before it opened says nothing about now.
            State::Open { .. } => {}
            State::HalfOpen { .. } => {
                self.results.clear();
                self.state = State::Closed;
                self.opened = 0;
                self.note(now, true);
            }
            State::Closed => self.note(now, true),
        }
    }

    /// It failed, and perhaps asks for a pause. Says whether the circuit has opened.
    pub(crate) fn failed(&mut self, now: Instant, pause: Option<Duration>) -> bool {
        self.note(now, false);
        let failures = self.results.iter().filter(|(_, well)| !well).count();
        let opens = match self.state {
            State::Open { .. } => false,
            State::HalfOpen { .. } => true,
            State::Closed => failures >= FAILURES_MIN && 2 * failures >= self.results.len(),
        };
        if opens {
            let open = OPEN_FIRST.saturating_mul(1 << self.opened.min(16)).min(OPEN_MAX);
            self.opened += 1;
            self.state = State::Open { until: now + open };
        }
        self.paused_until = self.paused_until.max(pause.map(|pause| now + pause));
        opens
    }

    /// A probe was given up, so another one may go.
    pub(crate) fn abandoned(&mut self) {
        if let State::HalfOpen { probing } = &mut self.state {
            *probing = false;
        }
    }

    pub(crate) fn health(&mut self, now: Instant) -> Health {
        self.forget(now);
        let succeeded = self.results.iter().filter(|(_, well)| *well).count();
        let paused = self.paused_until.is_some_and(|until| now < until);
        let circuit = match self.state {
            State::Closed if !paused => CircuitState::Closed,
            State::Open { until } if until <= now && !paused => CircuitState::HalfOpen,
            State::HalfOpen { .. } if !paused => CircuitState::HalfOpen,
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => CircuitState::Open,
        };
        Health { succeeded, failed: self.results.len() - succeeded, circuit }
    }

    fn note(&mut self, now: Instant, well: bool) {
        self.forget(now);
        self.results.push_back((now, well));
        if self.results.len() > RESULTS_MAX {
            self.results.pop_front();
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.results.front().is_some_and(|(at, _)| *at + RESULT_AGE_MAX < now) {
            self.results.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A circuit that has just opened.
    fn open(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for number in 1..=5 {
            assert_eq!(circuit.admit(now), Admission::Yes);
            assert_eq!(circuit.failed(now, None), number == 5, "failure {number}");
        }
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_probes_and_closes() {
        let start = Instant::now();
        let mut circuit = open(start);
        assert_eq!(circuit.admit(start), Admission::No(5 * SECOND));
        assert_eq!(circuit.admit(start + 4 * SECOND), Admission::No(SECOND));
        assert_eq!(circuit.health(start + 5 * SECOND), Health { succeeded: 0, failed: 5, circuit: CircuitState::HalfOpen });
        assert_eq!(circuit.admit(start + 5 * SECOND), Admission::Probe);
        assert_eq!(circuit.admit(start + 5 * SECOND), Admission::No(SECOND), "one probe at a time");
        circuit.abandoned();
        assert_eq!(circuit.admit(start + 6 * SECOND), Admission::Probe, "a probe that was given up says nothing");
        assert!(circuit.failed(start + 6 * SECOND, None));
        assert_eq!(circuit.admit(start + 6 * SECOND), Admission::No(10 * SECOND), "twice as long");
        assert_eq!(circuit.admit(start + 16 * SECOND), Admission::Probe);
        circuit.succeeded(start + 17 * SECOND);
        assert_eq!(circuit.admit(start + 17 * SECOND), Admission::Yes);
        assert_eq!(circuit.health(start + 17 * SECOND), Health { succeeded: 1, failed: 0, circuit: CircuitState::Closed });
        assert!(!circuit.failed(start + 17 * SECOND, None), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_recent_results_must_have_failed() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        (0..10).for_each(|_| circuit.succeeded(start));
        for number in 1..=10 {
            assert_eq!(circuit.failed(start, None), number == 10, "failure {number}");
        }
        let mut circuit = Circuit::default();
        (0..4).for_each(|_| assert!(!circuit.failed(start, None)));
        assert!(!circuit.failed(start + 61 * SECOND, None), "those of a minute ago don't count");
        let mut circuit = Circuit::default();
        (0..40).for_each(|_| circuit.succeeded(start));
        assert_eq!(circuit.health(start).succeeded, 20, "only so many count");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_the_provider_asks_for_is_kept() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        assert!(!circuit.failed(start, Some(20 * SECOND)), "one failure doesn't open it");
        assert_eq!(circuit.admit(start), Admission::No(20 * SECOND));
        assert!(!circuit.failed(start, Some(SECOND)), "a call that was under way");
        assert_eq!(circuit.admit(start), Admission::No(20 * SECOND), "the longer pause counts");
        circuit.succeeded(start + SECOND);
        assert_eq!(circuit.admit(start + SECOND), Admission::No(19 * SECOND), "so does one that had begun before");
        assert_eq!(circuit.health(start + SECOND).circuit, CircuitState::Open);
        assert_eq!(circuit.admit(start + 20 * SECOND), Admission::Yes, "it was not its fault");
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_stays_open_for_more_than_five_minutes() {
        let mut now = Instant::now();
        let mut circuit = open(now);
        for _ in 0..40 {
            let Admission::No(wait) = circuit.admit(now) else { panic!("open") };
            assert!(wait <= OPEN_MAX, "{wait:?}");
            now += wait;
            assert_eq!(circuit.admit(now), Admission::Probe);
            assert!(circuit.failed(now, None));
        }
    }
}
