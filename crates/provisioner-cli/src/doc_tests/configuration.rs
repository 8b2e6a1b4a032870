//! `docs/configuration.md` and `examples/provisioner.toml` contain every key.

use std::fmt::Write as _;
use std::fs;

use provisioner::internal::config::{Key, KeyKind, keys};

use super::{read, root};

const FILE: &str = "docs/configuration.md";
const START: &str = "<!-- Made from the code; see the end of this file. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

/// The variable that makes the test rewrite a stale file.
const BLESS: &str = "PROVISIONER_BLESS";

/// Returns the tables of all keys.
fn reference() -> String {
    let mut text = String::new();
    for key in keys() {
        let Key { path, kind, default, required, meaning } = &key;
        if !path.contains('.') || path == "worker-types.NAME" {
            if path != "worker-types" {
                write!(text, "\n### `[{path}]`\n\n{meaning}.\n").unwrap();
            }
            if path != "worker-defaults" && path != "worker-types" {
                text.push_str("\n| key | takes | default | meaning |\n|---|---|---|---|\n");
            }
            continue;
        }
        let section = if path.starts_with("worker-types.NAME.") {
            "worker-types.NAME."
        } else {
            path.split_inclusive('.').next().unwrap()
        };
        let name = path.strip_prefix(section).unwrap();
        let takes = match kind {
            KeyKind::OneOf(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            other => other.to_string(),
        };
        let default = match (default, required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("`{default}`"),
            (None, false) => String::new(),
        };
        writeln!(text, "| `{name}` | {takes} | {default} | {meaning} |").unwrap();
    }
    text
}

#[test]
fn the_reference_is_what_the_code_reads() {
    let file = read(FILE);
    let (before, rest) = file.split_once(START).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let made = format!("{}\n", reference());
    if there != made && std::env::var_os(BLESS).is_some() {
        fs::write(root().join(FILE), [before, START, &made, END, after].concat()).unwrap();
        return;
    }
    assert!(
        there == made,
        "{FILE} is stale: `{BLESS}=1 cargo test -p provisioner-cli doc_tests` rewrites it"
    );
}

#[test]
fn a_meaning_is_good_markdown() {
    for Key { path, meaning, .. } in keys() {
        assert!(!meaning.contains(['|', '\n', '<']) || meaning.contains('`'), "{path}: {meaning}");
        assert_eq!(meaning.matches('`').count() % 2, 0, "{path}: {meaning}");
    }
}

/// The sample contains every key once, with its default or as a comment.
#[test]
fn the_sample_has_every_key() {
    let sample = read("examples/provisioner.toml");
    // EC2's own fields are many, so the sample names their tables only.
    let ours = keys()
        .into_iter()
        .filter(|key| !key.path.contains("launch-specification.") && !key.path.contains("[]"));
    for Key { path, .. } in ours.filter(|key| key.path != "worker-types.NAME") {
        let name = path.rsplit('.').next().unwrap();
        let lines = sample.lines().map(|line| line.trim_start_matches("# "));
        let mut named = lines.filter(|line| {
            line.starts_with(&format!("{name} = ")) || line.starts_with(&format!("[{name}"))
        });
        assert!(named.next().is_some(), "{path} is not in the sample");
    }
    let spelled = keys();
    let fields = spelled.iter().filter_map(|key| {
        let field = key.path.split_once("launch-specification.")?.1;
        (!field.contains(['.', '['])).then_some(field)
    });
    for field in fields {
        assert!(sample.contains(field), "{field} is not in the sample");
    }
}

/// Every full key in a document exists.
#[test]
fn keys_that_documents_name_exist() {
    let keys = keys();
    let sections = ["provisioner", "limits", "aws", "queue", "server", "worker-defaults"];
    let mut named = 0;
    for file in super::documents() {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split('`').skip(1).step_by(2);
        for word in words {
            let Some((section, name)) = word.split_once('.') else { continue };
            let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
            // These are fields of the log.
            if word == "aws.operation" || word == "aws.request_id" {
                continue;
            }
            let is_file = name == "toml" || name == "rs";
            if !sections.contains(&section) || !name.chars().all(is_name) || is_file {
                continue;
            }
            let path = word.replace("worker-defaults.", "worker-types.NAME.");
            assert!(keys.iter().any(|key| key.path == path), "{}: {word}", file.display());
            named += 1;
        }
        for variable in text.split(|c: char| !c.is_ascii_uppercase() && c != '_') {
            let is_ours = variable.starts_with("PROVISIONER__") && variable != "PROVISIONER__";
            if is_ours && variable != "PROVISIONER__SECTION__KEY" {
                let known = variable
                    .replace("__LINUX__", "__NAME__")
                    .replace("__WORKER_DEFAULTS__", "__WORKER_TYPES__NAME__");
                assert!(super::is_a_key(&known), "{}: {variable}", file.display());
            }
        }
    }
    assert!(named > 20, "{named} keys are named");
}
