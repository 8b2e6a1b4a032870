//! The policy of a program contains every call that the program makes, and nothing else.
//!
//! The test reads the source as text: which functions of `aws/` make which calls of the SDK, which other
//! functions reach them, and which program's files call those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Project;
use crate::iam_policy::{actions, full_configuration, policy};

/// The SDK's clients, as `aws::Client` names them, and their services.
const CLIENTS: [(&str, &str); 5] =
    [("ec2", "ec2"), ("ec2_launch", "ec2"), ("iam", "iam"), ("ssm", "ssm"), ("sts", "sts")];

/// The further actions that AWS checks for a call (Service Authorization Reference, "Dependent
/// actions"; IAM User Guide, "Tagging IAM resources").
const CHECKED_TOO: &[(&str, &[&str])] = &[
    ("ec2:RequestSpotInstances", &["ec2:CreateTags", "iam:PassRole"]),
    ("ec2:CreateKeyPair", &["ec2:CreateTags"]),
    ("ec2:ImportKeyPair", &["ec2:CreateTags"]),
    ("iam:CreateRole", &["iam:TagRole"]),
    ("iam:CreateInstanceProfile", &["iam:TagInstanceProfile"]),
    ("iam:AddRoleToInstanceProfile", &["iam:PassRole"]),
];

/// Returns the Rust files under a directory, without tests.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if is_tests {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns a file's code on one line, without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file");
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let joined = lines.collect::<Vec<_>>().join(" ");
    // A chain of calls goes over several lines.
    joined.replace(" .", ".")
}

/// Returns the functions in some code, each with its body.
fn functions(code: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name = word(&code[at + 3..]);
        let Some(start) = code[at..].find('{').map(|start| at + start) else { continue };
        let mut depth = 0_usize;
        let end = code[start..].char_indices().find_map(|(i, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(start + i)
        });
        if let (false, Some(end)) = (name.is_empty(), end) {
            found.push((name, &code[start..end]));
        }
    }
    found
}

/// Returns the identifier at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Returns the methods that are called on a variable or field of this name.
fn methods<'c>(code: &'c str, on: &str) -> BTreeSet<&'c str> {
    let dotted = format!("{on}.");
    let starts = code.match_indices(&dotted).filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
    });
    starts
        .map(|(at, _)| &code[at + dotted.len()..])
        .filter(|rest| rest[word(rest).len()..].starts_with('('))
        .map(word)
        .collect()
}

/// Returns the functions that are called by their bare names.
fn bare_calls(code: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices('(')
        .filter_map(|(at, _)| {
            let before = &code[..at];
            let start = before.rfind(|c: char| !is_word(c)).map_or(0, |at| at + 1);
            let method = before[..start].ends_with('.');
            (!method && start < at).then_some(&before[start..])
        })
        .collect()
}

/// Spells a method (`describe_instances`) as the API does (`DescribeInstances`).
fn camel(method: &str) -> String {
    let words = method.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect()
}

/// The calls in the source.
struct Source {
    /// The API calls that each function of `aws/` makes itself.
    makes: BTreeMap<String, BTreeSet<String>>,
    /// The functions of `aws/` that each function of `aws/` calls.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// The functions of `aws/` that each program calls.
    roots: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Source {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
        let aws = root.join("provisioner/src/aws");
        let adapters: Vec<String> = files(&aws).iter().map(|path| code(path)).collect();
        let all: Vec<(&str, &str)> = adapters.iter().flat_map(|code| functions(code)).collect();
        let names: BTreeSet<&str> = all.iter().map(|(name, _)| *name).collect();
        let known = |found: &str| names.contains(found).then(|| found.to_owned());

        let mut makes = BTreeMap::new();
        let mut calls = BTreeMap::new();
        for (name, body) in &all {
            let made: &mut BTreeSet<String> = makes.entry((*name).to_owned()).or_default();
            for (client, service) in CLIENTS {
                let on_client = methods(body, client);
                let operations = on_client.iter().filter(|method| **method != "config");
                made.extend(operations.map(|method| format!("{service}:{}", camel(method))));
            }
            let called: &mut BTreeSet<String> = calls.entry((*name).to_owned()).or_default();
            for on in ["self", "client"] {
                called.extend(methods(body, on).into_iter().filter_map(known));
            }
            called.extend(bare_calls(body).into_iter().filter_map(known));
        }

        let mut roots: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for path in files(&root).into_iter().filter(|path| !path.starts_with(&aws)) {
            let shown = path.display().to_string();
            let shown = shown.rsplit("/crates/").next().expect("a path").to_owned();
            if shown.starts_with("provisioner/tests") || shown.starts_with("provisioner/benches") {
                continue;
            }
            let program = ["setup", "cleanup"].into_iter().find(|program| shown.contains(program));
            let code = code(&path);
            let called = methods(&code, "client").into_iter().filter_map(known);
            roots.entry(program.unwrap_or("run")).or_default().extend(called);
        }
        Self { makes, calls, roots }
    }

    /// Returns the API calls that a program makes.
    fn api_calls(&self, program: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = self.roots[program].iter().collect();
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                next.extend(&self.calls[name]);
            }
        }
        reached.into_iter().flat_map(|name| self.makes[name].iter().cloned()).collect()
    }
}

/// Returns all API calls in the source (`ec2:DescribeInstances`).
pub(crate) fn in_the_source() -> BTreeSet<String> {
    Source::read().makes.into_values().flatten().collect()
}

/// No call escapes because it is written in an unusual way.
#[test]
fn every_operation_that_errors_name_is_found_in_the_source() {
    let found = in_the_source();
    let found: BTreeSet<&str> =
        found.iter().filter_map(|call| Some(call.split_once(':')?.1)).collect();
    let aws = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/provisioner/src/aws");
    let mut named = BTreeSet::new();
    for path in files(&aws) {
        let code = code(&path);
        for start in
            ["Pages::of(\"", "Error::new( \"", "Error::new(\"", "const OPERATION: &str = \""]
        {
            named.extend(code.split(start).skip(1).map(|rest| word(rest).to_owned()));
        }
    }
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    assert!(named.len() > 30, "{named:?}");
    assert_eq!(named.difference(&found).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn every_call_is_in_the_policy_and_nothing_else() {
    let source = Source::read();
    let project = Project::set_up();
    full_configuration(&project);
    for (program, args) in
        [("run", &[][..]), ("setup", &["--with-worker-profile"]), ("cleanup", &[])]
    {
        let mut called = source.api_calls(program);
        for (call, too) in CHECKED_TOO {
            if called.contains(*call) {
                called.extend(too.iter().map(|action| (*action).to_owned()));
            }
        }
        assert!(called.len() > 10, "{program}: {called:?}");
        let allowed: BTreeSet<String> = actions(&policy(&project, program, args))
            .into_iter()
            .map(|(action, _)| action)
            .collect();
        let missing: Vec<_> = called.difference(&allowed).collect();
        let idle: Vec<_> = allowed.difference(&called).collect();
        assert!(
            missing.is_empty() && idle.is_empty(),
            "`iam-policy --for {program}` lacks {missing:?}, and nothing calls {idle:?}: see \
             crates/provisioner/src/aws/iam_policy/table.rs"
        );
    }
}
