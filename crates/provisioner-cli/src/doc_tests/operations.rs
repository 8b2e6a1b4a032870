//! `docs/operations.md` explains every reason and every note, from the tables that the programs use.

use provisioner::internal::engine::{NoteKind, ReasonKind};

use super::read;

/// The sections "Reasons" and "Notes" of the document.
fn tables() -> (String, String) {
    let document = read("docs/operations.md");
    let (_, rest) = document.split_once("\n## Reasons\n").unwrap();
    let (reasons, notes) = rest.split_once("\n## Notes\n").unwrap();
    (reasons.to_owned(), notes.to_owned())
}

/// The cells of every row, in order.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_reason_is_explained() {
    let (reasons, _) = tables();
    let explained: Vec<_> = rows(&reasons).iter().map(|cells| cells[0].to_owned()).collect();
    let reasons = ReasonKind::ALL.iter().map(|kind| format!("`{kind}`"));
    assert_eq!(explained, reasons.collect::<Vec<_>>());
}

/// A note that withholds something makes `run --once` end with 4, so the document says which do.
#[test]
fn every_note_is_explained_with_what_it_withholds() {
    let (_, notes) = tables();
    let explained: Vec<_> =
        rows(&notes).iter().map(|cells| (cells[0].to_owned(), cells[2].to_owned())).collect();
    let notes = NoteKind::ALL.iter().map(|kind| {
        let withholds = if kind.withholds() { "yes" } else { "" };
        (format!("`{kind}`"), withholds.to_owned())
    });
    assert_eq!(explained, notes.collect::<Vec<_>>());
}
