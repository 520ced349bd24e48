//! The crates depend on each other only as ARCHITECTURE.md says, and a driver stays inside the crate that owns it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may name whom within the workspace.
const TABLE: [(&str, &[&str]); 13] = [
    ("fanfold-fold", &[]),
    ("fanfold-wire", &["fanfold-fold"]),
    ("fanfold-fjall", &[]),
    ("fanfold-ports", &[]),
    // For its servers of tests.
    ("fanfold-nats", &["fanfold-ports"]),
    ("fanfold-log", &["fanfold-fjall", "fanfold-fold", "fanfold-nats"]),
    ("fanfold-store", &["fanfold-fjall", "fanfold-fold"]),
    ("fanfold-runs", &["fanfold-fold", "fanfold-nats"]),
    ("fanfold-models", &["fanfold-fold"]),
    ("fanfold-session", &["fanfold-fold", "fanfold-log", "fanfold-store"]),
    ("fanfold-client", &["fanfold-fold", "fanfold-wire"]),
    (
        "fanfold",
        &[
            "fanfold-client",
            "fanfold-fold",
            "fanfold-log",
            "fanfold-models",
            "fanfold-nats",
            "fanfold-runs",
            "fanfold-session",
            "fanfold-store",
            "fanfold-wire",
        ],
    ),
    ("xtask", &["fanfold-ports"]),
];

/// Drivers and runtimes, with the only crates that may name them.
const OWNERS: [(&str, &[&str]); 5] = [
    ("async-nats", &["fanfold-nats", "fanfold-log", "fanfold-runs"]),
    ("fjall", &["fanfold-log", "fanfold-store"]),
    ("scylla", &["fanfold-store"]),
    ("ractor", &["fanfold-session"]),
    ("axum", &["fanfold"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--no-deps"]).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), names(package))).collect()
}

#[test]
fn crates_depend_on_each_other_as_the_table_says() {
    let found = dependencies();
    let table: BTreeMap<&str, &[&str]> = TABLE.into();
    for (package, dependencies) in &found {
        let allowed = table.get(package.as_str()).unwrap_or_else(|| panic!("{package} is not in the table"));
        let ours = dependencies.iter().filter(|name| found.contains_key(*name));
        for name in ours {
            assert!(allowed.contains(&name.as_str()), "{package} must not name {name}");
        }
    }
}

#[test]
fn drivers_stay_where_they_belong() {
    for (package, dependencies) in dependencies() {
        for (driver, owners) in OWNERS {
            assert!(!dependencies.contains(driver) || owners.contains(&package.as_str()), "{package} must not name {driver}");
        }
    }
    let fold = &dependencies()["fanfold-fold"];
    assert!(!fold.contains("tokio"), "the fold knows no runtime");
}
