//! Takes off the disk what was removed.
//!
//! fjall lets go of a journal when it has grown to its size and everything in it is in tables, of a removed value when the tables that
//! have it are merged, and of a large one when enough of its file is removed. Segments are only ever removed with their session, so
//! their files are rewritten however little is gone of them. Snapshots come and go, and rewriting their files each time would be most of
//! what the store does: here they are written anew, all of them.

use fanfold_fjall::filler;
use fjall::Keyspace;

use super::EmbeddedStore;
use super::disk::Disk;
use super::layout::FILLER_KEY;
use super::writer::Durable;
use crate::port::StoreError;
use crate::stored::unavailable;

/// Bytes of snapshots that are written anew before other writes get their turn.
const STEP_BYTES: usize = 4 << 20;

impl EmbeddedStore {
    /// What was removed before this is in no file after it. Writes 64 MiB, all snapshots, and what stands beside removed segments; other
    /// calls go on meanwhile.
    pub async fn compact(&self) -> std::io::Result<()> {
        let mut after = Some(Vec::new());
        while let Some(from) = after {
            let step = self.writer.write(0, Durable::Written, move |disk: &Disk| disk.write_anew(from)).await;
            after = step.map_err(std::io::Error::other)?;
        }
        self.call(Disk::compact).await.map_err(std::io::Error::other)
    }
}

impl Disk {
    /// Writes snapshots from this key on once more. Says where the next step begins.
    fn write_anew(&self, from: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let mut batch = self.db.batch();
        let mut bytes = 0;
        for entry in self.snapshots.range(from..) {
            let (key, value) = entry.into_inner().map_err(unavailable)?;
            if bytes >= STEP_BYTES {
                batch.commit().map_err(unavailable)?;
                return Ok(Some(key.to_vec()));
            }
            bytes += value.len();
            batch.insert(&self.snapshots, key, value);
        }
        batch.commit().map_err(unavailable)?;
        Ok(None)
    }

    fn compact(&self) -> Result<(), StoreError> {
        let keyspaces = [&self.snapshots, &self.segments, &self.rows, &self.listing, &self.parking];
        let compact = || -> fjall::Result<()> {
            filler().try_for_each(|chunk| self.parking.insert(FILLER_KEY, chunk))?;
            // The first closes the journal, the others have what is in it, and was written meanwhile, in tables.
            self.parking.rotate_memtable_and_wait()?;
            self.parking.remove(FILLER_KEY)?;
            keyspaces.iter().try_for_each(|keyspace| keyspace.rotate_memtable_and_wait())?;
            keyspaces.iter().try_for_each(|keyspace| Keyspace::major_compact(keyspace))?;
            // Tables go with the next look at who still reads them.
            self.parking.remove(FILLER_KEY)?;
            self.parking.rotate_memtable_and_wait()
        };
        compact().map_err(unavailable)?;
        tracing::info!(journals = self.db.journal_count(), "store compacted");
        Ok(())
    }
}
