//! `provisionerd demo`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{provisionerd, run, text};

#[test]
fn it_tells_what_is_done_and_why_and_what_it_cost() {
    let output = run(&["demo", "--speed", "max", "--for", "2h"]);
    let stdout = text(&output.stdout);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for part in [
        "08:00:00 linux: request ",
        " tasks wait, none on the way; room for ",
        "us-west-2a has no c7g.large left",
        "no capacity there (capacity-not-available) for ",
        "back in two minutes",
        "2h of CI on the simulated EC2 (seed 1, ",
        " USD",
    ] {
        assert!(stdout.contains(part), "no `{part}` in\n{stdout}");
    }
    assert!(!stdout.contains('\x1b'), "no terminal, no control sequences");
    assert!(stderr.contains("setup-aws --help"), "{stderr}");
}

#[test]
fn as_json_it_is_one_object() {
    let output = run(&["demo", "--speed", "max", "--for", "1h", "--seed", "7", "--output", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["seed"], 7);
    assert_eq!(summary["seconds"], 3600);
    assert!(summary["tasks"]["finished"].as_u64().unwrap() > 20, "{summary}");
    assert!(summary["cost_usd"].as_f64().unwrap() > 0.0, "{summary}");
    let waits = &summary["wait_seconds"];
    assert!(waits["p50"].as_f64().unwrap() <= waits["p95"].as_f64().unwrap(), "{waits}");
}

#[test]
fn the_same_seed_is_the_same_to_the_byte() {
    let day = |seed| run(&["demo", "--speed", "max", "--for", "90m", "--seed", seed]).stdout;
    assert_eq!(day("5"), day("5"));
    assert_ne!(day("5"), day("6"));
}

#[test]
fn an_interrupt_ends_it_with_its_summary() {
    let mut child = provisionerd(&["demo", "--speed", "600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("provisionerd runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("08:00:00 "), "{first}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains(" of CI on the simulated EC2"), "{rest}");
}

#[test]
fn who_reads_only_the_beginning_ends_it() {
    let mut child = provisionerd(&["demo", "--speed", "max", "--for", "744h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("provisionerd runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    for bad in [
        ["--speed", "0"],
        ["--speed", "-1"],
        ["--speed", "quick"],
        ["--speed", "inf"],
        ["--for", "0s"],
        ["--for", "5"],
        ["--for", "100000h"],
        ["--seed", "-1"],
        ["--seed", "one"],
    ] {
        let output = run(&["demo", bad[0], bad[1]]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(text(&output.stderr).contains(bad[0]), "{bad:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}
