//! Sees sessions end, however they end, and frees their slots. One session's failure is nobody else's.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::directory::Directory;

pub(crate) struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = Arc<Directory>;
    type Arguments = Arc<Directory>;

    async fn pre_start(&self, _myself: ActorRef<()>, directory: Arc<Directory>) -> Result<Arc<Directory>, ActorProcessingErr> {
        Ok(directory)
    }

    /// The default would stop every sibling of a child that fails.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        directory: &mut Arc<Directory>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, _, _) => directory.free(actor.get_id()),
            SupervisionEvent::ActorFailed(actor, error) => {
                tracing::error!(%error, "session failed; it is rebuilt from its log when it is asked for next");
                metrics::counter!("fanfold_session_failures_total").increment(1);
                directory.free(actor.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
