//! The words by which sessions are found. That a session once had a word is a fact that stays true; its row says whether it still has it.

use std::collections::BTreeSet;

use bytes::Bytes;
use fanfold_fold::{SessionId, SessionKey};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::ScyllaStore;
use super::call::Call;
use super::erase::for_good;
use super::index::{Fact, list};
use crate::port::{SessionRow, StoreError};
use crate::stored::key::session_key;
use crate::stored::row::Stored;
use crate::stored::wanted::{FOUND_MAX, Wanted, words_of};

/// Partitions that a tenant's words of one beginning are spread over. A user has so few that one will do.
const TENANT_PARTS: i32 = 16;

/// Statements at one time for one session.
const AT_ONCE: usize = 16;

/// What follows every word that begins like another one.
const LAST: char = char::MAX;

/// A row of the table: the list, the first letter, the part and the word.
type Place = (Uuid, String, i32, String);

/// Where a row's words stand.
fn places(row: &SessionRow) -> BTreeSet<Place> {
    let lists = [Some(None), row.user.as_deref().map(Some)];
    let words = words_of(row);
    let of_list = |user: Option<&str>| {
        let part = user.map_or_else(|| part(&row.key), |_| 0);
        let place = move |word: &String| (list(user), head(word), part, word.clone());
        words.iter().map(place).collect::<Vec<_>>()
    };
    lists.into_iter().flatten().flat_map(of_list).collect()
}

fn part(session: &SessionKey) -> i32 {
    (crc32c::crc32c(&session_key(session)) % TENANT_PARTS as u32) as i32
}

fn head(word: &str) -> String {
    word.chars().take(1).collect()
}

/// That all words of this row are stored.
fn fact(row: &SessionRow) -> Fact {
    let named = format!("{:?} {:?}", row.user, row.title);
    Fact::Named(row.key.clone(), Uuid::new_v5(&Uuid::NAMESPACE_OID, named.as_bytes()))
}

impl ScyllaStore {
    /// After the row: a row without its words isn't found by them until it is put again, but words without a row would outlive the
    /// erasing of their session.
    pub(crate) async fn put_words(&self, call: Call<'_>, row: &SessionRow) -> Result<(), StoreError> {
        let fact = fact(row);
        if !self.facts.is_new(&fact) {
            return Ok(());
        }
        let (tenant, session) = (row.key.tenant.as_str(), row.key.session.as_str());
        let put = async |(list, head, part, word): Place| {
            call.execute(&self.statements.put_word, (tenant, list, head, part, word, session)).await
        };
        stream::iter(places(row)).map(put).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.facts.learn(vec![fact]);
        Ok(())
    }

    /// Of a session that was erased: nobody finds a word by its row once that is gone.
    pub(crate) async fn drop_words(&self, call: Call<'_>, row: &SessionRow) -> Result<(), StoreError> {
        let (tenant, session) = (row.key.tenant.as_str(), row.key.session.as_str());
        let drop = async |(list, head, part, word): Place| {
            call.execute(&self.statements.drop_word, (for_good(), tenant, list, head, part, word, session)).await
        };
        stream::iter(places(row)).map(drop).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.facts.forget(&fact(row));
        Ok(())
    }

    /// Those of every row that the session ever had. To be called before the rows themselves are dropped: they say which words.
    pub(crate) async fn drop_all_words(&self, call: Call<'_>, session: &SessionKey) -> Result<(), StoreError> {
        let ids = (session.tenant.as_str(), session.session.as_str());
        let mut pages = call.pages::<(Option<Bytes>,)>(&self.statements.row_versions, ids)?;
        while let Some(page) = pages.next().await? {
            // A session's rows differ in activity, seldom in their words.
            let mut rows = page
                .into_iter()
                .filter_map(|(content,)| SessionRow::decode(&session_key(session), &content?).ok())
                .collect::<Vec<_>>();
            rows.dedup_by(|a, b| (&a.user, &a.title) == (&b.user, &b.title));
            for row in rows {
                self.drop_words(call, &row).await?;
            }
        }
        Ok(())
    }

    /// Sessions that may have all words that are sought; `None` if none is sought, or each of them leads to too many.
    pub(crate) async fn find(&self, call: Call<'_>, wanted: &Wanted<'_>) -> Result<Option<BTreeSet<SessionId>>, StoreError> {
        let query = wanted.query;
        let list = list(query.user.as_deref());
        let parts = if query.user.is_some() { 1 } else { TENANT_PARTS };
        for word in &wanted.sought {
            let limit = FOUND_MAX as i32 + 1;
            let (head, end) = (head(word), format!("{word}{LAST}"));
            let of_part = async |part: i32| {
                let values = (query.tenant.as_str(), list, &head, part, word, &end, limit);
                call.rows::<(String,)>(&self.statements.words, values).await
            };
            let found = try_join_all((0..parts).map(of_part)).await?;
            if found.iter().map(Vec::len).sum::<usize>() <= FOUND_MAX {
                let ids = found.into_iter().flatten().filter_map(|(session,)| SessionId::new(&session).ok());
                return Ok(Some(ids.collect()));
            }
        }
        Ok(None)
    }
}
