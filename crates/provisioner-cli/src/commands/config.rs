//! `provisionerd config`: the effective configuration and where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use provisioner::internal::aws::shared_config::{DEFAULT_PROFILE, ProfileRegion, SharedConfig};
use provisioner::internal::config::{Entry, KeyKind, Loaded, Origin};
use provisioner::internal::domain::duration;
use provisioner::internal::queue::http::shown_text;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use crate::output::Report;

/// The variables that the AWS SDK reads where the configuration sets nothing (AWS SDKs and Tools Reference
/// Guide, "Environment variables").
const SDK_VARIABLES: [(&str, &[&str]); 3] = [
    ("aws.region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
    ("aws.profile", &["AWS_PROFILE"]),
    ("aws.endpoint-url", &["AWS_ENDPOINT_URL"]),
];

/// Prints the effective configuration.
pub(super) fn config(mut context: Context) -> Result<ExitStatus, Failure> {
    let loaded = load::load_config(&context)?;
    let sdk = Sdk::new(&loaded, &context.environment);
    let values = loaded.entries.iter().map(|entry| row(entry, &sdk)).collect();
    context.output.report(&Effective { files: loaded.files_read, values })?;
    Ok(ExitStatus::DONE)
}

#[derive(Serialize)]
struct Effective {
    /// In rising precedence.
    files: Vec<PathBuf>,
    values: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    key: String,
    /// As the configuration spells it; null if it is not set.
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    origin: From,
}

/// Where a value came from.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum From {
    File {
        path: PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    },
    Environment {
        variable: String,
    },
    CommandLine {
        flag: String,
    },
    /// AWS's shared configuration files.
    AwsProfile {
        profile: String,
        path: PathBuf,
        line: usize,
    },
    Default,
}

fn row(entry: &Entry, sdk: &Sdk<'_>) -> Row {
    let Entry { key, kind, value, origin } = entry;
    if value.is_null()
        && let Some((value, origin)) = sdk.value(key)
    {
        return Row { key: key.clone(), value: value.into(), seconds: None, origin };
    }
    let origin = match origin {
        Origin::File { path, line, column: _ } => {
            From::File { path: path.to_path_buf(), line: *line }
        }
        Origin::Environment { variable } => From::Environment { variable: variable.clone() },
        Origin::Flag { flag } => From::CommandLine { flag: flag.clone() },
        Origin::Default => From::Default,
    };
    Row { key: key.clone(), value: value.clone(), seconds: seconds(kind, value), origin }
}

/// What the AWS SDK finds by itself, as far as we know it without network calls.
struct Sdk<'a> {
    environment: &'a BTreeMap<String, String>,
    /// The name of the profile in force and its region.
    region: Option<(String, ProfileRegion)>,
}

impl<'a> Sdk<'a> {
    fn new(loaded: &Loaded, environment: &'a BTreeMap<String, String>) -> Self {
        let named = loaded.settings.aws.profile.as_deref();
        let profile = named
            .or_else(|| variable("aws.profile", environment).map(|(_, profile)| profile))
            .unwrap_or(DEFAULT_PROFILE);
        let region = SharedConfig::read(environment).region(profile);
        Self { environment, region: region.map(|region| (profile.to_owned(), region)) }
    }

    fn value(&self, key: &str) -> Option<(String, From)> {
        if let Some((variable, value)) = variable(key, self.environment) {
            // The SDK takes a URL with a password, which the configuration refuses.
            let value =
                if key == "aws.endpoint-url" { shown_text(value) } else { value.to_owned() };
            return Some((value, From::Environment { variable: variable.to_owned() }));
        }
        let (profile, found) = self.region.clone().filter(|_| key == "aws.region")?;
        let ProfileRegion { region, file, line } = found;
        Some((region, From::AwsProfile { profile, path: file, line }))
    }
}

/// Returns the region in force if it is known without network calls; the metadata of the instance may
/// still name one.
pub(super) fn region(loaded: &Loaded, environment: &BTreeMap<String, String>) -> Option<String> {
    let configured = loaded.settings.aws.region.clone();
    configured.or_else(|| Some(Sdk::new(loaded, environment).value("aws.region")?.0))
}

fn variable<'a>(
    key: &str,
    environment: &'a BTreeMap<String, String>,
) -> Option<(&'static str, &'a str)> {
    let (_, variables) = SDK_VARIABLES.iter().find(|(name, _)| *name == key)?;
    variables.iter().find_map(|variable| {
        let value = environment.get(*variable).filter(|value| !value.is_empty())?;
        Some((*variable, value.as_str()))
    })
}

/// Returns the seconds of a duration, which are printed beside its text.
fn seconds(kind: &KeyKind, value: &Value) -> Option<f64> {
    let text = value.as_str().filter(|_| *kind == KeyKind::Duration)?;
    duration::parse(text).ok().map(|duration| duration.as_secs_f64())
}

impl Report for Effective {
    /// Writes a line `key = value  # origin` for each value, which is readable and close to TOML.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "# read {}", file.display())?;
        }
        for Row { key, value, seconds: _, origin } in &self.values {
            match value {
                Value::Null => writeln!(f, "# {key} is not set")?,
                _ => writeln!(f, "{key} = {value}  # {origin}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => f.write_str(variable),
            Self::CommandLine { flag } => f.write_str(flag),
            Self::AwsProfile { profile, path, line } => {
                write!(f, "AWS profile `{profile}` in {}:{line}", path.display())
            }
            Self::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::args::OutputFormat;
    use crate::output::tests::printed;

    fn entry(key: &str, kind: KeyKind, value: Value, origin: Origin) -> Entry {
        Entry { key: key.to_owned(), kind, value, origin }
    }

    #[test]
    fn values_are_printed_with_their_origin() {
        let file = Origin::File {
            path: PathBuf::from("provisioner.toml").into(),
            line: Some(3),
            column: None,
        };
        let flag = Origin::Flag { flag: "--profile".to_owned() };
        let environment = BTreeMap::from([("AWS_REGION".to_owned(), "us-west-2".to_owned())]);
        let entries = [
            entry("aws.account-id", KeyKind::Text, Value::Null, Origin::Default),
            entry("aws.profile", KeyKind::Text, json!("ci"), flag),
            entry("aws.region", KeyKind::Text, Value::Null, Origin::Default),
            entry("provisioner.interval", KeyKind::Duration, json!("1m"), file),
            entry("worker-types.linux.tags.timeout", KeyKind::Text, json!("1m"), Origin::Default),
        ];
        let sdk = Sdk { environment: &environment, region: None };
        let values = entries.iter().map(|entry| row(entry, &sdk)).collect();
        let report = Effective { files: vec!["provisioner.toml".into()], values };
        assert_eq!(
            printed(OutputFormat::Text, &report),
            "# read provisioner.toml\n\
             # aws.account-id is not set\n\
             aws.profile = \"ci\"  # --profile\n\
             aws.region = \"us-west-2\"  # AWS_REGION\n\
             provisioner.interval = \"1m\"  # provisioner.toml:3\n\
             worker-types.linux.tags.timeout = \"1m\"  # default\n"
        );
        let json: Value = serde_json::from_str(&printed(OutputFormat::Json, &report)).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(
            json["values"][3],
            json!({
                "key": "provisioner.interval",
                "value": "1m",
                "seconds": 60.0,
                "origin": {"kind": "file", "path": "provisioner.toml", "line": 3},
            })
        );
        assert_eq!(json["values"][4]["seconds"], Value::Null);
        assert_eq!(json["values"][2]["origin"]["variable"], "AWS_REGION");
    }

    #[test]
    fn a_password_in_the_endpoint_of_the_environment_is_not_shown() {
        for (url, shown) in [
            ("https://me:secret@ec2.example/x", "https://ec2.example/x"),
            ("me:secret@ec2.example", "ec2.example"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ] {
            let environment = BTreeMap::from([("AWS_ENDPOINT_URL".to_owned(), url.to_owned())]);
            let sdk = Sdk { environment: &environment, region: None };
            let entry = entry("aws.endpoint-url", KeyKind::Text, Value::Null, Origin::Default);
            assert_eq!(row(&entry, &sdk).value, json!(shown));
        }
    }

    #[test]
    fn a_region_of_the_aws_profile_is_printed_with_its_file() {
        let found = ProfileRegion {
            region: "eu-west-1".to_owned(),
            file: "/home/me/.aws/config".into(),
            line: 2,
        };
        let shown = |environment: &[(&str, &str)]| {
            let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let environment = pairs.collect();
            let region = Some(("b".to_owned(), found.clone()));
            let sdk = Sdk { environment: &environment, region };
            let of = |key| row(&entry(key, KeyKind::Text, Value::Null, Origin::Default), &sdk);
            assert_eq!(of("aws.account-id").value, Value::Null);
            let Row { value, origin, .. } = of("aws.region");
            (value, origin.to_string(), serde_json::to_value(origin).unwrap())
        };
        let (value, origin, json) = shown(&[]);
        assert_eq!(value, "eu-west-1");
        assert_eq!(origin, "AWS profile `b` in /home/me/.aws/config:2");
        assert_eq!((&json["kind"], &json["profile"]), (&json!("aws-profile"), &json!("b")));
        let (value, origin, _) = shown(&[("AWS_DEFAULT_REGION", "us-west-2")]);
        assert_eq!((value, origin), (json!("us-west-2"), "AWS_DEFAULT_REGION".to_owned()));
    }
}
