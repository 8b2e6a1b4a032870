//! Scenarios that a person can read, with the expected actions of the provisioner.
//!
//! `PROVISIONER_BLESS=1` rewrites the expectations.

use std::fs;
use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(here).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = files.filter(|path| path.extension().unwrap() == "txt").collect();
    scripts.sort();
    scripts
}

#[test]
fn every_scenario_has_its_expected_output() {
    let bless = std::env::var_os("PROVISIONER_BLESS").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 20, "only {} scenarios", scripts.len());
    let mut differ = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).unwrap();
        let output = provisioner_testkit::script::play(&script)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!output.contains("VIOLATION"), "{}:\n{output}", path.display());
        let expected = path.with_extension("out");
        if bless {
            fs::write(&expected, &output).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != output {
            differ.push(format!("{}:\n{output}", path.display()));
        }
    }
    assert!(
        differ.is_empty(),
        "{} scenarios go otherwise; if that is meant, PROVISIONER_BLESS=1 rewrites them\n{}",
        differ.len(),
        differ.join("\n")
    );
}
