//! The worker in the node's own process: takes queued runs and writes what its model says into the log.

use std::sync::Arc;
use std::time::Duration;

use fanfold_fold::{Action, AttemptId, Command, Failed, Offset, Output, Refusal, RunStarted, Said, Verdict, View};
use fanfold_session::{Receipt, Sessions, SubmitError};
use tokio::sync::Semaphore;

use crate::clock;
use crate::run::keeper::{Keeper, Offer};
use crate::run::model::{Answer, Model};
use crate::run::said::groups;

/// How runs name this worker.
pub const NAME: &str = "embedded";

/// Before an offer that came to nothing is offered again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Times that an append is repeated when its fate is unknown or the log is busy.
const APPEND_TRIES: u32 = 20;

/// Answers runs with a model, `slots` at a time, for as long as the node lives.
pub async fn work(sessions: Sessions, keeper: Arc<Keeper>, model: Arc<dyn Model>, slots: usize) {
    let permits = Arc::new(Semaphore::new(slots));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let offer = keeper.take().await;
        let (sessions, keeper, model) = (sessions.clone(), Arc::clone(&keeper), Arc::clone(&model));
        tokio::spawn(async move {
            if !attempt(&sessions, &offer, &*model).await {
                tokio::time::sleep(RETRY_AFTER).await;
                keeper.give_back(&offer);
            }
            drop(permit);
        });
    }
}

/// One attempt at a run. False if it could not begin and is worth another try.
async fn attempt(sessions: &Sessions, offer: &Offer, model: &dyn Model) -> bool {
    let attempt = clock::new_attempt();
    let started = RunStarted {
        run: offer.run.clone(),
        attempt: attempt.clone(),
        worker: NAME.into(),
        model: Some(model.name().to_owned()),
    };
    let command = Command { id: clock::new_command(), at_ms: clock::now_ms(), by: None, action: Action::StartRun(started) };
    match sessions.submit(&offer.session, command, None, Offset::NONE).await {
        Ok(Receipt { verdict: Verdict::Applied, .. }) => {}
        // Another run of the session comes first: it is offered again when that has ended.
        Ok(Receipt { verdict: Verdict::Refused(Refusal::RunNotNext), .. }) | Err(_) => return false,
        Ok(_) => return true,
    }
    let Ok(looked) = sessions.look(&offer.session, Offset::NONE, usize::MAX).await else { return true };
    let answer = model.answer(&prompt(&looked.view, offer));
    tokio::select! {
        () = write(sessions, offer, attempt.clone(), answer) => {}
        // Cancelled, or taken for lost: nothing more would count.
        _ = sessions.attempt_over(&offer.session, &offer.run, &attempt) => {}
    }
    true
}

/// The text of the message that the run answers.
fn prompt(view: &View, offer: &Offer) -> String {
    let prompt = view.run(&offer.run).and_then(|run| view.messages.get(&run.prompt));
    let parts = prompt.map(|message| message.parts.as_slice()).unwrap_or_default();
    parts.iter().filter_map(|part| part.stream()).collect()
}

/// Appends the answer at the model's pace. What the model says while an append is under way goes into the next.
async fn write(sessions: &Sessions, offer: &Offer, attempt: AttemptId, mut answer: Answer) {
    let mut seq = 1;
    let mut ended = false;
    while let Some(said) = answer.next().await {
        if said.is_empty() {
            continue;
        }
        ended |= said.iter().any(|said| matches!(said, Said::Completed(_) | Said::Failed(_)));
        for said in groups(said) {
            let next = seq + said.len() as u64;
            let output = Output { attempt: attempt.clone(), seq, said };
            seq = next;
            if !append(sessions, offer, output).await {
                return;
            }
        }
    }
    if !ended {
        let failed = Failed { code: "stream_ended".into(), message: "The model stopped in mid-answer.".into(), retryable: true };
        append(sessions, offer, Output { attempt, seq, said: vec![failed.into()] }).await;
    }
}

/// Appends until the log has it. False when it no longer counts or can't be appended.
async fn append(sessions: &Sessions, offer: &Offer, output: Output) -> bool {
    for tried in 0..APPEND_TRIES {
        match sessions.produce(&offer.session, output.clone(), clock::now_ms(), None).await {
            Ok(Receipt { verdict: Verdict::Applied | Verdict::Repeated(_), .. }) => return true,
            Ok(Receipt { verdict: Verdict::Refused(_), .. }) => return false,
            // The same sequence again: the fold takes it once.
            Err(SubmitError::Unknown | SubmitError::Overloaded | SubmitError::Host(_)) => {
                tokio::time::sleep(Duration::from_millis(50 * u64::from(tried + 1))).await;
            }
            Err(error @ (SubmitError::TooLarge { .. } | SubmitError::Conflict { .. })) => {
                tracing::error!(session = %offer.session, error = &error as &dyn std::error::Error, "output can't be appended");
                return false;
            }
        }
    }
    tracing::error!(session = %offer.session, "the log took no output for too long; the run is attempted again");
    false
}
