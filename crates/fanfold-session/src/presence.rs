//! Who is present in a session. Of what a person says, on whichever node, the newest counts until it expires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::codec::Present;
use crate::neighbours::{Appearance, Heard};

/// Least time between two messages to the other nodes; what is said meanwhile goes with the next one.
const TELL_INTERVAL: Duration = Duration::from_millis(200);

/// The limits of one session's list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PresenceLimits {
    /// People shown. Of those who have left, as many are remembered.
    pub(crate) entries_max: usize,
    /// How long what somebody says lasts.
    pub(crate) ttl: Duration,
}

pub(crate) struct Presence {
    limits: PresenceLimits,
    /// Grows when the list that readers see changes.
    pub(crate) version: u64,
    who: BTreeMap<String, Entry>,
    encoded: BTreeMap<usize, Arc<[u8]>>,
    told_at: Option<Instant>,
}

struct Entry {
    /// Empty: they have left, which is remembered so that an older word from another node doesn't bring them back.
    doing: String,
    said_at: Instant,
    /// Said on this node, and not told to the others yet.
    untold: bool,
    /// Said on this node, which answers for it when a node asks.
    own: bool,
}

/// The list has no place for one more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Presence {
    pub(crate) fn new(limits: PresenceLimits) -> Self {
        Self { limits, version: 0, who: BTreeMap::new(), encoded: BTreeMap::new(), told_at: None }
    }

    /// Somebody says on this node what they do, or by an empty word that they leave. Whether readers see a change.
    pub(crate) fn say(&mut self, who: &str, doing: &str, now: Instant) -> Result<bool, Full> {
        self.take(who, Entry { doing: doing.to_owned(), said_at: now, untold: true, own: true })
    }

    /// Takes what another node tells. Whether readers see a change.
    pub(crate) fn hear(&mut self, heard: Heard, now: Instant) -> bool {
        let appeared = match heard {
            Heard::Asked => {
                self.who.values_mut().for_each(|entry| entry.untold = entry.own);
                return false;
            }
            Heard::Appeared(appeared) => appeared,
        };
        let mut changed = false;
        for Appearance { who, doing, age } in appeared {
            let Some(said_at) = now.checked_sub(age).filter(|_| age < self.limits.ttl) else { continue };
            if self.who.get(&who).is_none_or(|known| known.said_at <= said_at) {
                // Where there is no place, the other nodes show somebody whom this one doesn't.
                changed |= self.take(&who, Entry { doing, said_at, untold: false, own: false }).unwrap_or(false);
            }
        }
        changed
    }

    fn take(&mut self, who: &str, entry: Entry) -> Result<bool, Full> {
        let before = self.who.get(who).map_or("", |known| &known.doing);
        let changed = before != entry.doing;
        if before.is_empty() {
            self.make_place(!entry.doing.is_empty())?;
        }
        self.who.insert(who.to_owned(), entry);
        if changed {
            self.changed();
        }
        Ok(changed)
    }

    /// For one more who is there, or who has left.
    fn make_place(&mut self, there: bool) -> Result<(), Full> {
        let is_like = |entry: &Entry| entry.doing.is_empty() != there;
        if self.who.values().filter(|entry| is_like(entry)).count() < self.limits.entries_max {
            return Ok(());
        }
        if there {
            return Err(Full);
        }
        let oldest = self.who.iter().filter(|(_, entry)| is_like(entry)).min_by_key(|(_, entry)| entry.said_at);
        if let Some(who) = oldest.map(|(who, _)| who.clone()) {
            self.who.remove(&who);
        }
        Ok(())
    }

    /// Forgets what was not said again in time. Whether readers see a change.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let ttl = self.limits.ttl;
        let gone = self.who.extract_if(.., |_, entry| now.duration_since(entry.said_at) >= ttl);
        let changed = gone.filter(|(_, entry)| !entry.doing.is_empty()).count() > 0;
        if changed {
            self.changed();
        }
        changed
    }

    fn changed(&mut self) {
        self.version += 1;
        self.encoded.clear();
    }

    /// What the other nodes are to be told by now.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<Appearance> {
        if self.told_at.is_some_and(|at| now.duration_since(at) < TELL_INTERVAL) {
            return Vec::new();
        }
        let untold = self.who.iter_mut().filter_map(|(who, entry)| {
            let age = now.duration_since(entry.said_at);
            std::mem::take(&mut entry.untold).then(|| Appearance { who: who.clone(), doing: entry.doing.clone(), age })
        });
        let news: Vec<_> = untold.collect();
        if !news.is_empty() {
            self.told_at = Some(now);
        }
        news
    }

    /// The list as a frame; encoded once per format and version.
    pub(crate) fn frame(&mut self, format: usize, encode: impl FnOnce(&[Present]) -> Vec<u8>) -> Arc<[u8]> {
        let there = self.who.iter().filter(|(_, entry)| !entry.doing.is_empty());
        let frame = self.encoded.entry(format).or_insert_with(|| {
            let list: Vec<_> = there.map(|(who, entry)| Present { who: who.clone(), doing: entry.doing.clone() }).collect();
            Arc::from(encode(&list))
        });
        Arc::clone(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PresenceLimits = PresenceLimits { entries_max: 2, ttl: Duration::from_secs(30) };

    /// Who is shown, as `who:doing`.
    fn shown(presence: &mut Presence) -> String {
        let mut text = String::new();
        presence.encoded.clear();
        presence.frame(0, |list| {
            text = list.iter().map(|one| format!("{}:{}", one.who, one.doing)).collect::<Vec<_>>().join(" ");
            Vec::new()
        });
        text
    }

    fn heard(who: &str, doing: &str, age_ms: u64) -> Heard {
        let age = Duration::from_millis(age_ms);
        Heard::Appeared(vec![Appearance { who: who.into(), doing: doing.into(), age }])
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_word_counts_wherever_it_was_said() {
        let now = Instant::now() + Duration::from_secs(60);
        let at = |ms: u64| now + Duration::from_millis(ms);
        let mut presence = Presence::new(LIMITS);
        assert_eq!(presence.say("a", "present", now), Ok(true));
        assert!(presence.hear(heard("a", "typing", 100), at(300)), "said later, on another node");
        assert!(!presence.hear(heard("a", "present", 300), at(301)), "said before that");
        assert_eq!(shown(&mut presence), "a:typing");
        assert!(presence.hear(heard("a", "", 0), at(400)));
        assert!(!presence.hear(heard("a", "typing", 200), at(500)), "they have left since");
        assert_eq!(shown(&mut presence), "");
        assert_eq!(presence.version, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn words_expire_by_the_time_they_were_said() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut presence = Presence::new(LIMITS);
        assert!(presence.hear(heard("a", "present", 20_000), now));
        assert!(!presence.hear(heard("b", "present", 30_000), now), "too old to be shown");
        assert!(!presence.expire(now + Duration::from_millis(9_999)));
        assert!(presence.expire(now + Duration::from_secs(10)));
        assert_eq!(shown(&mut presence), "");
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_bounded() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut presence = Presence::new(LIMITS);
        presence.say("a", "present", now).unwrap();
        presence.hear(heard("b", "present", 0), now);
        assert_eq!(presence.say("c", "present", now), Err(Full));
        assert!(!presence.hear(heard("d", "present", 0), now), "I5 bounded");
        assert_eq!(presence.say("a", "typing", now), Ok(true), "who is there may go on");
        for n in 0..9 {
            presence.say(&format!("left{n}"), "", now).unwrap();
        }
        assert_eq!(presence.who.len(), 4, "I5 bounded");
        assert_eq!(shown(&mut presence), "a:typing b:present");
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_told_what_was_said_here_and_not_too_often() {
        let now = Instant::now() + Duration::from_secs(60);
        let told = |news: Vec<Appearance>| news.into_iter().map(|one| one.who).collect::<Vec<_>>().join(" ");
        let mut presence = Presence::new(PresenceLimits { entries_max: 9, ..LIMITS });
        presence.say("a", "present", now).unwrap();
        presence.hear(heard("b", "present", 0), now);
        assert_eq!(told(presence.news(now)), "a");
        presence.say("c", "present", now).unwrap();
        presence.say("c", "typing", now).unwrap();
        assert_eq!(told(presence.news(now)), "");
        assert_eq!(told(presence.news(now + TELL_INTERVAL)), "c");
        presence.hear(Heard::Asked, now + TELL_INTERVAL);
        let news = presence.news(now + 2 * TELL_INTERVAL);
        assert_eq!(news[0].age, 2 * TELL_INTERVAL);
        assert_eq!(told(news), "a c", "each node answers for what was said on it");
    }
}
