//! Parking. Tries are rows of a generation; a success begins the next one, so that nothing is counted down or deleted.

use std::time::Duration;

use bytes::Bytes;
use fanfold_fold::SessionKey;
use uuid::Uuid;

use super::ScyllaStore;
use super::call::Call;
use super::index::{BUCKETS, bucket, session_of};
use crate::port::{Begun, HYDRATION_SIGN, HYDRATION_SILENCE_MAX, Parked, StoreError};
use crate::stored::key::parked_key;
use crate::stored::row::{DamagedRow, Stored};
use crate::stored::tries::failed;
use crate::stored::{damaged, unavailable};

impl ScyllaStore {
    pub(crate) async fn begin_attempt(&self, session: &SessionKey, now_ms: u64) -> Result<Begun, StoreError> {
        let call = self.cql.call();
        let (parked, attempts) = tokio::join!(self.parked_row(call, session), self.attempts(call, session));
        if let Some(parked) = parked? {
            return Ok(Begun::Parked(parked));
        }
        let (generation, tries) = attempts?;
        // However often a store that is slow is asked again: some rows a minute.
        let said_lately = |at| now_ms.saturating_sub(at) < ms(HYDRATION_SIGN) / 2;
        if !self.process.last_of(&tries).is_some_and(said_lately) {
            self.put_attempt(call, session, generation, self.process.begins(now_ms)).await?;
        }
        Ok(Begun::Attempt(self.process.count(&tries, now_ms.saturating_sub(ms(HYDRATION_SILENCE_MAX)))))
    }

    pub(crate) async fn fail_attempt(&self, session: &SessionKey, now_ms: u64) -> Result<(), StoreError> {
        let call = self.cql.call();
        let (generation, _) = self.attempts(call, session).await?;
        self.put_attempt(call, session, generation, failed(now_ms)).await
    }

    pub(crate) async fn clear_attempts(&self, call: Call<'_>, session: &SessionKey) -> Result<(), StoreError> {
        let (generation, tries) = self.attempts(call, session).await?;
        if tries.is_empty() { Ok(()) } else { self.put_attempt(call, session, generation.saturating_add(1), Uuid::nil()).await }
    }

    /// The newest generation, and the tries it has.
    async fn attempts(&self, call: Call<'_>, session: &SessionKey) -> Result<(i32, Vec<Uuid>), StoreError> {
        let ids = (session.tenant.as_str(), session.session.as_str());
        let rows: Vec<(i32, Uuid)> = call.rows(&self.statements.attempts, ids).await?;
        let newest = rows.first().map_or(0, |(generation, _)| *generation);
        let tries = rows.into_iter().filter(|(generation, attempt)| *generation == newest && !attempt.is_nil());
        Ok((newest, tries.map(|(_, attempt)| attempt).collect()))
    }

    async fn put_attempt(&self, call: Call<'_>, session: &SessionKey, generation: i32, attempt: Uuid) -> Result<(), StoreError> {
        let values = (session.tenant.as_str(), session.session.as_str(), generation, attempt);
        call.execute(&self.statements.put_attempt, values).await
    }

    pub(crate) async fn put_parked(&self, parked: &Parked) -> Result<(), StoreError> {
        let session = &parked.session;
        let content = parked.encode(&parked_key(session)).map_err(unavailable)?;
        let values = (bucket(session), session.tenant.as_str(), session.session.as_str(), content);
        self.cql.call().execute(&self.statements.park, values).await
    }

    pub(crate) async fn drop_parked(&self, session: &SessionKey) -> Result<bool, StoreError> {
        let call = self.cql.call();
        let ids = (bucket(session), session.tenant.as_str(), session.session.as_str());
        let was_parked = call.row::<(Option<Bytes>,)>(&self.statements.parked_one, ids).await?.is_some();
        // The count first: parked without one is better than free with one.
        self.clear_attempts(call, session).await?;
        if was_parked {
            call.execute(&self.statements.unpark, ids).await?;
        }
        Ok(was_parked)
    }

    async fn parked_row(&self, call: Call<'_>, session: &SessionKey) -> Result<Option<Parked>, StoreError> {
        let ids = (bucket(session), session.tenant.as_str(), session.session.as_str());
        let row: Option<(Option<Bytes>,)> = call.row(&self.statements.parked_one, ids).await?;
        let Some((content,)) = row else { return Ok(None) };
        Parked::decode(&parked_key(session), &content.unwrap_or_default()).map(Some).map_err(|error: DamagedRow| {
            damaged("parked");
            unavailable(error)
        })
    }

    pub(crate) async fn parked_page(&self, after: Option<&SessionKey>, rows_max: usize) -> Result<Vec<Parked>, StoreError> {
        let call = self.cql.call();
        let mut found = Vec::new();
        for bucket in after.map_or(0, bucket)..BUCKETS {
            let after = after.filter(|after| self::bucket(after) == bucket);
            let (tenant, session) = after.map_or(("", ""), |after| (after.tenant.as_str(), after.session.as_str()));
            let mut pages = call.pages::<(String, String, Option<Bytes>)>(&self.statements.parked, (bucket, tenant, session))?;
            while let Some(page) = pages.next().await? {
                for (tenant, session, content) in page {
                    if found.len() >= rows_max {
                        return Ok(found);
                    }
                    let Some(session) = session_of(&tenant, &session) else { continue };
                    // Parked it is, even where nobody can say why.
                    let parked = Parked::decode(&parked_key(&session), &content.unwrap_or_default());
                    let unknown =
                        |_: DamagedRow| Parked { session, attempts: 0, reason: "the row is damaged".into(), parked_at_ms: 0 };
                    found.push(parked.unwrap_or_else(unknown));
                }
            }
        }
        Ok(found)
    }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
