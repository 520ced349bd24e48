//! Parts whose loss the driver would take for an interrupted making.

use std::io;
use std::path::{Path, PathBuf};

/// What a database that was finished once has lost of itself, if anything. Asked before it is opened: the driver makes a database that
/// isn't there, and takes a keyspace without its `current` for one whose making was interrupted, and deletes it with all its tables.
pub fn missing_part(database: &Path) -> io::Result<Option<PathBuf>> {
    let folder = database.join("keyspaces");
    let keyspaces = match std::fs::read_dir(&folder) {
        Ok(keyspaces) => keyspaces,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(folder)),
        Err(error) => return Err(error),
    };
    for keyspace in keyspaces {
        let current = keyspace?.path().join("current");
        if !current.try_exists()? {
            return Ok(Some(current));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_without_its_file_and_a_database_without_keyspaces_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let keyspaces = dir.path().join("keyspaces");
        assert_eq!(missing_part(dir.path()).unwrap(), Some(keyspaces.clone()));
        for name in ["1", "2"] {
            std::fs::create_dir_all(keyspaces.join(name)).unwrap();
            std::fs::write(keyspaces.join(name).join("current"), b"x").unwrap();
        }
        assert_eq!(missing_part(dir.path()).unwrap(), None);
        let current = keyspaces.join("2/current");
        std::fs::remove_file(&current).unwrap();
        assert_eq!(missing_part(dir.path()).unwrap(), Some(current));
    }
}
