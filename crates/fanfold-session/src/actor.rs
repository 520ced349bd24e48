//! One session in memory: it folds what the log acknowledged, answers callers with verdicts and feeds its readers.
//!
//! Handling a message never waits: what takes time runs in a task of its own and comes back as a message. So a slow log or
//! store keeps no reader waiting for what is here already.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfold_fold::SessionKey;
use fanfold_log::Wake;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::directory::Directory;
use crate::error::{HostError, SubmitError, SubscribeError};
use crate::feed::{Ended, Feed};
use crate::hydrate::{hydrate, unavailable};
use crate::live::Live;
use crate::message::Msg;
use crate::node::Node;
use crate::stash::Stash;

pub(crate) struct SessionActor;

/// What an actor is born with.
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) key: SessionKey,
    pub(crate) node: Arc<Node>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) directory: Arc<Directory>,
}

pub(crate) struct Hosted {
    birth: Birth,
    phase: Phase,
}

enum Phase {
    /// Nobody has asked for anything yet.
    Cold,
    /// It is being read; requests wait.
    Hydrating(Stash),
    Live(Box<Live>),
    /// It did not load. What came meanwhile is told so: to begin again is the next actor's.
    Gone(HostError),
}

impl Actor for SessionActor {
    type Msg = Msg;
    type State = Hosted;
    type Arguments = Birth;

    async fn pre_start(&self, _myself: ActorRef<Msg>, birth: Birth) -> Result<Hosted, ActorProcessingErr> {
        Ok(Hosted { birth, phase: Phase::Cold })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, hosted: &mut Hosted) -> Result<(), ActorProcessingErr> {
        hosted.handle(&myself, message);
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, hosted: &mut Hosted) -> Result<(), ActorProcessingErr> {
        hosted.birth.feed.end(Ended::Gone);
        Ok(())
    }
}

impl Hosted {
    fn handle(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        match (&mut self.phase, message) {
            (Phase::Live(live), message) => live.handle(message),
            (Phase::Hydrating(_), Msg::Hydrated(result)) => self.hydrated(myself, *result),
            (Phase::Hydrating(stash), message) => {
                stash.take(message);
                // As long as somebody waits, it is swept.
                self.birth.feed.waiting.store(stash.len(), Ordering::Relaxed);
            }
            (Phase::Gone(error), message) => refuse(message, error),
            (Phase::Cold, Msg::Passivate | Msg::Drain) => self.birth.directory.retire(&self.birth.key, myself),
            (Phase::Cold, message) => {
                self.phase = Phase::Hydrating(Stash::new(Arc::clone(&self.birth.node)));
                self.start_hydration(myself);
                self.handle(myself, message);
            }
        }
    }

    fn start_hydration(&self, myself: &ActorRef<Msg>) {
        let Birth { key, node, .. } = self.birth.clone();
        let myself = myself.clone();
        tokio::spawn(async move {
            let waker = myself.clone();
            let wake: Wake = Arc::new(move || {
                // An actor that is gone needs no wake-up.
                let _ = waker.send_message(Msg::Wake);
            });
            // Whatever panics ends its own task only; who waits is told.
            let hydration = tokio::spawn(async move { hydrate(&node, &key, wake).await });
            let result = hydration.await.unwrap_or_else(|panicked| Err(unavailable(panicked)));
            let _ = myself.send_message(Msg::Hydrated(Box::new(result)));
        });
    }

    fn hydrated(&mut self, myself: &ActorRef<Msg>, result: Result<crate::hydrate::Hydrated, HostError>) {
        let Phase::Hydrating(stash) = std::mem::replace(&mut self.phase, Phase::Cold) else { return };
        match result {
            Ok(hydrated) => {
                let mut live = Box::new(Live::new(self.birth.clone(), myself.clone(), hydrated));
                live.handle(Msg::Wake);
                stash.into_messages().for_each(|message| live.handle(message));
                self.phase = Phase::Live(live);
            }
            Err(error) => {
                tracing::warn!(session = %self.birth.key, error = &error as &dyn std::error::Error, "session did not load");
                metrics::counter!("fanfold_session_hydrations_failed_total").increment(1);
                stash.into_messages().for_each(|message| refuse(message, &error));
                self.phase = Phase::Gone(error);
                self.birth.directory.retire(&self.birth.key, myself);
            }
        }
    }
}

/// Tells whoever waits for the answer that there is none.
pub(crate) fn refuse(message: Msg, error: &HostError) {
    // A caller that has left needs no answer.
    fn tell<T, E>(reply: oneshot::Sender<Result<T, E>>, error: E) {
        let _ = reply.send(Err(error));
    }
    match message {
        Msg::Submit(submit) => tell(submit.reply, SubmitError::Host(error.clone())),
        Msg::Produce(produce) => tell(produce.reply, SubmitError::Host(error.clone())),
        Msg::Attach(attach) => tell(attach.reply, SubscribeError::Host(error.clone())),
        Msg::Look(look) => tell(look.reply, error.clone()),
        Msg::Settle(_, reply) => tell(reply, error.clone()),
        // Their callers see the reply dropped and attach again.
        Msg::Repair(_) | Msg::WatchRun(_) => {}
        Msg::Wake
        | Msg::Hydrated(_)
        | Msg::Filled(_)
        | Msg::Leader(..)
        | Msg::Behind(_)
        | Msg::Appended(..)
        | Msg::MayKeep(_)
        | Msg::SnapshotDone(..)
        | Msg::RowDone(..)
        | Msg::RowDue
        | Msg::Sweep
        | Msg::Passivate
        | Msg::Drain => {}
    }
}
