//! For tests: a folder with one thing broken in it, in every way that a disk or a person can, looked at by a process of its own.
//!
//! `FANFOLD_DAMAGE_CASES` sets the number of random cases, `FANFOLD_SEED` replays them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics is a test that fails")]

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

/// What a process says that dies of damage: of an absurd length, or of a panic in the driver while it cleans up after one.
const ABORTS: [&str; 2] = ["memory allocation of", "panic in a destructor during cleanup"];

/// One thing broken.
#[derive(Debug, Clone)]
pub struct Case {
    /// In which file, from the folder on.
    pub file: PathBuf,
    harm: Harm,
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Deleted,
    CutTo(u64),
    Flipped { at: u64, bits: u8 },
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.file.display())?;
        match self.harm {
            Harm::Deleted => formatter.write_str("deleted"),
            Harm::CutTo(length) => write!(formatter, "cut to {length}"),
            Harm::Flipped { at, bits } => write!(formatter, "byte {at} ^ {bits:#x}"),
        }
    }
}

impl Case {
    /// A copy of the folder with this in it.
    pub fn copy_of(&self, dir: &Path) -> TempDir {
        let copy = copy(dir);
        let file = copy.path().join(&self.file);
        match self.harm {
            Harm::Deleted => std::fs::remove_file(file).unwrap(),
            Harm::CutTo(length) => cut(&file, length),
            Harm::Flipped { at, bits } => flip(&file, at, bits),
        }
        copy
    }
}

/// Each file deleted, emptied, halved, cut by one byte, and with its first, middle and last byte changed.
pub fn of_every_file(dir: &Path) -> Vec<Case> {
    let harms = |length: u64| {
        let places = BTreeSet::from([0, length / 2, length.saturating_sub(1)]);
        let cuts = places.clone().into_iter().map(Harm::CutTo);
        let flips = places.into_iter().filter(move |at| *at < length).map(|at| Harm::Flipped { at, bits: 0xff });
        [Harm::Deleted].into_iter().chain(cuts).chain(flips)
    };
    let cases = files(dir).into_iter().flat_map(|file| {
        let length = file.metadata().unwrap().len();
        let file = file.strip_prefix(dir).unwrap().to_path_buf();
        harms(length).map(move |harm| Case { file: file.clone(), harm })
    });
    cases.collect()
}

/// Bytes changed anywhere. Says the seed that replays them.
pub fn anywhere(dir: &Path, cases_default: usize) -> Vec<Case> {
    let cases = std::env::var("FANFOLD_DAMAGE_CASES").map_or(cases_default, |text| text.parse().unwrap());
    let seed = std::env::var("FANFOLD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("FANFOLD_SEED={seed} cases={cases}");
    let mut random = StdRng::seed_from_u64(seed);
    let files: Vec<PathBuf> = files(dir).into_iter().filter(|file| file.metadata().unwrap().len() > 0).collect();
    let one = |_| {
        let file = &files[random.random_range(0..files.len())];
        let at = random.random_range(0..file.metadata().unwrap().len());
        let file = file.strip_prefix(dir).unwrap().to_path_buf();
        Case { file, harm: Harm::Flipped { at, bits: random.random_range(1..=255) } }
    };
    (0..cases).map(one).collect()
}

/// What the test `child` of this binary says of a damaged folder, in a line `outcome …`; `None` where the process died of it, which is
/// loud, too. Panics where it fails in any other way.
pub fn outcome(what: &str, environment: &[(&str, &str)]) -> Option<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = out.lines().find_map(|line| line.strip_prefix("outcome "));
    assert!(said.is_some() || ABORTS.iter().any(|abort| err.contains(abort)), "{what}\n{out}\n{err}");
    said.map(str::to_owned)
}

/// All files below a folder, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// A copy of the folder as it is.
pub fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files(dir) {
        let to = copy.path().join(file.strip_prefix(dir).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    copy
}

/// Shortens a file.
pub fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip(path: &Path, at: u64, bits: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= bits;
    std::fs::write(path, bytes).unwrap();
}
