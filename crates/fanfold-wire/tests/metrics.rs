//! `docs/metrics.md` and the sources of the workspace name the same metrics.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Texts in quotes that begin with the prefix of our metrics.
fn names(source: &str) -> impl Iterator<Item = String> {
    let quoted = source.split('"').skip(1).step_by(2);
    let name = |text: &&str| text.starts_with("fanfold_") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    quoted.filter(name).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // A line at a time, so that an odd quote ends with its line.
            std::fs::read_to_string(&path).unwrap().lines().for_each(|line| found.extend(names(line)));
        }
    }
}

#[test]
fn the_page_has_the_metrics_of_the_code() {
    let mut coded = BTreeSet::new();
    for group in ["crates", "services"] {
        for member in std::fs::read_dir(Path::new(ROOT).join(group)).unwrap() {
            let sources_of = member.unwrap().path().join("src");
            if sources_of.is_dir() {
                sources(&sources_of, &mut coded);
            }
        }
    }
    assert!(coded.contains("fanfold_log_appends_total") && coded.len() > 20, "the sources were read: {coded:?}");
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> = rows.filter_map(|row| row.split(['`', '{']).next()).collect();
    let missing: Vec<_> = coded.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    let gone: Vec<_> = documented.iter().filter(|name| !coded.contains(**name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md has {gone:?}, the code has not");
}
