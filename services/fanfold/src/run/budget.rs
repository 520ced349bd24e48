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
    /// Goes on from the fullest count of each tenant that a node of any name has noted: where names are new with each start, none
    /// would begin with anything else. Not from their sum, as each node that has a session in memory counts its runs.
    pub async fn open(node: String, limits: RunLimits, notes: Arc<dyn Notes>) -> anyhow::Result<Self> {
        let budget = Self { node, limits, notes, used: Mutex::default() };
        let mut after: Option<String> = None;
        loop {
            let page = budget.notes.notes(NoteKind::Usage, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(budget) };
            after = Some(last.clone());
            for (name, note) in page {
                let tenant = name.rsplit_once('/').map(|(_, tenant)| TenantId::new(tenant));
                if let (Some(Ok(tenant)), Ok(spent)) = (tenant, serde_json::from_slice(&note)) {
                    budget.take_up(&name, tenant, spent, clock::now_ms()).await;
                }
            }
        }
    }

    /// What a node has noted before. A note whose time is up goes, or there would be one for each name that ever was.
    async fn take_up(&self, name: &str, tenant: TenantId, spent: Spent, now_ms: u64) {
        if self.has_run_out(&spent, now_ms) {
            if let Err(error) = self.notes.remove_note(NoteKind::Usage, name).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "an old note of used tokens stays");
            }
        } else if !self.is_over(&spent, now_ms) {
            let mut used = self.used();
            if used.tenants.len() < TENANTS_MAX || used.tenants.contains_key(&tenant) {
                let known = used.tenants.entry(tenant).or_insert(spent);
                if known.tokens < spent.tokens {
                    *known = spent;
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

    fn has_run_out(&self, spent: &Spent, now_ms: u64) -> bool {
        now_ms >= spent.since_ms.saturating_add(self.limits.tenant_tokens_window_ms)
    }

    /// Or it began in what is the future now that a clock was set back: nobody waits for that to come.
    fn is_over(&self, spent: &Spent, now_ms: u64) -> bool {
        self.has_run_out(spent, now_ms) || now_ms < spent.since_ms
    }

    /// A run of the tenant has cost so many tokens more.
    pub fn spend(&self, tenant: &TenantId, tokens: u64) {
        self.spend_at(tenant, tokens, clock::now_ms());
    }

    fn spend_at(&self, tenant: &TenantId, tokens: u64, now_ms: u64) {
        if self.limits.tenant_tokens_max.is_none() || tokens == 0 {
            return;
        }
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

#[cfg(test)]
mod tests {
    use fanfold_store::EmbeddedStore;

    use super::*;

    const WINDOW_MS: u64 = 10_000;

    async fn open(node: &str, notes: &Arc<EmbeddedStore>) -> Budget {
        let limits = RunLimits { tenant_tokens_max: Some(100), tenant_tokens_window_ms: WINDOW_MS, ..RunLimits::default() };
        Budget::open(node.to_owned(), limits, notes.clone()).await.unwrap()
    }

    fn notes() -> (tempfile::TempDir, Arc<EmbeddedStore>) {
        let dir = tempfile::tempdir().unwrap();
        let notes = Arc::new(EmbeddedStore::open(dir.path().join("store")).unwrap());
        (dir, notes)
    }

    async fn noted(notes: &EmbeddedStore) -> Vec<String> {
        notes.notes(NoteKind::Usage, None, PAGE).await.unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[tokio::test]
    async fn a_node_of_a_new_name_goes_on_from_the_fullest_count_of_the_others() {
        let (_dir, notes) = notes();
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let now_ms = clock::now_ms();
        for (node, tokens) in [("pod-a", 40), ("pod-b", 70), ("pod-c", 60)] {
            let budget = open(node, &notes).await;
            budget.used().tenants.clear();
            budget.spend_at(&one, tokens, now_ms);
            budget.note_now().await;
        }
        let heir = open("pod-d", &notes).await;
        assert_eq!([heir.spent(&one, now_ms), heir.spent(&two, now_ms)], [70, 0], "the fullest, and not their sum");
        heir.spend_at(&one, 30, now_ms);
        assert_eq!(heir.tenant_allows(&one, 0), Err(OverBudget::Tokens));
        heir.note_now().await;
        assert_eq!(open("pod-b", &notes).await.spent(&one, now_ms), 100, "the same for one that comes back");
    }

    #[tokio::test]
    async fn a_count_whose_time_is_up_counts_no_more_and_its_note_goes() {
        let (_dir, notes) = notes();
        let tenant = "one".parse().unwrap();
        let budget = open("pod-a", &notes).await;
        budget.spend_at(&tenant, 100, clock::now_ms() - WINDOW_MS);
        budget.note_now().await;
        assert_eq!(noted(&notes).await, ["pod-a/one"]);
        let heir = open("pod-b", &notes).await;
        assert_eq!(heir.tenant_allows(&tenant, 0), Ok(()));
        assert_eq!(noted(&notes).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_nobody_waiting_for_a_time_that_was() {
        let (_dir, notes) = notes();
        let tenant = "one".parse().unwrap();
        let (ahead_ms, now_ms) = (clock::now_ms() + 100 * WINDOW_MS, clock::now_ms());
        let budget = open("pod-a", &notes).await;
        budget.spend_at(&tenant, 100, ahead_ms);
        assert_eq!(budget.spent(&tenant, ahead_ms), 100);
        assert_eq!(budget.spent(&tenant, now_ms), 0);
        budget.note_now().await;
        // Not removed: by the clock of the node that wrote it, it may still count.
        assert_eq!(open("pod-a", &notes).await.tenant_allows(&tenant, 0), Ok(()));
        assert_eq!(noted(&notes).await, ["pod-a/one"]);
        budget.spend_at(&tenant, 7, now_ms);
        assert_eq!(budget.spent(&tenant, now_ms + WINDOW_MS - 1), 7, "counted anew, from now");
        assert_eq!(budget.spent(&tenant, now_ms + WINDOW_MS), 0);
    }
}
