//! `provisionerd simulate`.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{run, text};

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

const TASKS: &str = "created,duration,worker_type\n0,100,linux\n0,200,linux\n500,50,mac\n";

const CONFIG: &str = r#"
[provisioner]
interval = "20s"
[limits]
max-instances = 7
[worker-types.linux]
image-id = "ami-12345678"
instance-types = ["c7g.large"]
max-instances = 20
max-price = 0.5
policy = "worker-manager:ratio=0.5"
"#;

#[test]
fn policies_stand_side_by_side_in_the_order_named() {
    let args = [
        "simulate",
        "--load=synthetic:flash-crowd",
        "--until=6h",
        "--seeds=2",
        "--policy=worker-manager",
        "--policy=basic:idle-timeout=5m",
    ];
    let output = run(&args);
    let shown = text(&output.stdout);
    assert!(shown.starts_with("synthetic:flash-crowd: ") && shown.contains("means of 2 seeds"));
    let rows: Vec<_> = shown.lines().filter(|line| line.starts_with("basic:idle-")).collect();
    assert!(rows.len() == 2 && rows[0].contains('%'), "{shown}");
    assert_eq!(text(&output.stderr), "", "no progress where nobody watches");

    let json = json(&run(&[&args[..], &["--output=json"]].concat()));
    assert_eq!(
        (&json["version"], &json["world"], &json["seeds"]),
        (&1.into(), &"P".into(), &2.into())
    );
    assert_eq!(json["load"], "synthetic:flash-crowd");
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!(number(&json["bounds"]["clairvoyant_hours"]) > number(&json["bounds"]["busy_hours"]));
    let policies = json["policies"].as_array().expect("policies");
    assert_eq!(policies[0]["policy"], "worker-manager");
    assert_eq!(policies[1]["policy"], "basic:idle-timeout=5m");
    for key in [
        "tasks",
        "unserved_tasks",
        "interrupted_tasks",
        "instance_hours",
        "on_demand_hours",
        "cost_usd",
        "utilisation",
        "launches",
        "peak_instances",
    ] {
        let _ = number(&policies[1][key]);
    }
    for key in ["mean", "p50", "p95", "p99", "max"] {
        let _ = number(&policies[0]["wait_seconds"][key]);
    }
    let _ = (
        number(&policies[0]["delay_seconds"]["mean"]),
        number(&policies[0]["delay_seconds"]["p95"]),
    );
    assert!(number(&policies[0]["unserved_tasks"]) < 1e-9);
}

#[test]
fn the_same_seed_prints_the_same() {
    let args = ["simulate", "--load=synthetic:steady", "--until=3h", "--output=json"];
    let again = || run(&[&args[..], &["--seed=7"]].concat()).stdout;
    assert_eq!(again(), again());
    assert_ne!(again(), run(&args).stdout);
}

#[test]
fn a_worker_type_brings_its_policy_limits_price_and_interval() {
    let dir = tempfile::tempdir().expect("a directory");
    let (config, tasks) = (file(dir.path(), "c.toml", CONFIG), file(dir.path(), "t.csv", TASKS));
    let args = ["simulate", "--config", &config, "--load", &tasks, "--worker-type", "linux"];
    let output = run(&args);
    let shown = text(&output.stdout);
    assert!(shown.contains("t: 2 tasks") && shown.contains("a round every 20s"), "{shown}");
    assert!(
        shown.contains("worker-manager:ratio=0.5") && shown.contains("USD at 0.5 per"),
        "{shown}"
    );
    assert!(text(&output.stderr).contains("1 tasks of other worker types left out"));
    let json = json(&run(&[&args[..], &["--output=json", "--price=0.25"]].concat()));
    let policy = &json["policies"][0];
    let (hours, usd) = (policy["instance_hours"].as_f64(), policy["cost_usd"].as_f64());
    assert!((hours.expect("hours") / 4.0 - usd.expect("dollars")).abs() < 1e-9, "{policy}");

    let crowd: String = (0..30).map(|_| "0,3600\n").collect();
    let crowd = file(dir.path(), "crowd.csv", &format!("created,duration\n{crowd}"));
    // One worker type: it need not be named. The smaller maximum of the two holds.
    let args = ["simulate", "--config", &config, "--load", &crowd, "--output=json"];
    assert_eq!(self::json(&run(&args))["policies"][0]["peak_instances"], 7.0);
    let args = [&args[..], &["--max-instances=3"]].concat();
    assert_eq!(self::json(&run(&args))["policies"][0]["peak_instances"], 3.0);
}

#[test]
fn without_a_worker_type_no_configuration_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let broken = file(dir.path(), "broken.toml", "[[");
    let args = ["simulate", "--load=synthetic:steady", "--until=1h", "--seeds=1"];
    let output = super::provisionerd(&args).env("PROVISIONER_CONFIG", &broken).output();
    assert!(output.expect("provisionerd runs").status.success());
    let output = run(&[&args[..], &["--config", &broken]].concat());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_plot_is_drawn() {
    let dir = tempfile::tempdir().expect("a directory");
    let plot = dir.path().join("plot.svg");
    let plot = plot.to_str().expect("UTF-8");
    let args = ["simulate", "--load=synthetic:bursty-ci", "--until=1d", "--plot", plot];
    let output = run(&[&args[..], &["--policy=basic", "--policy=worker-manager"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let svg = fs::read_to_string(plot).expect("a plot");
    assert!(svg.starts_with("<svg") && svg.contains(">worker-manager</text>"), "{svg}");
    let output = run(&["simulate", "--load=synthetic:steady", "--plot", "plot.png"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(".svg"));
}

#[test]
fn mistakes_end_with_2_and_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = file(dir.path(), "c.toml", CONFIG);
    let bad = file(dir.path(), "bad.csv", "created,duration\n0,10\nsoon,10\n");
    for (args, words) in [
        (&["--load", &bad][..], &["bad.csv, line 3", "`soon`", "RFC 3339"][..]),
        (&["--load", "nowhere.csv"], &["nowhere.csv", "synthetic:"]),
        (&["--load", "synthetic:steadi"], &["steadi", "bursty-ci"]),
        (&["--load=synthetic:steady", "--policy=adaptve"], &["did you mean `adaptive`?"]),
        (
            &["--load=synthetic:steady", "--config", &config, "--worker-type=mac"],
            &["it has: linux"],
        ),
        (&[], &["--load"]),
    ] {
        let output = run(&[&["simulate"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = text(&output.stderr);
        for word in words {
            assert!(said.contains(word), "{args:?}: {said}");
        }
        assert!(output.stdout.is_empty());
    }
}
