//! `docs/iam.md` has every statement of the policies, and every kind of warning.

use std::collections::BTreeSet;

use super::read;

/// The words in backquotes in the first column of the table under a heading.
fn first_column(document: &str, heading: &str) -> Vec<String> {
    let (_, rest) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = rest.split("\n## ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let words = cells.flat_map(|cell| cell.split([',', ' ', '`']).filter(|word| !word.is_empty()));
    words.map(str::to_owned).collect()
}

#[test]
fn every_statement_is_told() {
    let source = read("crates/provisioner/src/aws/iam_policy/table.rs");
    let sids: BTreeSet<String> = source
        .split("sid: \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert!(sids.len() > 20, "{sids:?}");
    let told = first_column(&read("docs/iam.md"), "What it allows");
    assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), sids);
    assert_eq!(told.len(), sids.len(), "one is told twice");
}

#[test]
fn every_kind_of_breadth_is_told() {
    let source = read("crates/provisioner/src/aws/iam_policy/warning.rs");
    let (_, rest) = source.split_once("pub enum Breadth {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let variants = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    // As serde's kebab-case has it.
    let kinds: BTreeSet<String> = variants
        .map(|variant| {
            let words = variant.char_indices().map(|(i, c)| {
                let dash = if i > 0 && c.is_ascii_uppercase() { "-" } else { "" };
                format!("{dash}{}", c.to_ascii_lowercase())
            });
            words.collect()
        })
        .collect();
    assert!(kinds.contains("worker-role"), "{kinds:?}");
    let told = first_column(&read("docs/iam.md"), "What breadth remains");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), kinds);
}
