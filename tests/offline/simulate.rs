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
    let config = file(dir.path(), "c.toml", CONFIG);
    let tasks = file(dir.path(), "t.csv", TASKS);
    let args = ["simulate", "--config", &config, "--load", &tasks, "--worker-type", "linux"];
    let output = run(&args);
    let shown = text(&output.stdout);
    assert!(shown.contains("t: 2 tasks") && shown.contains("a round every 20s"), "{shown}");
    assert!(
        shown.contains("worker-manager:ratio=0.5") && shown.contains("USD at 0.5 per"),
        "{shown}"
    );
    assert!(text(&output.stderr).contains("1 task of other worker types left out"));
    let json = json(&run(&[&args[..], &["--output=json", "--price=0.25"]].concat()));
    let policy = &json["policies"][0];
    let hours = policy["instance_hours"].as_f64();
    let usd = policy["cost_usd"].as_f64();
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

const TRACE: &str = r#"{"metadata": {"gap_seconds": 600}, "data": [1, 1, 1, 0, 1, 1, 0, 0]}"#;

#[test]
fn a_spot_market_is_bought_in_and_held_against_its_pools() {
    let dir = tempfile::tempdir().expect("a directory");
    let traces = dir.path().join("traces");
    fs::create_dir(&traces).expect("a directory");
    let _ = file(&traces, "us-east-1a_intel_64.json", TRACE);
    let _ = file(&traces, "us-east-1b_intel_64.json", &TRACE.replace("[1, 1,", "[0, 1, 1,"));
    let traces = traces.to_str().expect("UTF-8");
    let args = ["simulate", "--load=synthetic:steady", "--until=1d", "--seeds=2", "--world=Z"];
    let args = [&args[..], &["--spot-traces", traces]].concat();
    let json = json(&run(&[&args[..], &["--output=json"]].concat()));
    assert_eq!(json["world"], "Z");
    let policy = &json["policies"][0];
    let number = |key: &str| policy[key].as_f64().expect("a number");
    assert!(number("interrupted_tasks") > 0.0 && number("on_demand_hours") > 0.0, "{policy}");
    assert!(number("unserved_tasks") < 1e-9);
    let usd = number("instance_hours") + 2.0 * number("on_demand_hours");
    assert!((usd - number("cost_usd")).abs() < 1e-6, "on demand costs three times as much");
    let otherwise = json["otherwise"].as_array().expect("other ways to buy");
    let names: Vec<_> = otherwise.iter().map(|row| row["policy"].as_str().unwrap_or("")).collect();
    assert_eq!(
        names,
        [
            "spot in one pool: us-east-1a_intel_64",
            "spot in one pool: us-east-1b_intel_64",
            "spot alone, in all of them",
            "on demand alone",
        ]
    );
    let shown = text(&run(&args).stdout);
    assert!(shown.contains("compared with `spot in one pool: us-east-1"), "{shown}");
}

/// A configuration whose daemon has recorded a load: crowds of tasks of ten minutes, every two hours.
fn recorded(dir: &Path) -> String {
    let state = dir.join("123456789012-us-west-2-provisioner-test-1/load");
    fs::create_dir_all(&state).expect("a directory");
    let line = |n| format!("{}.250,600.000,100.000,{n:016x}\n", 1_790_000_000 + n / 20 * 7200);
    let lines: String = (0..300).map(line).collect();
    let load = format!("created,duration,wait,task\n{lines}1790000000.250,600.0");
    let _ = file(&state, "linux.csv", &load);
    let own = format!(
        "[aws]\nregion = \"us-west-2\"\naccount-id = \"123456789012\"\n{}",
        CONFIG.replace(
            "interval = \"20s\"",
            &format!(
                "interval = \"20s\"\nkey-name = \"provisioner-test-1\"\nstate-dir = \"{}\"",
                dir.display()
            )
        )
    );
    file(
        dir,
        "c.toml",
        &own.replace("max-instances = 7", "max-instances = 50")
            .replace("max-instances = 20", "max-instances = 50"),
    )
}

#[test]
fn a_recorded_load_says_what_to_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = recorded(dir.path());
    let args = ["simulate", "--config", &config, "--load=recorded", "--seeds=2"];
    let args = [&args[..], &["--knowledge=workers"]].concat();
    let output = run(&args);
    let shown = text(&output.stdout);
    let said = text(&output.stderr);
    assert!(shown.starts_with("recorded of linux: 300 tasks"), "{shown}{said}");
    assert!(said.contains("1 line of the recorded load cannot be read"), "{said}");
    for words in [
        "As recorded: 300 tasks; they waited 100 s on average",
        "Today, with `worker-manager:ratio=0.5`: ",
        " USD",
        "` is cheaper and quicker: ",
        "[worker-types.linux] policy = \"adaptive",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let json = json(&run(&[&args[..], &["--output=json"]].concat()));
    let policies = json["policies"].as_array().expect("policies").iter();
    let names: Vec<_> = policies.map(|row| row["policy"].as_str().unwrap_or("")).collect();
    assert_eq!(names[..2], ["worker-manager:ratio=0.5", "adaptive"]);
    assert!(json["advice"].as_array().expect("sentences").len() > 4);
    // Only the named policies are compared.
    let named = run(&[&args[..], &["--policy=basic", "--output=json"]].concat());
    assert_eq!(self::json(&named)["policies"].as_array().expect("policies").len(), 1);
}

#[test]
fn another_configuration_is_held_against_todays() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = recorded(dir.path());
    let other = fs::read_to_string(&config).expect("the configuration");
    let other = other
        .replace("worker-manager:ratio=0.5", "worker-manager")
        .replace("max-price = 0.5", "max-price = 0.4\nidle-timeout = \"2m\"");
    let other = file(dir.path(), "other.toml", &other);
    let args = ["simulate", "--config", &config, "--load=recorded", "--against", &other];
    let shown = text(&run(&args).stdout);
    for words in [
        "worker-manager (".to_owned(),
        format!("in `{config}`, [worker-types.linux] policy = \"worker-manager\""),
        "idle-timeout = \"2m\", max-price = 0.4".to_owned(),
    ] {
        assert!(shown.contains(&words), "{words}: {shown}");
    }
}

#[test]
fn it_says_on_what_the_saving_rests_unless_the_configuration_says_how_workers_behave() {
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        file(dir.path(), "c.toml", &CONFIG.replace("worker-manager:ratio=0.5", "adaptive"));
    let hours = |args: &[&str]| {
        let load = ["simulate", "--load=synthetic:bursty-ci", "--until=2d", "--seeds=1"];
        let json =
            json(&run(&[&load[..], args, &["--output=json", "--max-instances=200"]].concat()));
        let hours = json["policies"][0]["instance_hours"].as_f64().expect("hours");
        (hours, json["advice"].to_string())
    };
    let (told, advice) = hours(&[]);
    let (by_themselves, _) = hours(&["--knowledge=counts"]);
    assert!(by_themselves > told * 1.2, "{told} {by_themselves}");
    for words in [
        format!("stop when they are told to: {told:.1} instance-hours"),
        format!(
            "end themselves when they have been idle for long, it is {by_themselves:.1} instance"
        ),
    ] {
        assert!(advice.contains(&words), "{words}: {advice}");
    }
    let same = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let configured = |args: &[&str]| {
        let (hours, advice) = hours(&[&["--config", &config, "--round=10s"], args].concat());
        assert!(!advice.contains("told to"), "{advice}");
        hours
    };
    assert!(same(configured(&[]), configured(&["--knowledge=counts"])));
    let asking = fs::read_to_string(&config).expect("it")
        + "\n[server]\nworker-listen = \"10.0.0.1:3001\"\n";
    fs::write(&config, asking).expect("it");
    assert!(same(configured(&[]), configured(&["--knowledge=asking"])));
    assert!(configured(&[]) < by_themselves);
}

#[test]
fn nothing_is_advised_from_a_few_tasks() {
    let dir = tempfile::tempdir().expect("a directory");
    let tasks = file(dir.path(), "t.csv", TASKS);
    let output = run(&["simulate", "--load", &tasks, "--policy=basic", "--policy=adaptive"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("No advice: 3 tasks in 0.1 h are too few"), "{shown}");
    assert!(!shown.contains("cheaper"), "{shown}");
}

#[test]
fn without_a_record_it_says_how_one_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = recorded(dir.path());
    fs::remove_dir_all(dir.path().join("123456789012-us-west-2-provisioner-test-1"))
        .expect("removed");
    let output = run(&["simulate", "--config", &config, "--load=recorded"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("no load of `linux` is recorded"), "{said}");
    assert!(said.contains("`provisionerd run` records"), "{said}");
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
        (&["--load=synthetic:steady", "--world=Z"], &["--spot-traces"]),
        (
            &["--load=synthetic:steady", "--world=Z", "--spot-traces=/nonexistent"],
            &["/nonexistent", "<zone>_<type>.json"],
        ),
        (&["--load=synthetic:steady", "--against=x.toml"], &["--worker-type"]),
        (&["--load=synthetic:steady", "--plot=/nonexistent/x.svg"], &["/nonexistent"]),
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
