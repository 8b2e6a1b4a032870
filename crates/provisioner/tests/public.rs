//! Holds what the crate's root exports against a list: a change of the public interface is seen in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every name that the root exports, in order.
const EXPORTED: &str = include_str!("public.txt");

#[test]
fn the_root_exports_what_is_listed_and_nothing_else() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = fs::read_to_string(crate_dir.join("src/lib.rs")).unwrap();
    let code: String = root.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut exported = BTreeSet::new();
    for statement in code.split("pub use ").skip(1) {
        let (tree, _) = statement.split_once(';').unwrap();
        let names = match tree.split_once('{') {
            Some((_, names)) => names.trim_end_matches('}'),
            None => tree.rsplit("::").next().unwrap(),
        };
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.rsplit(" as ").next().unwrap();
            assert!(exported.insert(name.to_owned()), "`{name}` is exported twice");
        }
    }
    let listed: BTreeSet<String> = EXPORTED.lines().map(str::to_owned).collect();
    let missing: Vec<_> = listed.difference(&exported).collect();
    let new: Vec<_> = exported.difference(&listed).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "tests/public.txt lists {missing:?}, which src/lib.rs does not export, and lacks {new:?}"
    );
    let public: Vec<_> = code.split("pub mod ").skip(1).collect();
    assert!(
        public.len() == 1 && public[0].starts_with("internal;"),
        "the rooms are private; only `internal` is public, and hidden"
    );
}
