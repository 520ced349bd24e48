//! Erasing a session, and how far that is.

use std::sync::Arc;

use fanfold_fold::{Action as Fold, Command, Offset, Refusal, SessionKey, Verdict};
use fanfold_log::AppendError;
use fanfold_session::{HostError, SubmitError};
use fanfold_store::SessionIndex as _;
use fanfold_wire::{ErrorCode, v1};

use super::{Edge, Failure};
use crate::auth::{Action, Caller};
use crate::clock;
use crate::erase::{EraseError, Stage, failed};

impl Edge {
    /// Erases a session for good; asked again, says how far that is.
    pub async fn erase(&self, caller: &Caller, request: &v1::EraseRequest) -> Result<v1::EraseReply, Failure> {
        let key = self.session(caller, Action::Erase, &request.session)?;
        let row = self.listings.row(&key).await?;
        let stage = match self.erasures.again(row.as_ref()).await {
            Ok(Some(stage)) => stage,
            Ok(None) => self.erase_now(caller, &key).await?,
            Err(error) => return Err(unfinished(&error)),
        };
        let (stage, done_after_ms) = match stage {
            Stage::Erased => (v1::ErasureStage::Erased, None),
            Stage::Removed { done_after_ms } => (v1::ErasureStage::Removed, Some(done_after_ms)),
            Stage::Done { done_after_ms } => (v1::ErasureStage::Done, Some(done_after_ms)),
        };
        Ok(v1::EraseReply { session: key.session.to_string(), stage: stage.into(), done_after_ms })
    }

    /// By a record of its own, which ends the session for its readers; then it is removed at once, as far as store and log are there.
    async fn erase_now(&self, caller: &Caller, key: &SessionKey) -> Result<Stage, Failure> {
        let by = (!caller.subject.is_empty()).then(|| caller.subject.to_string());
        let id = clock::new_command();
        let command = Command { id: id.clone(), at_ms: clock::now_ms(), by: by.clone(), action: Fold::Erase };
        let at = match self.sessions.submit(key, command, None, Offset::NONE).await {
            Ok(receipt) => match receipt.verdict {
                Verdict::Applied => receipt.offset,
                // Whoever came first removes it, and else the archiver.
                Verdict::Repeated(_) | Verdict::Refused(Refusal::SessionErased) => return Ok(Stage::Erased),
                Verdict::Refused(refusal) => return Err(ErrorCode::from(refusal).into()),
            },
            Err(SubmitError::Host(HostError::Parked | HostError::Missing { .. })) => {
                self.erasures.say(key, id, by).await.map_err(unsaid)?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(self.erasures.remove(key, at, clock::now_ms()).await.unwrap_or_else(|error| {
            // It is erased all the same, and removed when they are back.
            failed(&error);
            Stage::Erased
        }))
    }

    /// A session was erased by a command: what it was goes, without its caller waiting for that.
    pub(super) fn remove_erased(&self, key: &SessionKey, at: Offset) {
        let (erasures, key) = (Arc::clone(&self.erasures), key.clone());
        tokio::spawn(async move {
            if let Err(error) = erasures.remove(&key, at, clock::now_ms()).await {
                failed(&error);
            }
        });
    }
}

fn unfinished(error: &EraseError) -> Failure {
    failed(error);
    ErrorCode::Unavailable.into()
}

fn unsaid(error: AppendError) -> Failure {
    tracing::warn!(error = &error as &dyn std::error::Error, "a session that can't be loaded is not erased");
    Failure::new(match error {
        AppendError::Overloaded => ErrorCode::Overloaded,
        AppendError::Closed => ErrorCode::Draining,
        AppendError::Unknown(_) => ErrorCode::UnknownOutcome,
        AppendError::Conflict { .. } => ErrorCode::Conflict,
        AppendError::TooLarge { .. } => ErrorCode::TooLarge,
    })
}
