//! What workers of their own ask for besides appending: a run, more time, or none of it.

use std::time::Duration;

use fanfold_fold::{Part, Run, RunId, View};
use fanfold_runs::LeaseId;
use fanfold_wire::convert::id;
use fanfold_wire::{ErrorCode, v1};
use prost::Message as _;

use super::{Edge, Failure};
use crate::auth::{Action, Caller, authorize_some};
use crate::run::desk::{LeaseLost, LeaseRef, Taken, Taker};

/// How long a worker waits for a run that doesn't say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a worker may wait, or give a run back for.
const WAIT_MAX_MS: u32 = 60_000;

/// Bytes of messages that go with a run. Of a longer conversation the newest are sent, and how many were left out.
const MESSAGES_BYTES_MAX: usize = 1 << 20;

impl Edge {
    /// Waits for a run that the caller may work on.
    pub async fn take_run(&self, caller: &Caller, request: &v1::TakeRunRequest) -> Result<v1::TakeRunReply, Failure> {
        let _permit = self.connection()?;
        authorize_some(caller, Action::Work)?;
        let wait = match request.wait_ms.min(WAIT_MAX_MS) {
            0 => WAIT_DEFAULT,
            ms => Duration::from_millis(ms.into()),
        };
        let mut draining = self.draining.clone();
        tokio::select! {
            taken = self.desk.take(Taker::Caller(caller.clone()), wait) => {
                Ok(taken?.map(|taken| self.told(taken)).unwrap_or_default())
            }
            _ = draining.wait_for(|draining| *draining) => Err(ErrorCode::Draining.into()),
        }
    }

    fn told(&self, mut taken: Taken) -> v1::TakeRunReply {
        taken.claim();
        let LeaseRef { session, run, id } = &taken.lease;
        let lease = v1::Lease { session: session.session.to_string(), run: run.to_string(), lease: id.0.to_string() };
        let (messages, older) = conversation(&taken.view, &taken.run);
        v1::TakeRunReply {
            lease: Some(lease),
            run: Some((&taken.run).into()),
            messages,
            older,
            steering: steering(&taken.view, &taken.run),
            lease_ms: u32::try_from(self.desk.lease().as_millis()).unwrap_or(u32::MAX),
            cursor: taken.cursor.to_string(),
            reply: taken.view.messages.get(&taken.run.reply).filter(|reply| !reply.parts.is_empty()).map(Into::into),
        }
    }

    /// The worker is alive.
    pub fn extend_lease(&self, caller: &Caller, lease: &v1::Lease) -> Result<v1::ExtendLeaseReply, Failure> {
        self.desk.extend(&self.lease(caller, lease)?)?;
        Ok(v1::ExtendLeaseReply {})
    }

    /// The worker won't start the run.
    pub fn give_back_run(&self, caller: &Caller, request: &v1::GiveBackRunRequest) -> Result<v1::GiveBackRunReply, Failure> {
        let missing = || Failure::bad_request("field lease: is missing");
        let lease = self.lease(caller, request.lease.as_ref().ok_or_else(missing)?)?;
        self.desk.give_back(&lease, Duration::from_millis(request.delay_ms.min(WAIT_MAX_MS).into()))?;
        Ok(v1::GiveBackRunReply {})
    }

    fn lease(&self, caller: &Caller, lease: &v1::Lease) -> Result<LeaseRef, Failure> {
        let session = self.session(caller, Action::Work, &lease.session)?;
        let run: RunId = id(&lease.run, "lease.run")?;
        let id = lease.lease.parse().map_err(|_| LeaseLost)?;
        Ok(LeaseRef { session, run, id: LeaseId(id) })
    }
}

impl From<LeaseLost> for Failure {
    fn from(_: LeaseLost) -> Self {
        Self::new(ErrorCode::LeaseLost)
    }
}

/// The branch down to the prompt, as much of its end as fits, and how many messages were left out.
fn conversation(view: &View, run: &Run) -> (Vec<v1::Message>, u32) {
    let branch = view.branch(&run.prompt);
    let mut room = MESSAGES_BYTES_MAX;
    let mut messages = Vec::new();
    for message in branch.iter().rev() {
        let message: v1::Message = (*message).into();
        let bytes = message.encoded_len();
        if bytes > room {
            break;
        }
        room -= bytes;
        messages.push(message);
    }
    messages.reverse();
    let older = u32::try_from(branch.len() - messages.len()).unwrap_or(u32::MAX);
    (messages, older)
}

/// What stays of the reply when another attempt begins.
fn steering(view: &View, run: &Run) -> Vec<String> {
    let parts = view.messages.get(&run.reply).map(|reply| reply.parts.as_slice()).unwrap_or_default();
    let texts = parts.iter().filter_map(|part| match part {
        Part::Steering(steering) => Some(steering.text.clone()),
        _ => None,
    });
    texts.collect()
}
