//! Which rows a query wants: by user, time and words. A list says where to look; the row decides.

use std::collections::BTreeSet;

use fanfold_fold::SessionId;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::port::{SessionPage, SessionQuery, SessionRow};

/// Words of a title, and of a query, that count: more of them find nothing more.
const TITLE_WORDS_MAX: usize = 32;
const SOUGHT_WORDS_MAX: usize = 8;

/// Characters of a word that count.
const WORD_CHARS_MAX: usize = 32;

/// Sessions that a word may lead to. One that leads to more is so common that walking through the list by activity fills a page soon.
pub(crate) const FOUND_MAX: usize = 1000;

/// Words by Unicode's rules (UAX 29), in small letters. Where a script has no spaces, each of its signs is a word.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words().map(|word| word.to_lowercase().chars().take(WORD_CHARS_MAX).collect())
}

/// The words by which a session is found: those of its title and of its id.
pub(crate) fn words_of(row: &SessionRow) -> BTreeSet<String> {
    let title = words(row.title.as_deref().unwrap_or_default()).take(TITLE_WORDS_MAX);
    title.chain(words(row.key.session.as_str())).collect()
}

/// A query that is made ready.
pub(crate) struct Wanted<'a> {
    pub(crate) query: &'a SessionQuery,
    /// Each must begin a word of the row. The longest first: it leads to the fewest.
    pub(crate) sought: Vec<String>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(query: &'a SessionQuery) -> Self {
        let mut sought = words(query.words.as_deref().unwrap_or_default()).take(SOUGHT_WORDS_MAX).collect::<Vec<_>>();
        sought.sort_by_key(|word| std::cmp::Reverse(word.len()));
        Self { query, sought }
    }

    pub(crate) fn fits(&self, row: &SessionRow) -> bool {
        let query = self.query;
        let in_front = |(at, session): &(u64, SessionId)| (row.active_at_ms, &row.key.session) < (*at, session);
        (query.user.is_none() || row.user == query.user)
            && query.before.as_ref().is_none_or(in_front)
            && query.since_ms.is_none_or(|since| row.active_at_ms >= since)
            && query.until_ms.is_none_or(|until| row.active_at_ms < until)
            && self.has_words(row)
    }

    fn has_words(&self, row: &SessionRow) -> bool {
        if self.sought.is_empty() {
            return true;
        }
        let words = words_of(row);
        self.sought.iter().all(|sought| words.iter().any(|word| word.starts_with(sought)))
    }

    /// The page that these rows make, which fit and are all there are.
    pub(crate) fn page(&self, mut rows: Vec<SessionRow>) -> SessionPage {
        rows.sort_by(|a, b| position(b).cmp(&position(a)));
        let is_more = rows.len() > self.query.rows_max;
        rows.truncate(self.query.rows_max);
        let next = rows.last().filter(|_| is_more).map(place);
        SessionPage { rows, next }
    }
}

fn position(row: &SessionRow) -> (u64, &SessionId) {
    (row.active_at_ms, &row.key.session)
}

/// Where a page that ends with this row goes on.
pub(crate) fn place(row: &SessionRow) -> (u64, SessionId) {
    (row.active_at_ms, row.key.session.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_people_see_them() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text}");
        check("", &[]);
        check(" … -- !", &[]);
        check("Trains to Ústí, by night", &["trains", "to", "ústí", "by", "night"]);
        check("read-only: don't", &["read", "only", "don't"]);
        check("電車", &["電", "車"]);
        check(&"x".repeat(99), &[&*"x".repeat(WORD_CHARS_MAX)]);
    }
}
