//! The alert rules and the dashboard use metrics, labels and notes that exist, and Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{read, root};

const ALERTS: &str = "packaging/prometheus/alerts.yml";
const DASHBOARD: &str = "packaging/grafana/provisioner.json";

/// Runs `promtool` in `packaging/prometheus`, and returns what it finds wrong, or `None` where it is not installed.
pub(crate) fn promtool(args: &[&str], input: &str) -> Option<Result<(), String>> {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(root().join("packaging/prometheus"));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = piped.spawn() else {
        eprintln!(
            "skipped: promtool {args:?}: it is not installed (Debian's package `prometheus`)"
        );
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    // It ends with 0 for a metric that it only advises against.
    let is_fine =
        ended.status.success() && (args[0] != "check" || args[1] != "metrics" || said.is_empty());
    Some(if is_fine { Ok(()) } else { Err(said) })
}

/// Returns the labels of each metric, as `docs/metrics.md` lists them; a test holds it to the program.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `p"));
    let of = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
        let mut labels: BTreeSet<_> = labels.collect();
        labels.insert("le".to_owned());
        (cells[0].trim_matches('`').to_owned(), labels)
    };
    rows.map(of).collect()
}

/// Returns the expressions of the rules.
fn rules() -> Vec<String> {
    let text = read(ALERTS);
    let found = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    found.map(str::to_owned).collect()
}

/// Returns the expressions of the dashboard, for all worker types.
fn panels() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut ids = BTreeSet::new();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "twice: {panel}");
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            found.push(target["expr"].as_str().unwrap().replace("$worker_type", ".*"));
        }
    }
    found
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the metrics of an expression, each with what is selected of it between braces.
fn selected(expression: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (start, _) in expression.match_indices("provisioner_") {
        let rest = &expression[start..];
        let name: String = rest.chars().take_while(|c| is_of_a_name(*c)).collect();
        let braces = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        found.push((name, braces.map_or_else(String::new, |(inside, _)| inside.to_owned())));
    }
    found
}

#[test]
fn rules_and_panels_use_metrics_and_labels_that_exist() {
    let metrics = metrics();
    let mut used = 0;
    for expression in rules().into_iter().chain(panels()) {
        let selected = selected(&expression);
        assert!(!selected.is_empty(), "{expression}");
        let mut labels_of_all = BTreeSet::new();
        for (name, braces) in selected {
            let known = metrics.get(&name).or_else(|| metrics.get(name.strip_suffix("_bucket")?));
            let known = known.unwrap_or_else(|| panic!("no metric {name}: {expression}"));
            for matcher in braces.split(',').filter(|matcher| !matcher.is_empty()) {
                let label: String = matcher.chars().take_while(|c| is_of_a_name(*c)).collect();
                assert!(known.contains(&label), "{name} has no {label}: {expression}");
            }
            labels_of_all.extend(known.iter().cloned());
            used += 1;
        }
        for (_, by) in expression
            .match_indices("by (")
            .chain(expression.match_indices("on ("))
            .map(|(at, word)| (at, expression[at + word.len()..].split(')').next().unwrap()))
        {
            let unknown = by.split(", ").find(|label| !labels_of_all.contains(*label));
            assert_eq!(unknown, None, "{expression}");
        }
    }
    assert!(used > 30, "{used} uses");
}

#[test]
fn the_kinds_of_notes_and_the_sections_that_they_name_exist() {
    let operations = read("docs/operations.md");
    let (_, notes) = operations.split_once("\n## Notes\n").unwrap();
    for expression in rules().into_iter().chain(panels()) {
        for (name, braces) in selected(&expression) {
            if let Some(kinds) = braces.strip_prefix("kind=~\"").filter(|_| name.contains("notes"))
            {
                for kind in kinds.trim_end_matches('"').split('|') {
                    assert!(notes.contains(&format!("| `{kind}` |")), "no note {kind}");
                }
            }
        }
    }
    let alerts = read(ALERTS);
    let sections: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(sections.len(), rules().len());
    for section in sections {
        assert!(operations.contains(&format!("\n## {section}\n")), "no section {section}");
    }
}

#[test]
fn prometheus_reads_the_rules_and_each_fires_where_it_must() {
    for args in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        if let Some(Err(said)) = promtool(args, "") {
            panic!("{said}");
        }
    }
    // A rule without a case in the test file would fire unseen.
    let tested = read("packaging/prometheus/alerts_test.yml");
    for name in read(ALERTS).lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {name}\n        exp_alerts:\n");
        let is_silent = format!("alertname: {name}, exp_alerts: []");
        assert!(tested.contains(&fires) && tested.contains(&is_silent), "{name} has no test");
    }
}

#[test]
fn prometheus_reads_the_expressions_of_the_dashboard() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("panels.yml");
    let rules: Vec<_> = panels()
        .into_iter()
        .enumerate()
        .map(|(no, expression)| serde_json::json!({ "record": format!("panel_{no}"), "expr": expression }))
        .collect();
    let groups = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules }] });
    // JSON is YAML.
    fs::write(&file, groups.to_string()).unwrap();
    if let Some(Err(said)) = promtool(&["check", "rules", file.to_str().unwrap()], "") {
        panic!("{said}");
    }
}
