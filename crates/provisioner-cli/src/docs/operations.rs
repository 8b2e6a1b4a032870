//! `docs/operations.md` tells every reason and every note.

use std::fs;

use super::{read, root};

/// The names in `as_str` of a type. From the source: a list beside the type could forget one.
fn names(source: &str, of: &str) -> Vec<String> {
    let (_, rest) = source.split_once(&format!("impl {of} {{")).unwrap();
    let (_, rest) = rest.split_once("fn as_str").unwrap();
    let (body, _) = rest.split_once("\n    }\n").unwrap();
    let arms = body.lines().filter_map(|line| line.split_once("=> \""));
    arms.filter_map(|(_, name)| Some(name.split_once('"')?.0.to_owned())).collect()
}

#[test]
fn every_reason_and_note_is_explained() {
    let source =
        fs::read_to_string(root().join("crates/provisioner/src/engine/decide/plan.rs")).unwrap();
    let document = read("docs/operations.md");
    let (_, rest) = document.split_once("\n## Reasons\n").unwrap();
    let (reasons, notes) = rest.split_once("\n## Notes\n").unwrap();
    for (of, table) in [("ReasonKind", reasons), ("NoteKind", notes)] {
        let names = names(&source, of);
        assert!(names.len() >= 14, "{of}: {names:?}");
        for name in &names {
            assert!(table.contains(&format!("\n| `{name}` | ")), "{of} {name} is not explained");
        }
        let rows = table.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, names.len(), "{of}: a row too many, or one twice");
    }
}

/// What is withheld is what `run --once` ends with 4 for.
#[test]
fn what_a_note_withholds_is_told() {
    let source =
        fs::read_to_string(root().join("crates/provisioner/src/engine/decide/plan.rs")).unwrap();
    let (_, rest) = source.split_once("fn withholds").unwrap();
    let (withheld, _) = rest.split_once("=> true").unwrap();
    let (_, names) = source.split_once("impl NoteKind {").unwrap();
    let document = read("docs/operations.md");
    let (_, notes) = document.split_once("\n## Notes\n").unwrap();
    let mut told = 0;
    for arm in names.lines().filter(|line| line.contains("=> \"")) {
        let (variant, name) = arm.trim().split_once(" => ").unwrap();
        let name = name.trim_matches([',', '"']);
        let Some((_, row)) = notes.split_once(&format!("\n| `{name}` | ")) else { continue };
        let cell = row.split('|').nth(1).unwrap().trim();
        let withholds = withheld.split_whitespace().any(|word| word == variant);
        assert_eq!(cell, if withholds { "yes" } else { "" }, "{name}");
        told += usize::from(withholds);
    }
    assert!(told >= 10, "{told}");
}
