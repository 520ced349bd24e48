//! How many runs and tokens a session and a tenant may have. Asked before a run is requested; what goes on is never cut off.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::{Run, TenantId};
use fanfold_store::{NoteKind, Notes};

use crate::clock;
use crate::config::RunLimits;

/// How often what was used is noted. A crash forgets as much of it.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// Tenants counted at a time. Another's tokens are not.
const TENANTS_MAX: usize = 100_000;

/// Notes read at a time.
const PAGE: usize = 500;

/// A run is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverBudget {
    /// As many are open as may be.
    Runs,
    /// The tokens are used up.
    Tokens,
}

/// See the module.
pub struct Budget {
    node: String,
    limits: RunLimits,
    notes: Arc<dyn Notes>,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    tenants: HashMap<TenantId, Spent>,
    /// Those whose note is older than what is known.
    unnoted: HashSet<TenantId>,
}

/// Since when, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Spent {
    since_ms: u64,
    tokens: u64,
}

impl Budget {
    /// With what the notes tell that was used up before, on the node of this name.
    pub async fn open(node: String, limits: RunLimits, notes: Arc<dyn Notes>) -> anyhow::Result<Self> {
        let budget = Self { node, limits, notes, used: Mutex::default() };
        let mut after: Option<String> = None;
        loop {
            let page = budget.notes.notes(NoteKind::Usage, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(budget) };
            after = Some(last.clone());
            for (name, note) in page {
                let tenant =
                    name.rsplit_once('/').filter(|(node, _)| *node == budget.node).map(|(_, tenant)| TenantId::new(tenant));
                if let (Some(Ok(tenant)), Ok(spent)) = (tenant, serde_json::from_slice(&note)) {
                    budget.used().tenants.insert(tenant, spent);
                }
            }
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the limits need the session's own figures.
    pub fn looks_at_sessions(&self) -> bool {
        self.limits.session_open_runs_max.is_some() || self.limits.session_tokens_max.is_some()
    }

    /// Whether a session with so many open runs and used tokens may have one more run.
    pub fn session_allows(&self, open: usize, tokens: u64) -> Result<(), OverBudget> {
        within(open, self.limits.session_open_runs_max, OverBudget::Runs)?;
        within(tokens, self.limits.session_tokens_max, OverBudget::Tokens)
    }

    /// Whether a tenant with so many open runs may have one more.
    pub fn tenant_allows(&self, tenant: &TenantId, open: usize) -> Result<(), OverBudget> {
        within(open, self.limits.tenant_open_runs_max, OverBudget::Runs)?;
        let spent = self.spent(tenant, clock::now_ms());
        within(spent, self.limits.tenant_tokens_max, OverBudget::Tokens)
    }

    fn spent(&self, tenant: &TenantId, now_ms: u64) -> u64 {
        let used = self.used();
        used.tenants.get(tenant).filter(|spent| !self.is_over(spent, now_ms)).map_or(0, |spent| spent.tokens)
    }

    fn is_over(&self, spent: &Spent, now_ms: u64) -> bool {
        now_ms >= spent.since_ms.saturating_add(self.limits.tenant_tokens_window_ms)
    }

    /// A run of the tenant has cost so many tokens more.
    pub fn spend(&self, tenant: &TenantId, tokens: u64) {
        if self.limits.tenant_tokens_max.is_none() || tokens == 0 {
            return;
        }
        let now_ms = clock::now_ms();
        let mut used = self.used();
        if used.tenants.len() >= TENANTS_MAX && !used.tenants.contains_key(tenant) {
            used.tenants.retain(|_, spent| !self.is_over(spent, now_ms));
            if used.tenants.len() >= TENANTS_MAX {
                metrics::counter!("fanfold_runs_uncounted_tokens_total").increment(tokens);
                return;
            }
        }
        let spent = used.tenants.entry(tenant.clone()).or_insert(Spent { since_ms: now_ms, tokens: 0 });
        if self.is_over(spent, now_ms) {
            *spent = Spent { since_ms: now_ms, tokens: 0 };
        }
        spent.tokens = spent.tokens.saturating_add(tokens);
        used.unnoted.insert(tenant.clone());
    }

    /// Notes what was used, for as long as the node lives.
    pub async fn note(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NOTE_INTERVAL).await;
            self.note_now().await;
        }
    }

    /// Notes what was used since the last time.
    pub async fn note_now(&self) {
        let unnoted: Vec<(TenantId, Spent)> = {
            let mut used = self.used();
            let tenants = std::mem::take(&mut used.unnoted);
            tenants.into_iter().filter_map(|tenant| used.tenants.get(&tenant).map(|spent| (tenant, *spent))).collect()
        };
        for (tenant, spent) in unnoted {
            let note = serde_json::to_vec(&spent).unwrap_or_default();
            // Each node counts for itself.
            let name = format!("{}/{tenant}", self.node);
            if let Err(error) = self.notes.put_note(NoteKind::Usage, &name, Bytes::from(note)).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "used tokens are not noted yet");
                self.used().unnoted.insert(tenant);
            }
        }
    }
}

fn within<T: PartialOrd>(used: T, limit: Option<T>, over: OverBudget) -> Result<(), OverBudget> {
    match limit {
        Some(limit) if used >= limit => Err(over),
        Some(_) | None => Ok(()),
    }
}

/// Tokens, read and written, that a run has cost so far.
pub(crate) fn cost(run: &Run) -> u64 {
    run.usage.as_ref().map_or(0, |usage| usage.input.saturating_add(usage.output))
}
