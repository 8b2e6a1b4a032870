//! `docs/exit-codes.md` and the README contain every exit code.

use super::read;
use crate::exit::ExitStatus;

/// Returns the numbers in the first column of a document's tables.
fn numbers(text: &str) -> Vec<u8> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.filter_map(|cell| cell.trim_matches('`').parse().ok()).collect()
}

#[test]
fn every_code_is_documented_and_no_other() {
    let codes = ExitStatus::ALL.map(|(status, _)| status.code());
    assert_eq!(numbers(&read("docs/exit-codes.md")), codes);
    assert_eq!(numbers(&read("README.md")), codes);
}

#[test]
fn a_code_has_the_words_of_the_man_pages() {
    let text = read("docs/exit-codes.md");
    for (status, meaning) in ExitStatus::ALL {
        let row = format!("| {} | {meaning} |", status.code());
        assert!(text.contains(&row), "docs/exit-codes.md lacks {row}");
    }
}
