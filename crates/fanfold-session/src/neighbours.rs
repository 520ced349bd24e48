//! The port to the other nodes that host a session, for what is never logged: who is present there.

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::SessionKey;

/// What somebody has said of their being there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appearance {
    /// Who.
    pub who: String,
    /// What they do; empty: they have left.
    pub doing: String,
    /// How long ago they said so. An age and no time, so that nodes' clocks need not agree.
    pub age: Duration,
}

/// What comes from another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has begun to host the session and doesn't know who is there.
    Asked,
    /// Somebody has said this there.
    Appeared(Vec<Appearance>),
}

/// Takes what comes. Returns at once.
pub type Hear = Arc<dyn Fn(Heard) + Send + Sync>;

/// Nodes tell each other in passing: at most once, and only those that host the session at that moment. What is lost is said again
/// by the people themselves, before it expires.
pub trait Neighbours: Send + Sync + 'static {
    /// Hears what other nodes tell of the session until the value is dropped, never what this node tells; once it does, asks the others
    /// who is there. Returns at once, whatever state the connection is in.
    fn join(&self, session: &SessionKey, hear: Hear) -> Box<dyn Neighbour>;
}

/// This node among those that host one session.
pub trait Neighbour: Send + Sync {
    /// Tells the others. Returns at once; what can't be sent now is dropped.
    fn tell(&self, appeared: &[Appearance]);
}

/// The embedded side: a node that shares its sessions with nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Neighbours for Alone {
    fn join(&self, _session: &SessionKey, _hear: Hear) -> Box<dyn Neighbour> {
        Box::new(Self)
    }
}

impl Neighbour for Alone {
    fn tell(&self, _appeared: &[Appearance]) {}
}
