//! `docs/iam.md` explains every statement of the policies, and every kind of warning.

use std::collections::BTreeSet;

use provisioner::internal::aws::iam_policy::{PolicyWarningKind, statement_ids};

use super::read;

/// Returns the words in backquotes in the first column of the table under a heading.
fn first_column(document: &str, heading: &str) -> Vec<String> {
    let (_, rest) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = rest.split("\n## ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let words = cells.flat_map(|cell| cell.split([',', ' ', '`']).filter(|word| !word.is_empty()));
    words.map(str::to_owned).collect()
}

/// Fails unless the table under a heading explains exactly these names, each once.
#[track_caller]
fn assert_explained(heading: &str, names: impl IntoIterator<Item = &'static str>) {
    let document = read("docs/iam.md");
    let explained = first_column(&document, heading);
    let once: BTreeSet<&str> = explained.iter().map(String::as_str).collect();
    assert_eq!(once, names.into_iter().collect::<BTreeSet<_>>());
    assert_eq!(explained.len(), once.len(), "one is explained twice: {explained:?}");
}

#[test]
fn every_statement_is_explained() {
    assert_explained("What it allows", statement_ids());
}

#[test]
fn every_kind_of_warning_is_explained() {
    assert_explained("What breadth remains", PolicyWarningKind::ALL.map(PolicyWarningKind::as_str));
}
