//! A client's command: who may, which ids it lacks, what became of it.

use std::time::Duration;

use fanfold_fold::{Command, CommandId, Offset, RunId, SessionKey, Settled, Verdict};
use fanfold_session::Receipt;
use fanfold_wire::convert::id;
use fanfold_wire::v1::command::Action as Wire;
use fanfold_wire::{ErrorCode, v1};

use super::{Edge, Failure, least};
use crate::auth::{Action, Caller};
use crate::clock;
use crate::run::budget::OverBudget;
use crate::run::hook::Hooks;

/// How long a request for a run waits until the list of sessions tells of it.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// Ids as the client gave them or as they were minted.
#[derive(Default)]
struct Minted {
    message: String,
    run: String,
    reply: String,
}

impl Edge {
    /// Has a command judged.
    pub async fn submit(&self, caller: &Caller, command: v1::Command) -> Result<v1::Receipt, Failure> {
        let Some(mut action) = command.action else {
            return Err(Failure::bad_request("field action: is missing"));
        };
        let key = self.session(caller, needed(&action), &command.session)?;
        let command_id: CommandId = match command.id.as_str() {
            "" => clock::new_command(),
            given => id(given, "id")?,
        };
        let minted = mint(&mut action, &command_id);
        let erases = matches!(action, Wire::Erase(_));
        let requested = requested_run(&action);
        if let Some(interrupt) = requested
            && let Err(over) = self.may_run(&key, interrupt).await?
            && !self.has_run(&key, &minted.run).await?
        {
            return Err(over.into());
        }
        let if_last = command.if_last.as_deref().map(|cursor| least(&key, Some(cursor))).transpose()?;
        let at_least = least(&key, command.at_least.as_deref())?.max(if_last.unwrap_or(Offset::NONE));
        let by = (!caller.subject.is_empty()).then(|| caller.subject.to_string());
        let command = Command { id: command_id.clone(), at_ms: clock::now_ms(), by, action: action.try_into()? };
        let expected = match requested {
            Some(_) => self.expect_end(&key, &minted.run).await?,
            None => None,
        };
        let receipt = self.sessions.submit(&key, command, if_last, at_least).await?;
        if erases && receipt.verdict == Verdict::Applied {
            self.remove_erased(&key, receipt.offset);
        }
        match (requested, expected) {
            // A restart finds open runs by their sessions' rows; who was told that it is asked for must not wait for ever (I8).
            (Some(_), _) if receipt.verdict == Verdict::Applied => self.settle(&key, receipt.offset).await,
            (_, Some((hooks, run))) => hooks.look_at(run),
            (_, None) => {}
        }
        Ok(told(&command_id, key.session.as_str(), &receipt, minted))
    }
}

impl Edge {
    /// Whether the session and its tenant may have one more run.
    async fn may_run(&self, key: &SessionKey, interrupt: bool) -> Result<Result<(), OverBudget>, Failure> {
        let tenant = self.budget.tenant_allows(&key.tenant, self.desk.open_of(&key.tenant));
        if tenant.is_err() || !self.budget.looks_at_sessions() {
            return Ok(tenant);
        }
        let looked = self.sessions.look(key, Offset::NONE, 0).await?;
        // Those that are open are cancelled, where that is asked for.
        let open = if interrupt { 0 } else { looked.view.open_runs().count() };
        Ok(self.budget.session_allows(open, looked.tokens))
    }

    /// Waits until the list of sessions tells of an open run. A store that is away holds nobody up for long: it is told later.
    async fn settle(&self, key: &SessionKey, upto: Offset) {
        match tokio::time::timeout(SETTLE_WITHIN, self.sessions.settle(key, upto)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::warn!(session = %key, "a requested run is not in the list of sessions yet"),
        }
    }

    /// Before a run is requested: its end will be told, where somebody wants to know.
    async fn expect_end(&self, session: &SessionKey, run: &str) -> Result<Option<(&Hooks, (SessionKey, RunId))>, Failure> {
        let Some(hooks) = &self.hooks else { return Ok(None) };
        let key = (session.clone(), id(run, "run")?);
        hooks.expect(&key).await?;
        Ok(Some((hooks, key)))
    }

    /// Whether the run was requested before: a repetition asks what became of the first.
    async fn has_run(&self, key: &SessionKey, run: &str) -> Result<bool, Failure> {
        let looked = self.sessions.look(key, Offset::NONE, usize::MAX).await?;
        Ok(looked.view.run(&id(run, "run")?).is_some())
    }
}

impl From<OverBudget> for Failure {
    fn from(over: OverBudget) -> Self {
        Self::new(match over {
            OverBudget::Runs => ErrorCode::TooManyRuns,
            OverBudget::Tokens => ErrorCode::TokensExhausted,
        })
    }
}

/// Whether a run is asked for, and is to interrupt others.
fn requested_run(action: &Wire) -> Option<bool> {
    match action {
        Wire::Send(send) => send.answer.as_ref().map(|answer| answer.interrupt),
        Wire::RequestRun(requested) => Some(requested.interrupt),
        Wire::Open(_)
        | Wire::SetTitle(_)
        | Wire::Close(_)
        | Wire::Erase(_)
        | Wire::Cancel(_)
        | Wire::Steer(_)
        | Wire::DecideTool(_)
        | Wire::Custom(_)
        | Wire::StartRun(_)
        | Wire::LoseAttempt(_) => None,
    }
}

/// What the caller must be allowed to do.
fn needed(action: &Wire) -> Action {
    match action {
        Wire::Open(_) => Action::Open,
        // What workers say of their runs.
        Wire::Custom(custom) if custom.kind.starts_with("fanfold.") => Action::Work,
        Wire::SetTitle(titled) if titled.automatic => Action::Work,
        Wire::SetTitle(_) | Wire::Send(_) | Wire::RequestRun(_) | Wire::Steer(_) | Wire::DecideTool(_) | Wire::Custom(_) => {
            Action::Take
        }
        Wire::Close(_) => Action::Close,
        Wire::Erase(_) => Action::Erase,
        Wire::Cancel(_) => Action::Cancel,
        Wire::StartRun(_) | Wire::LoseAttempt(_) => Action::Work,
    }
}

/// Fills in the ids that the client left out. They are made from the command's id, so that a repetition has the same ones.
fn mint(action: &mut Wire, command: &CommandId) -> Minted {
    let fill = |id: &mut String, prefix: &str| {
        if id.is_empty() {
            *id = derived(prefix, command.as_str());
        }
        id.clone()
    };
    match action {
        Wire::Send(send) => {
            if send.role == i32::from(v1::Role::Unspecified) {
                send.role = v1::Role::User.into();
            }
            let message = fill(&mut send.message, "m-");
            let answer = send.answer.as_mut().map(|answer| (fill(&mut answer.run, "r-"), fill(&mut answer.reply, "a-")));
            let (run, reply) = answer.unwrap_or_default();
            Minted { message, run, reply }
        }
        Wire::RequestRun(request) => {
            let (run, reply) = (fill(&mut request.run, "r-"), fill(&mut request.reply, "a-"));
            Minted { message: request.prompt.clone(), run, reply }
        }
        Wire::StartRun(started) => {
            fill(&mut started.attempt, "t-");
            Minted { run: started.run.clone(), ..Minted::default() }
        }
        Wire::Open(_)
        | Wire::SetTitle(_)
        | Wire::Close(_)
        | Wire::Erase(_)
        | Wire::Cancel(_)
        | Wire::Steer(_)
        | Wire::DecideTool(_)
        | Wire::Custom(_)
        | Wire::LoseAttempt(_) => Minted::default(),
    }
}

/// An id of at most 64 characters that belongs to another, such as a command's.
pub(super) fn derived(prefix: &str, text: &str) -> String {
    let room = fanfold_fold::ID_CHARS_MAX - prefix.len();
    if text.len() <= room {
        return format!("{prefix}{text}");
    }
    // Too long to be prefixed: a name in a namespace of UUIDs keeps it unique (RFC 9562, version 5).
    format!("{prefix}{}", uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).simple())
}

fn told(command: &CommandId, session: &str, receipt: &Receipt, minted: Minted) -> v1::Receipt {
    let name = |refusal: fanfold_fold::Refusal| ErrorCode::from(refusal).name().to_owned();
    let (verdict, refusal, first_applied) = match receipt.verdict {
        Verdict::Applied => (v1::Verdict::Applied, String::new(), true),
        Verdict::Repeated(Settled::Applied) => (v1::Verdict::Repeated, String::new(), true),
        Verdict::Repeated(Settled::Refused(refusal)) => (v1::Verdict::Repeated, name(refusal), false),
        Verdict::Refused(refusal) => (v1::Verdict::Refused, name(refusal), false),
    };
    v1::Receipt {
        command: command.to_string(),
        session: session.to_owned(),
        verdict: verdict.into(),
        refusal,
        first_applied,
        cursor: receipt.cursor.to_string(),
        offset: receipt.offset.0,
        message: minted.message,
        run: minted.run,
        reply: minted.reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_alone_say_facts_of_their_own_kinds() {
        let custom = |kind: &str| Wire::Custom(v1::Custom { kind: kind.into(), ..v1::Custom::default() });
        assert_eq!(needed(&custom("fanfold.route")), Action::Work);
        assert_eq!(needed(&custom("fanfolder")), Action::Take);
        let title = |automatic| Wire::SetTitle(v1::SessionTitled { title: "t".into(), automatic });
        assert_eq!([needed(&title(true)), needed(&title(false))], [Action::Work, Action::Take]);
    }
}
