//! Commands as a user sees them, up to the process boundary.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::Parser as _;
use serde_json::Value;

use super::*;
use crate::output::tests::Captured;
use crate::output::{Notices, Output};
use crate::style::Paint;

const GOOD: &str = r#"
[provisioner]
key-name = "provisioner-test-1"
[aws]
region = "us-west-2"
[worker-types.linux]
image-id = "ami-12345678"
instance-types = ["c7g.large", "c7a.large"]
max-instances = 20
max-price = 0.1
"#;

struct Ended {
    code: u8,
    stdout: String,
    stderr: String,
}

async fn provisionerd_with(dir: &Path, config: &str, args: &[&str]) -> Ended {
    fs::write(dir.join("provisioner.toml"), config).unwrap();
    let reads_none = ["demo", "completions", "man"].iter().any(|name| args.contains(name));
    let config = if reads_none { &[][..] } else { &["--config", "provisioner.toml"] };
    let line = ["provisionerd"].iter().chain(config).chain(args);
    let args = Provisionerd::try_parse_from(line).unwrap();
    let captured = Captured::default();
    let context = Context {
        globals: args.globals.clone(),
        output: Output::to(args.globals.output, captured.clone()),
        notices: Notices::new(Paint::Plain, true),
        environment: BTreeMap::new(),
        current_dir: dir.to_owned(),
    };
    let ended = provisionerd(args, context).await;
    let stdout = captured.text();
    match ended {
        Ok(status) => Ended { code: status.code(), stdout, stderr: String::new() },
        Err(failure) => {
            Ended { code: failure.status().code(), stdout, stderr: failure.render(Paint::Plain) }
        }
    }
}

#[tokio::test]
async fn validate_accepts_and_says_what_it_read() {
    let dir = tempfile::tempdir().unwrap();
    let ended = provisionerd_with(dir.path(), GOOD, &["validate"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let read = format!("read {}\n", dir.path().join("provisioner.toml").display());
    assert!(ended.stdout.starts_with(&read), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("\nok\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("c7g.large c7a.large"));

    let ended = provisionerd_with(dir.path(), GOOD, &["validate", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["ok"], true);
    assert_eq!(json["worker_types"][0]["max_price_usd_per_hour"], 0.1);
}

#[tokio::test]
async fn validate_names_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let bad = "[provisioner]\nintervall = \"10s\"\n[queue]\nport = \"x\"\n";
    let ended = provisionerd_with(dir.path(), bad, &["validate", "--output", "json"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("error: provisioner.toml:2: `provisioner.intervall`: "));
    assert!(ended.stderr.contains("error: provisioner.toml:4: `queue.port`: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 2);
    assert_eq!(json["problems"][0]["origin"], "provisioner.toml:2");
}

#[tokio::test]
async fn validate_refuses_what_run_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let ended = provisionerd_with(dir.path(), "", &["validate"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("`provisioner.key-name` is not set\nhint: run `setup-aws`"));
    assert!(ended.stdout.contains("warning: no worker type is configured"), "{}", ended.stdout);

    let args = ["validate", "--region", "eu-west-1"];
    let ended = provisionerd_with(dir.path(), GOOD, &args).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("`eu-west-1`") && ended.stderr.contains("`us-west-2`"));
}

#[tokio::test]
async fn validate_refuses_a_worker_type_that_can_never_launch() {
    let dir = tempfile::tempdir().unwrap();
    for (limits, price, said) in [
        ("max-usd-per-hour = 1.0", "", "it has no max-price, and limits.max-usd-per-hour is set"),
        ("max-usd-per-day = 1.0", "", "it has no max-price, and limits.max-usd-per-day is set"),
        (
            "max-usd-per-hour = 0.05",
            "max-price = 0.1",
            "(0.1) is more than limits.max-usd-per-hour",
        ),
        ("max-usd-per-day = 0.5", "max-price = 0.1", "is counted for 6h, which is more than"),
        ("max-usd-per-day = 0.6", "max-price = 0.1", ""),
    ] {
        let text = format!(
            "[provisioner]\nkey-name = \"k\"\n[aws]\nregion = \"us-west-2\"\n[limits]\n{limits}\n\
             [worker-types.linux]\nimage-id = \"ami-1\"\ninstance-types = [\"c7g.large\"]\n{price}\n"
        );
        let ended = provisionerd_with(dir.path(), &text, &["validate", "--output", "json"]).await;
        let json: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(ended.code, if said.is_empty() { 0 } else { 2 }, "{limits}: {}", ended.stderr);
        assert_eq!(json["ok"], said.is_empty(), "{limits}");
        assert!(ended.stderr.contains(said), "{limits}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn config_prints_values_with_origins() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["config", "--region", "eu-west-1"];
    let ended = provisionerd_with(dir.path(), GOOD, &args).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for line in [
        "aws.region = \"eu-west-1\"  # --region",
        "provisioner.key-name = \"provisioner-test-1\"  # provisioner.toml:3",
        "provisioner.interval = \"10s\"  # default",
    ] {
        assert!(ended.stdout.lines().any(|printed| printed == line), "{line}\n{}", ended.stdout);
    }
    let ended = provisionerd_with(dir.path(), "x = 1", &["config"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
}

#[tokio::test]
async fn completions_and_pages_need_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "[broken";
    let ended = provisionerd_with(dir.path(), broken, &["completions", "bash"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("complete -F _provisionerd"), "{}", ended.stdout);
    let args = ["completions", "zsh", "--program", "cleanup-aws", "--output", "json"];
    let json: Value =
        serde_json::from_str(&provisionerd_with(dir.path(), broken, &args).await.stdout).unwrap();
    assert_eq!((&json["program"], &json["shell"]), (&"cleanup-aws".into(), &"zsh".into()));
    assert!(json["script"].as_str().unwrap().starts_with("#compdef cleanup-aws"));

    for (page, title) in [
        (&["man"][..], ".TH provisionerd 1 "),
        (&["man", "run"], ".TH provisionerd-run 1 "),
        (&["man", "provisionerd-run"], ".TH provisionerd-run 1 "),
        (&["man", "cleanup-aws.1"], ".TH cleanup-aws 1 "),
        (&["man", "provisioner.toml"], ".TH provisioner.toml 5 "),
    ] {
        let ended = provisionerd_with(dir.path(), broken, page).await;
        assert!(ended.code == 0 && ended.stdout.contains(title), "{page:?}: {}", ended.stderr);
    }
    let ended = provisionerd_with(dir.path(), broken, &["man", "nothing"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("`nothing`") && ended.stderr.contains("provisionerd-plan"));
}

#[tokio::test]
async fn options_are_taken_only_where_they_mean_something() {
    let dir = tempfile::tempdir().unwrap();
    for (args, option) in [
        (&["demo", "--region", "x"][..], "--region"),
        (&["--endpoint-url", "http://x", "man"], "--endpoint-url"),
        (&["completions", "bash", "--profile", "x"], "--profile"),
    ] {
        let ended = provisionerd_with(dir.path(), "", args).await;
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.stderr.contains(&format!("{option} means nothing to")), "{}", ended.stderr);
    }
    let ended = provisionerd_with(dir.path(), GOOD, &["config", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["version"], 1);
}

#[tokio::test]
async fn all_pages_are_written_where_man_looks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["man", "--dir", "share/man", "--output", "json"];
    let ended = provisionerd_with(dir.path(), "", &args).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let written = json["written"].as_array().unwrap();
    for file in ["man1/provisionerd-plan.1", "man1/setup-aws.1", "man5/provisioner.toml.5"] {
        let path = dir.path().join("share/man").join(file);
        assert!(fs::read_to_string(&path).unwrap().contains(".TH"), "{file}");
        assert!(written.contains(&path.to_str().unwrap().into()), "{file}");
    }
    // A file where the directory should be.
    let args = ["man", "--dir", "provisioner.toml"];
    let ended = provisionerd_with(dir.path(), "", &args).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("failed to write") && ended.stderr.contains("caused by"));
}

#[cfg(not(feature = "aws"))]
#[tokio::test]
async fn a_build_without_aws_says_how_to_get_one_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["run"][..], &["plan"], &["status"], &["demo", "--serve-ec2"]] {
        let ended = provisionerd_with(dir.path(), GOOD, args).await;
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains("cargo build --release"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn iam_policy_prints_the_document_or_one_object_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let ended = provisionerd_with(dir.path(), GOOD, &["iam-policy"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["Statement"][0]["Sid"], "Look");

    let ended = provisionerd_with(dir.path(), GOOD, &["iam-policy", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["version"], &json["for"]), (&Value::from(1), &Value::from("run")));
    assert_eq!(json["policy"], document);
    assert_eq!(json["warnings"][0]["kind"], "terminate");
}

#[tokio::test]
async fn iam_policy_refuses_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let ended = provisionerd_with(dir.path(), "", &["iam-policy"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("`provisioner.key-name` is not set"), "{}", ended.stderr);
    let ended = provisionerd_with(dir.path(), "", &["iam-policy", "--for", "setup"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (args, said) in [
        (["--region", "eu-west-1"], "`us-west-2`"),
        (["--prefix", "x-"], "--prefix goes with `--for setup` only"),
        (["--key-name", "x"], "--key-name goes with `--for cleanup` only"),
    ] {
        let line = ["iam-policy"].iter().chain(&args).copied().collect::<Vec<_>>();
        let ended = provisionerd_with(dir.path(), GOOD, &line).await;
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
