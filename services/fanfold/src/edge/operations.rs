//! What operators ask for.

use fanfold_fold::{Offset, Run, RunId, SessionKey};
use fanfold_runs::{DeadLetter, QueueError};
use fanfold_store::Parked;
use fanfold_wire::convert::id;
use fanfold_wire::{ErrorCode, v1};

use super::command::derived;
use super::{Edge, Failure, limit};
use crate::auth::{Action, Caller, authorize};

/// Parked sessions told at a time.
const PARKED_MAX: usize = 1000;

impl Edge {
    /// Sessions of the caller's tenant that no node loads.
    pub async fn parked(&self, caller: &Caller) -> Result<v1::ListParkedReply, Failure> {
        authorize(caller, Action::Operate, None)?;
        let mut sessions = Vec::new();
        let mut after = None;
        loop {
            let page = self.parking.parked(after.as_ref(), PARKED_MAX).await?;
            after = page.last().map(|parked| parked.session.clone());
            sessions.extend(page.iter().filter(|parked| parked.session.tenant == caller.tenant).map(row));
            if page.len() < PARKED_MAX || sessions.len() >= PARKED_MAX {
                sessions.truncate(PARKED_MAX);
                return Ok(v1::ListParkedReply { sessions });
            }
        }
    }

    /// Lets a parked session be tried again.
    pub async fn unpark(&self, caller: &Caller, session: &str) -> Result<v1::UnparkReply, Failure> {
        let key = self.session(caller, Action::Operate, session)?;
        match self.parking.unpark(&key).await? {
            true => Ok(v1::UnparkReply {}),
            false => Err(ErrorCode::SessionNotFound.into()),
        }
    }
}

impl Edge {
    /// Runs of the caller's tenant that failed for good.
    pub async fn dead_letters(
        &self,
        caller: &Caller,
        request: &v1::ListDeadLettersRequest,
    ) -> Result<v1::ListDeadLettersReply, Failure> {
        authorize(caller, Action::Operate, None)?;
        let after = request.page.as_deref().map(|page| letter_page(caller, page)).transpose()?;
        let (letters, more) = self.graves.list(&caller.tenant, after, limit(request.limit, 50, 500)).await?;
        let last = letters.last().filter(|_| more);
        let next_page = last.map(|letter| format!("{}.{}", letter.hint.session.session, letter.hint.run));
        Ok(v1::ListDeadLettersReply { letters: letters.iter().map(letter_row).collect(), next_page })
    }

    /// One of them, with its run.
    pub async fn dead_letter(&self, caller: &Caller, asked: &v1::RunRef) -> Result<v1::DeadLetter, Failure> {
        let (letter, run) = self.letter(caller, asked).await?;
        Ok(v1::DeadLetter { details: run.as_ref().map(Into::into), ..letter_row(&letter) })
    }

    /// Has it tried again.
    pub async fn redrive(&self, caller: &Caller, asked: &v1::RunRef) -> Result<v1::RedriveReply, Failure> {
        let (letter, run) = self.letter(caller, asked).await?;
        let key = (letter.hint.session, letter.hint.run);
        match run.filter(|run| run.status.is_final()) {
            Some(ended) => {
                let run = self.request_again(caller, &key.0, &ended).await?;
                self.graves.forget(&key).await?;
                Ok(v1::RedriveReply { run })
            }
            // Its session could not be read. The run is still open.
            None => {
                self.graves.open(&key).await?;
                Ok(v1::RedriveReply { run: key.1.to_string() })
            }
        }
    }

    async fn letter(&self, caller: &Caller, asked: &v1::RunRef) -> Result<(DeadLetter, Option<Run>), Failure> {
        let session = self.session(caller, Action::Operate, &asked.session)?;
        let run: RunId = id(&asked.run, "run")?;
        let looked = self.sessions.look(&session, Offset::NONE, usize::MAX).await;
        let key = (session, run);
        let letter = self.graves.get(&key).await?.ok_or(ErrorCode::NotFound)?;
        // A session that can't be read is why some are here.
        Ok((letter, looked.ok().and_then(|looked| looked.view.run(&key.1).cloned())))
    }

    /// Another run for the same message. The command is named after the run, so that it is asked for once.
    async fn request_again(&self, caller: &Caller, session: &SessionKey, ended: &Run) -> Result<String, Failure> {
        let request = v1::RunRequested {
            prompt: ended.prompt.to_string(),
            model: ended.model.clone(),
            attempts_max: ended.attempts_max,
            ..v1::RunRequested::default()
        };
        let command = v1::Command {
            id: derived("redrive-", ended.id.as_str()),
            session: session.session.to_string(),
            action: Some(v1::command::Action::RequestRun(request)),
            ..v1::Command::default()
        };
        let receipt = self.submit(caller, command).await?;
        match ErrorCode::from_name(&receipt.refusal) {
            // It was asked for so long ago that the session has forgotten the command.
            None | Some(ErrorCode::RunExists) => Ok(receipt.run),
            Some(code) => Err(code.into()),
        }
    }
}

fn letter_page(caller: &Caller, page: &str) -> Result<(SessionKey, RunId), Failure> {
    let malformed = || Failure::bad_request("field page: is not from a list");
    let (session, run) = page.split_once('.').ok_or_else(malformed)?;
    Ok((SessionKey::new(caller.tenant.clone(), id(session, "page")?), id(run, "page")?))
}

fn letter_row(letter: &DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        session: letter.hint.session.session.to_string(),
        run: letter.hint.run.to_string(),
        reason: letter.reason.clone(),
        deliveries: letter.deliveries,
        buried_at_ms: letter.buried_at_ms,
        details: None,
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the run queue can't be asked");
        Self::new(ErrorCode::Unavailable)
    }
}

fn row(parked: &Parked) -> v1::ParkedSession {
    v1::ParkedSession {
        session: parked.session.session.to_string(),
        attempts: parked.attempts,
        reason: parked.reason.clone(),
        parked_at_ms: parked.parked_at_ms,
    }
}
