//! A database whose making was cut short: a kill at the very first start leaves one that the driver neither opens nor makes anew.

use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes of the driver's version marker, which it writes last.
const VERSION_BYTES: u64 = 4;

/// Removes a database that was never finished. Nothing was ever in it: it has no keyspace, and its marker is missing or cut.
/// One that another process is making at this moment is left alone.
pub fn remove_unfinished(store: &Path) -> io::Result<()> {
    let finished = std::fs::metadata(store.join("version")).is_ok_and(|marker| marker.len() >= VERSION_BYTES);
    let has_keyspaces = std::fs::read_dir(store.join("keyspaces")).is_ok_and(|mut keyspaces| keyspaces.next().is_some());
    if finished || has_keyspaces || !store.try_exists()? {
        return Ok(());
    }
    if let Ok(lock) = File::open(store.join("lock"))
        && lock.try_lock().is_err()
    {
        return Ok(());
    }
    tracing::warn!("removing a store whose making was cut short; nothing was ever in it");
    std::fs::remove_dir_all(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_never_was_is_removed() {
        let rows: [(&[&str], bool); 5] = [
            (&["lock", "0.jnl"], true),
            (&["lock", "keyspaces/"], true),
            (&["lock", "version"], false),
            (&["lock", "keyspaces/1/"], false),
            (&[], true),
        ];
        for (files, removed) in rows {
            let dir = tempfile::tempdir().unwrap();
            let store = dir.path().join("store");
            std::fs::create_dir(&store).unwrap();
            for file in files {
                match file.strip_suffix('/') {
                    Some(folder) => std::fs::create_dir_all(store.join(folder)).unwrap(),
                    None => std::fs::write(store.join(file), b"FJL\x03").unwrap(),
                }
            }
            remove_unfinished(&store).unwrap();
            assert_eq!(!store.exists(), removed, "{files:?}");
        }
    }
}
