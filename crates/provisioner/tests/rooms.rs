//! The rooms of the library are held to the table "Rooms" in `ARCHITECTURE.md`: a room uses only the rooms
//! that its row names, and a row names only rooms above it, so that there is no circle.
//!
//! What counts are the paths that begin with `crate::`, and those with enough `super::` to leave the room,
//! in code that is not for tests. The scanner relies on rustfmt: an item ends at the line that closes it at
//! its own indentation.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Per room, the rooms that it may use.
type Table = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_use_only_the_rooms_that_the_architecture_allows() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = fs::read_to_string(crate_dir.join("../../ARCHITECTURE.md")).unwrap();
    let mut problems = Vec::new();
    let table = read_table(&architecture, &mut problems);
    let mut seen = BTreeSet::new();
    for (path, text) in production_files(&crate_dir.join("src")) {
        let path = path.strip_prefix(crate_dir).unwrap();
        let modules = modules_of(path);
        let Some(room) = modules.first() else { continue };
        // It only hands on what the rooms hold.
        if room == "internal" {
            continue;
        }
        seen.insert(room.clone());
        let Some(allowed) = table.get(room) else {
            problems.push(format!("{}: the room `{room}` is not in the table", path.display()));
            continue;
        };
        for (line, used) in rooms_used(&text, modules.len()) {
            let place = format!("{}:{line}", path.display());
            if !table.contains_key(&used) {
                problems.push(format!("{place}: `crate::{used}` is not a room"));
            } else if used != *room && !allowed.contains(&used) {
                problems.push(format!("{place}: `{room}` may not use `{used}`"));
            }
        }
    }
    let gone = table.keys().filter(|room| !seen.contains(*room));
    problems.extend(gone.map(|room| format!("ARCHITECTURE.md: there is no room `{room}`")));
    assert!(
        problems.is_empty(),
        "the table \"Rooms\" in ARCHITECTURE.md does not hold:\n{}",
        problems.join("\n")
    );
}

/// Reads the rows `| room | what it is | rooms it may use |` of the section "Rooms".
fn read_table(architecture: &str, problems: &mut Vec<String>) -> Table {
    let section = architecture.split("\n## ").find(|section| section.starts_with("Rooms\n"));
    let mut table = Table::new();
    for row in section.expect("a section \"Rooms\"").lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let room = cells[1].trim_matches('`').to_owned();
        let allowed: BTreeSet<_> =
            cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        for used in allowed.iter().filter(|used| !table.contains_key(*used)) {
            problems.push(format!("ARCHITECTURE.md: `{used}` is not above `{room}`"));
        }
        table.insert(room, allowed);
    }
    assert!(!table.is_empty(), "the section \"Rooms\" has a table");
    table
}

/// Returns every file below `src` with its text, without files and items that are for tests only.
fn production_files(src: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut left = vec![src.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    let mut for_tests = BTreeSet::new();
    for (path, text) in &mut files {
        let (code, modules) = without_tests(text);
        *text = code;
        let beside =
            if path.ends_with("lib.rs") { src.to_owned() } else { path.with_extension("") };
        for_tests.extend(modules.iter().map(|module| beside.join(module)));
    }
    files.retain(|(path, _)| {
        let module = path.with_extension("");
        !module.ancestors().any(|module| for_tests.contains(module))
    });
    files.sort();
    files
}

/// Blanks the items under `#[cfg(test)]`, and returns the names of those that are modules in their own file.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut modules = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            let indentation = line.len() - line.trim_start().len();
            code.push('\n');
            for line in lines.by_ref() {
                code.push('\n');
                let item = line.trim().strip_suffix(';');
                if let Some((_, module)) = item.and_then(|item| item.split_once("mod ")) {
                    modules.push(module.to_owned());
                }
                // An item of several lines has the others further in.
                let outermost = line.get(indentation..).is_some_and(|rest| !rest.starts_with(' '));
                if outermost && line.ends_with([';', '}']) {
                    break;
                }
            }
        } else {
            code.push_str(line);
            code.push('\n');
        }
    }
    (code, modules)
}

/// Returns the modules from the root to the file: `src/queue/source.rs` is `["queue", "source"]`.
fn modules_of(path: &Path) -> Vec<String> {
    let module = path.with_extension("");
    let parts = module.iter().skip(1).map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "lib").collect()
}

/// Returns the rooms that paths in `code` name, with their lines, in a file `depth` modules below the root.
fn rooms_used(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        let from_root = line.match_indices("crate::").map(|(start, prefix)| start + prefix.len());
        let up = "super::".repeat(depth);
        let from_here = line.match_indices(&*up).map(|(start, prefix)| start + prefix.len());
        for start in from_root.chain(from_here) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let name = line[start..].split(end).next().unwrap_or_default();
            used.push((at + 1, name.to_owned()));
        }
    }
    used
}

#[test]
fn the_scanner_sees_paths_and_leaves_tests_and_comments_out() {
    let text = "\
use crate::domain::ids;
// use crate::daemon;
#[cfg(test)]
mod tests {
    use crate::config;
}
#[cfg(test)]
mod more;

fn f() -> crate::status::Status {
    super::engine::g()
}
";
    let (code, modules) = without_tests(text);
    assert_eq!(modules, ["more"]);
    let used = |depth| -> Vec<_> {
        rooms_used(&code, depth).into_iter().map(|(line, room)| format!("{line} {room}")).collect()
    };
    assert_eq!(used(1), ["1 domain", "10 status", "11 engine"]);
    assert_eq!(used(2), ["1 domain", "10 status"]);
}

#[test]
fn a_row_names_only_rooms_above_it() {
    let mut problems = Vec::new();
    let text = "# A\n\n## Rooms\n\n| room | what | uses |\n|---|---|---|\n| `a` | x | – |\n| `b` | x | `a`, `c` |\n| `c` | x | `b` |\n\n## End\n";
    let table = read_table(text, &mut problems);
    assert_eq!(table.len(), 3);
    assert_eq!(problems, ["ARCHITECTURE.md: `c` is not above `b`"]);
}
