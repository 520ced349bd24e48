//! Ports for servers that tests start, kill and start again at the same address.
//!
//! A port that the system chooses is one of those that it also gives to outgoing connections: while its server is down, any client may be
//! given it, even the one that tries to connect to it. These are from below all of them.
//!
//! # Contract
//!
//! Nobody listens on the port when it is returned, and this process is not given it again before all others.
//!
//! # Not here
//!
//! A reservation: another process may take it. Each begins elsewhere, so that those of one run of tests don't meet.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Above what services are known by, and below what systems give to outgoing connections (Linux: from 32768 on).
const PORTS: Range<u16> = 10_000..32_000;

/// Processes that follow each other are this far apart: more than one of them takes.
const OF_ONE_PROCESS: u32 = 101;

/// A port that nobody listens on.
///
/// # Panics
///
/// When there is none.
pub fn free() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(OF_ONE_PROCESS)));
    let tried = PORTS.map(|_| PORTS.start + (next.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u32) as u16);
    let mut free = tried.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().unwrap_or_else(|| panic!("no port from {} to {} is free", PORTS.start, PORTS.end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let mut all: Vec<u16> = (0..10).map(|_| free()).collect();
        let taken: Vec<_> = all.iter().map(|port| TcpListener::bind(("127.0.0.1", *port))).collect();
        assert!(taken.iter().filter(|taken| taken.is_ok()).count() > 5, "they can be listened on: {taken:?}");
        assert!(all.iter().all(|port| PORTS.contains(port)));
        all.extend((0..PORTS.len() / 50).map(|_| free()));
        let given = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), given, "none twice");
    }
}
