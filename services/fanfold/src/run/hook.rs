//! Tells an application when a run has ended: a signed request, at least once, also across restarts.
//!
//! Before a run is requested it is noted, durably; the note goes when the application has answered. So whatever happens in between, the
//! next start finds the note, asks the log how the run ended, and tells it.
//!
//! Of the nodes that share the notes one tells: the note names it, and until when the others leave it to that one. It saves work and
//! guards nothing (I4): two that tell of one run do no harm.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fanfold_fold::{Cursor, Offset, Run};
use fanfold_session::{HostError, Looked, Sessions};
use fanfold_store::{NoteKind, Notes, StoreError};
use fanfold_wire::v1;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::book::Key;
use super::graves::{key, name};
use crate::clock;
use crate::config::HookConfig;

/// Ends that wait to be taken up. Of one more only the note tells, and it is found at the next look through them.
const ENDED_MAX: usize = 10_000;

/// Requests under way at a time.
const REQUESTS_MAX: usize = 16;

/// How long the application may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Before the second try; doubled with each, up to the other.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How often all notes are looked through, and how many at a time.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const PAGE: usize = 500;

/// For how long a node's note is its own after it was last written. Longer than that node waits between two tries, unless it is asked to.
const OTHERS_AFTER_MS: u64 = 600_000;

/// A run that isn't there may yet be requested for so long after it was noted. Longer than a command is on its way.
const REQUESTED_WITHIN_MS: u64 = 60_000;

/// Messages that are looked at to find a run that has just ended. It is nearly always the newest.
const WINDOW: usize = 64;

/// Shortest secret.
const SECRET_BYTES_MIN: usize = 32;

/// Where ends of runs are noted and told. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    node: String,
    notes: Arc<dyn Notes>,
    ended: mpsc::Sender<Key>,
}

impl Hooks {
    /// Before the run is requested: its end will be told.
    pub(crate) async fn expect(&self, key: &Key) -> Result<(), StoreError> {
        Note::of(&self.node, clock::now_ms()).put(&*self.notes, key).await
    }

    /// The run has ended, or may never have been requested.
    pub(crate) fn look_at(&self, key: Key) {
        // Where there is no room, the note tells.
        let _ = self.ended.try_send(key);
    }
}

/// Tells of ends.
pub struct Teller {
    post: Post,
    ended: mpsc::Receiver<Key>,
}

/// With what it tells.
struct Post {
    node: String,
    http: reqwest::Client,
    config: HookConfig,
    secret: Vec<u8>,
    notes: Arc<dyn Notes>,
}

/// Who is to tell of a run's end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    node: String,
    /// Until when the others leave it to that node, in milliseconds since 1970.
    until_ms: u64,
}

/// Whose a note is for a node that has found it.
#[derive(Debug, PartialEq)]
enum Whose {
    Mine,
    /// It has been for so long that whoever wrote it is gone.
    Nobodys,
    Anothers,
}

impl Note {
    fn of(node: &str, from_ms: u64) -> Self {
        Self { node: node.to_owned(), until_ms: from_ms.saturating_add(OTHERS_AFTER_MS) }
    }

    async fn put(&self, notes: &dyn Notes, key: &Key) -> Result<(), StoreError> {
        // Two fields always are JSON.
        let note = serde_json::to_vec(self).unwrap_or_default();
        notes.put_note(NoteKind::Hook, &name(key), note.into()).await
    }

    /// What isn't one of these is for whoever finds it.
    fn whose(note: &[u8], node: &str, now_ms: u64) -> Whose {
        match serde_json::from_slice::<Self>(note) {
            Ok(note) if note.node == node => Whose::Mine,
            Ok(note) if note.until_ms > now_ms => Whose::Anothers,
            Ok(_) | Err(_) => Whose::Nobodys,
        }
    }

    /// Whether its run may still be on its way into the log.
    fn is_new(note: &[u8], now_ms: u64) -> bool {
        let written_ms = |note: Self| note.until_ms.saturating_sub(OTHERS_AFTER_MS);
        serde_json::from_slice::<Self>(note).is_ok_and(|note| now_ms < written_ms(note).saturating_add(REQUESTED_WITHIN_MS))
    }

    /// Whether it is to be written again, so that others go on leaving it to its node.
    fn is_old(note: &[u8], now_ms: u64) -> bool {
        serde_json::from_slice::<Self>(note).is_ok_and(|note| note.until_ms < now_ms.saturating_add(OTHERS_AFTER_MS / 2))
    }
}

/// Two ends of one thing: for those who know of runs, and for who tells of them. `None` where nobody wants to know.
pub fn open(config: &HookConfig, node: &str, notes: Arc<dyn Notes>) -> anyhow::Result<Option<(Hooks, Teller)>> {
    if config.url.is_empty() {
        return Ok(None);
    }
    let secret = secret(&config.secret)?;
    // A redirect would send a person's words where nobody said.
    let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none()).build()?;
    let (sender, ended) = mpsc::channel(ENDED_MAX);
    let hooks = Hooks { node: node.to_owned(), notes: Arc::clone(&notes), ended: sender };
    let post = Post { node: node.to_owned(), http, config: config.clone(), secret, notes };
    Ok(Some((hooks, Teller { post, ended })))
}

fn secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let secret = std::fs::read(path).with_context(|| format!("[hooks] secret {} can't be read", path.display()))?;
    let secret = secret.trim_ascii_end().to_vec();
    anyhow::ensure!(secret.len() >= SECRET_BYTES_MIN, "[hooks] secret has fewer than {SECRET_BYTES_MIN} bytes");
    Ok(secret)
}

/// When to try again, and since when.
#[derive(Debug, Clone, Copy)]
struct Try {
    tries: u32,
    since: Instant,
}

/// What a try came to.
enum Outcome {
    /// Told, or nothing to tell.
    Done,
    /// It has not ended yet.
    Open,
    /// To be tried again, and not before so long.
    Failed(Duration),
}

/// Why a request was in vain.
#[derive(Debug, thiserror::Error)]
enum Untold {
    /// Nobody answered, or not in time.
    #[error("nobody answers")]
    Silent(#[source] reqwest::Error),
    /// Anything but a success.
    #[error("the answer is {status}")]
    Refused {
        status: u16,
        /// How long the application asks to be left alone.
        retry_after: Duration,
    },
    /// There is nobody who wants to know: 410.
    #[error("the answer is that nobody is there any more")]
    Gone,
    /// The request can't be made.
    #[error("no request can be made")]
    Unmade(#[source] anyhow::Error),
}

/// What is to be told, by when: a time that goes on evenly whatever the clock on the wall is set to.
#[derive(Default)]
struct Due {
    by_time: BTreeMap<(Instant, Key), Try>,
    /// Those above and those under way.
    known: HashSet<Key>,
}

impl Due {
    fn add(&mut self, key: Key) {
        if self.known.insert(key.clone()) {
            let now = Instant::now();
            self.by_time.insert((now, key), Try { tries: 0, since: now });
        }
    }

    /// When the first is due.
    fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn room(&self) -> usize {
        ENDED_MAX.saturating_sub(self.known.len())
    }
}

impl Teller {
    /// Tells for as long as the node lives.
    pub async fn tell(self, sessions: Sessions) {
        let Self { post, mut ended } = self;
        let mut due = Due::default();
        let mut telling = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let next = due.next();
            tokio::select! {
                Some(key) = ended.recv(), if due.room() > 0 => due.add(key),
                Some((key, tried, outcome)) = telling.next() => told(&mut due, key, tried, outcome),
                _ = look.tick() => post.look_through(&mut due).await,
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() && telling.len() < REQUESTS_MAX => {
                    if let Some(((_, key), tried)) = due.by_time.pop_first() {
                        telling.push(post.one(&sessions, key, tried));
                    }
                }
            }
        }
    }
}

impl Post {
    /// Takes up what the notes tell of and is this node's, or nobody's any more. What has not ended is noticed when it does.
    async fn look_through(&self, due: &mut Due) {
        let mut after: Option<String> = None;
        while due.room() > 0 {
            let page = match self.notes.notes(NoteKind::Hook, after.as_deref(), PAGE.min(due.room())).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "hooks that are due can't be listed");
                    return;
                }
            };
            let Some((last, _)) = page.last() else { return };
            after = Some(last.clone());
            let now_ms = clock::now_ms();
            let for_us = page.iter().filter(|(_, note)| Note::whose(note, &self.node, now_ms) != Whose::Anothers);
            for_us.filter_map(|(name, _)| key(name)).for_each(|key| due.add(key));
        }
    }

    /// One try.
    async fn one(&self, sessions: &Sessions, key: Key, tried: Try) -> (Key, Try, Outcome) {
        let outcome = match self.is_ours(&key).await {
            Ok(Some(note)) => {
                let outcome = self.try_to_tell(sessions, &key, tried, &note).await;
                if let Outcome::Failed(not_before) = outcome {
                    // The others leave it to this node until it has tried again. Where that can't be said, one more may try.
                    let wait_ms = u64::try_from(not_before.as_millis()).unwrap_or(u64::MAX);
                    let _ = Note::of(&self.node, clock::now_ms().saturating_add(wait_ms)).put(&*self.notes, &key).await;
                }
                outcome
            }
            // Told, or for another node to tell.
            Ok(None) => Outcome::Done,
            Err(error) => {
                tracing::warn!(session = %key.0, error = &error as &dyn std::error::Error, "a run's note can't be read");
                Outcome::Failed(Duration::ZERO)
            }
        };
        (key, tried, outcome)
    }

    /// The note, if this node is to tell. Nobody's is this node's from now on.
    async fn is_ours(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let Some(note) = self.notes.note(NoteKind::Hook, &name(key)).await? else { return Ok(None) };
        match Note::whose(&note, &self.node, clock::now_ms()) {
            Whose::Mine => Ok(Some(note)),
            Whose::Nobodys => Note::of(&self.node, clock::now_ms()).put(&*self.notes, key).await.map(|()| Some(note)),
            Whose::Anothers => Ok(None),
        }
    }

    async fn try_to_tell(&self, sessions: &Sessions, key: &Key, tried: Try, note: &[u8]) -> Outcome {
        let (run, cursor) = match ended(sessions, key).await {
            Ok(Some((run, cursor))) if run.status.is_final() => (run, cursor),
            Ok(Some(_)) => return self.still_open(key, note).await,
            Ok(None) if Note::is_new(note, clock::now_ms()) => return Outcome::Open,
            // It was never requested.
            Ok(None) => return self.forget(key).await,
            Err(error) => {
                tracing::warn!(session = %key.0, error = &error as &dyn std::error::Error, "a run's end can't be looked at");
                return Outcome::Failed(Duration::ZERO);
            }
        };
        let watched = self.config.unwatched_only && tried.tries == 0 && sessions.readers(&key.0) > 0;
        if watched {
            return self.forget(key).await;
        }
        let answered = post(&self.http, &self.config, &self.secret, key, &run, cursor).await;
        let label = match &answered {
            Ok(()) => "told",
            Err(Untold::Gone) => "gone",
            Err(Untold::Silent(_) | Untold::Refused { .. } | Untold::Unmade(_)) => "failed",
        };
        metrics::counter!("fanfold_hooks_total", "outcome" => label).increment(1);
        match answered {
            Ok(()) => self.forget(key).await,
            Err(error @ Untold::Gone) => {
                tracing::warn!(session = %key.0, run = %key.1, %error, "a run's end is told to nobody");
                self.forget(key).await
            }
            Err(error) if tried.since.elapsed() >= Duration::from_millis(self.config.give_up_ms) => {
                tracing::error!(session = %key.0, run = %key.1, %error, "a run's end was never told");
                metrics::counter!("fanfold_hooks_total", "outcome" => "given_up").increment(1);
                self.forget(key).await
            }
            Err(error) => {
                tracing::debug!(session = %key.0, run = %key.1, error = &error as &dyn std::error::Error, "a run's end is told again");
                Outcome::Failed(if let Untold::Refused { retry_after, .. } = error { retry_after } else { Duration::ZERO })
            }
        }
    }

    /// This node will see the end.
    async fn still_open(&self, key: &Key, note: &[u8]) -> Outcome {
        if Note::is_old(note, clock::now_ms()) {
            // Where that fails, another node takes it up.
            let _ = Note::of(&self.node, clock::now_ms()).put(&*self.notes, key).await;
        }
        Outcome::Open
    }

    async fn forget(&self, key: &Key) -> Outcome {
        match self.notes.remove_note(NoteKind::Hook, &name(key)).await {
            Ok(()) => Outcome::Done,
            // Told again: at least once.
            Err(_) => Outcome::Failed(Duration::ZERO),
        }
    }
}

fn told(due: &mut Due, key: Key, tried: Try, outcome: Outcome) {
    match outcome {
        Outcome::Done | Outcome::Open => {
            due.known.remove(&key);
        }
        Outcome::Failed(not_before) => {
            let wait = RETRY_AFTER_MIN.saturating_mul(1 << tried.tries.min(16)).min(RETRY_AFTER_MAX);
            // Many that failed together are not tried together.
            let wait = wait / 2 + wait / 2 * u32::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255;
            due.by_time.insert((Instant::now() + wait.max(not_before), key), Try { tries: tried.tries + 1, ..tried });
        }
    }
}

/// The run as it is now, and where that was read. Before it is said not to be there, the log is asked.
async fn ended(sessions: &Sessions, (session, run): &Key) -> Result<Option<(Run, Cursor)>, HostError> {
    let found = |looked: Looked| looked.view.run(run).map(|run| (run.clone(), looked.cursor));
    if let Some(found) = found(sessions.look(session, Offset::NONE, WINDOW).await?) {
        return Ok(Some(found));
    }
    Ok(found(sessions.look_newest(session, usize::MAX).await?))
}

async fn post(
    http: &reqwest::Client,
    config: &HookConfig,
    secret: &[u8],
    (session, id): &Key,
    run: &Run,
    cursor: Cursor,
) -> Result<(), Untold> {
    let body = serde_json::json!({
        "type": "run_ended",
        "tenant": session.tenant.as_str(),
        "session": session.session.as_str(),
        "run": v1::Run::from(run),
        "cursor": cursor.to_string(),
    });
    let body = serde_json::to_vec(&body).map_err(|error| Untold::Unmade(error.into()))?;
    let at_s = clock::now_s();
    let signature = signature(secret, at_s, &body).map_err(Untold::Unmade)?;
    let request = http
        .post(&config.url)
        .header("content-type", "application/json")
        .header("fanfold-delivery", id.as_str())
        .header("fanfold-signature", format!("t={at_s},v1={signature}"))
        .body(body);
    // The address may hold a key.
    let answer = request.send().await.map_err(|error| Untold::Silent(error.without_url()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        reqwest::StatusCode::GONE => Err(Untold::Gone),
        status => {
            let retry_after = fanfold_models::retry_after(answer.headers()).unwrap_or_default();
            Err(Untold::Refused { status: status.as_u16(), retry_after })
        }
    }
}

/// HMAC-SHA256 of the time and the body with a full stop between, in hexadecimal digits. With the time in it, an old request can't be
/// passed off as a new one.
fn signature(secret: &[u8], at_s: u64, body: &[u8]) -> anyhow::Result<String> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).context("the secret can't be used")?;
    mac.update(format!("{at_s}.").as_bytes());
    mac.update(body);
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use fanfold_fold::SessionKey;

    use super::*;

    #[test]
    fn a_note_is_its_nodes_until_that_has_not_written_it_for_long() {
        let note = serde_json::to_vec(&Note::of("a", 1_000)).unwrap();
        let until_ms = 1_000 + OTHERS_AFTER_MS;
        for now_ms in [1_000, until_ms - 1] {
            assert_eq!([Note::whose(&note, "a", now_ms), Note::whose(&note, "b", now_ms)], [Whose::Mine, Whose::Anothers]);
        }
        assert_eq!([Note::whose(&note, "a", until_ms), Note::whose(&note, "b", until_ms)], [Whose::Mine, Whose::Nobodys]);
        assert!(!Note::is_old(&note, 1_000) && Note::is_old(&note, until_ms - 1));
        assert_eq!(Note::whose(b"", "a", 0), Whose::Nobodys);
    }

    #[test]
    fn a_run_that_was_only_just_noted_may_yet_be_requested() {
        let note = serde_json::to_vec(&Note::of("a", 1_000)).unwrap();
        assert!(Note::is_new(&note, 1_000) && Note::is_new(&note, 1_000 + REQUESTED_WITHIN_MS - 1));
        assert!(!Note::is_new(&note, 1_000 + REQUESTED_WITHIN_MS));
        assert!(!Note::is_new(b"", 0));
    }

    /// Its clock doesn't go on while the test advances the other time, as if it had been set back by as much.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_holds_up_no_try() {
        let key = (SessionKey::new("t".parse().unwrap(), "s".parse().unwrap()), "r".parse().unwrap());
        let mut due = Due::default();
        due.add(key.clone());
        assert!(due.next().unwrap() <= Instant::now());
        let ((_, key), tried) = due.by_time.pop_first().unwrap();
        told(&mut due, key.clone(), tried, Outcome::Failed(Duration::ZERO));
        assert!(due.next().unwrap() > Instant::now());
        tokio::time::advance(RETRY_AFTER_MIN).await;
        assert!(due.next().unwrap() <= Instant::now());
        let ((_, key), tried) = due.by_time.pop_first().unwrap();
        assert_eq!((tried.tries, tried.since.elapsed()), (1, RETRY_AFTER_MIN));
        told(&mut due, key, tried, Outcome::Failed(RETRY_AFTER_MAX * 2));
        assert!(due.next().unwrap() >= Instant::now() + RETRY_AFTER_MAX * 2, "as the application asks");
    }

    #[test]
    fn the_signature_is_what_others_compute() {
        // echo -n '1700000000.{}' | openssl dgst -sha256 -hmac key
        let expected = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature(b"key", 1_700_000_000, b"{}").unwrap(), expected);
    }
}
