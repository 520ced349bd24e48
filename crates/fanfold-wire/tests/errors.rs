//! `docs/errors.md` and [`ErrorCode`] say the same.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::collections::HashSet;

use fanfold_wire::{ErrorCode, Retry};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");

/// The rows under "The table", as the cells between the bars.
fn documented(document: &str) -> Vec<Vec<String>> {
    let (_, table) = document.split_once("## The table").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

fn coded(code: ErrorCode) -> Vec<String> {
    let row = code.row();
    vec![
        row.name.to_owned(),
        row.text.to_owned(),
        row.http.to_string(),
        format!("{:?}", row.grpc),
        row.close.to_string(),
        row.retry.name().to_owned(),
        row.outcome.name().to_owned(),
    ]
}

#[test]
fn the_document_has_the_rows_of_the_code() {
    let documented = documented(&std::fs::read_to_string(DOCUMENT).unwrap());
    let coded: Vec<_> = ErrorCode::ALL.iter().copied().map(coded).collect();
    for row in &coded {
        assert!(documented.contains(row), "docs/errors.md lacks {row:?}");
    }
    for row in &documented {
        assert!(coded.contains(row), "docs/errors.md has {row:?}, the code has not");
    }
    assert_eq!(documented, coded, "the order");
}

#[test]
fn names_are_unique_and_found() {
    let names: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), ErrorCode::ALL.len());
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
    }
    assert_eq!(ErrorCode::from_name("no_such_error"), None);
}

#[test]
fn the_range_of_a_close_code_says_whether_to_come_back() {
    for code in ErrorCode::ALL {
        let row = code.row();
        let range = match row.close {
            4000..=4499 => "come back",
            4500..=4999 => "stay away",
            _ => "none",
        };
        // A run that hasn't started or isn't next is a matter of the command, not of the connection.
        let of_a_command = matches!(code, ErrorCode::RunNotStarted | ErrorCode::RunNotNext);
        let expected = match row.retry {
            Retry::Later | Retry::WithToken | Retry::Resume if !of_a_command => "come back",
            Retry::No | Retry::Later | Retry::WithToken | Retry::Resume => "stay away",
        };
        assert_eq!(range, expected, "{code:?}");
    }
}
