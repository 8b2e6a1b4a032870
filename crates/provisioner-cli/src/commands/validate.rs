//! `provisionerd validate`: checks whether `provisionerd run` would accept this configuration, and with
//! `--aws` whether the AWS resources that it names would work. Without `--aws` it makes no network calls.

#[cfg(feature = "aws")]
mod aws;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use provisioner::internal::config::{ConfigError, ConfigProblem, Loaded, Warning};
use provisioner::internal::domain::duration;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::plural;
use provisioner::internal::settings::{Limits, Settings, WorkerType};
use serde::Serialize;

use super::config;
use crate::args::ValidateArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use crate::output::{self, Report};

#[cfg(feature = "aws")]
use aws::{AwsChecks, check_aws};

/// There are no checks without AWS.
#[cfg(not(feature = "aws"))]
#[derive(Serialize)]
enum AwsChecks {}

#[cfg(not(feature = "aws"))]
impl AwsChecks {
    fn failure(&self) -> Option<Failure> {
        match *self {}
    }
}

#[cfg(not(feature = "aws"))]
impl fmt::Display for AwsChecks {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "with AWS it waits")]
async fn check_aws(_: Settings) -> Result<AwsChecks, Failure> {
    Err(super::needs_aws("`provisionerd validate --aws`"))
}

/// Checks the configuration and prints the result.
pub(super) async fn validate(
    args: ValidateArgs,
    mut context: Context,
) -> Result<ExitStatus, Failure> {
    let (verdict, failure) = match load::load_quietly(&context) {
        Ok(loaded) => {
            let mut warnings = loaded.warnings.iter().map(Finding::warning).collect::<Vec<_>>();
            warnings.extend(doubts(&loaded, &context));
            let worker_types = loaded.settings.worker_types.iter().map(ValidatedType::of).collect();
            let mut failure = refusals(&loaded, &context);
            // `run` goes on with the other worker types.
            let never = never_launched(&loaded.settings);
            let files = loaded.files_read;
            let mut aws = None;
            if failure.is_none() && args.aws {
                match check_aws(loaded.settings).await {
                    Ok(checks) => aws = Some(checks),
                    Err(not_checked) => failure = Some(not_checked),
                }
            }
            let failure = failure.into_iter().chain(never).reduce(Failure::and);
            let problems = failure.iter().flat_map(Finding::refusals).collect();
            let failure = failure.or_else(|| aws.as_ref().and_then(AwsChecks::failure));
            let ok = failure.is_none();
            (Verdict { ok, files, worker_types, warnings, problems, aws }, failure)
        }
        Err(error) => (Verdict::refused(&error), Some(load::failure(&error))),
    };
    context.output.report(&verdict)?;
    failure.map_or(Ok(ExitStatus::DONE), Err)
}

/// Returns why `run` would refuse a configuration whose values are all valid.
fn refusals(loaded: &Loaded, context: &Context) -> Option<Failure> {
    let settings = &loaded.settings;
    let in_force = settings.aws.region.as_deref();
    let region = in_force.map_or(Ok(()), |region| load::same_region(settings, region));
    let profile = load::known_profile(loaded, context);
    [load::key_name(settings).err(), region.err(), profile.err()]
        .into_iter()
        .flatten()
        .reduce(Failure::and)
}

/// Returns warnings about settings that are allowed but rarely intended.
fn doubts(loaded: &Loaded, context: &Context) -> Vec<Finding> {
    let mut doubts = Vec::new();
    let settings = &loaded.settings;
    if settings.worker_types.is_empty() {
        doubts.push(Finding::new(
            "no worker type is configured: nothing will be requested",
            "add a section `[worker-types.NAME]`",
        ));
    }
    if config::region(loaded, &context.environment).is_none() {
        doubts.push(Finding::new(
            "no region is configured: on an EC2 instance, the region of the instance is used",
            "set `aws.region`, or let `setup-aws` save it",
        ));
    }
    doubts.extend(minimum_over_the_limit(settings));
    doubts
}

/// Returns the worker types of which no instance can ever be launched.
fn never_launched(settings: &Settings) -> Option<Failure> {
    let failures = settings.worker_types.iter().filter_map(|(name, worker_type)| {
        let (why, fix) = cannot_launch(&settings.limits, worker_type)?;
        Some(
            Failure::usage(format!("no instance of `{name}` can ever be launched: {why}"))
                .with_hint(format!("set `worker-types.{name}.max-price`{fix}")),
        )
    });
    failures.reduce(Failure::and)
}

/// Returns which limit in dollars prevents every launch, and what else than the maximum price would help.
fn cannot_launch(limits: &Limits, worker_type: &WorkerType) -> Option<(String, &'static str)> {
    let Limits { max_instances: _, max_usd_per_hour, max_usd_per_day } = limits;
    let limit = [
        ("limits.max-usd-per-hour", max_usd_per_hour.is_some()),
        ("limits.max-usd-per-day", max_usd_per_day.is_some()),
    ];
    let limit = limit.into_iter().find_map(|(key, is_set)| is_set.then_some(key))?;
    let Some(price) = worker_type.max_price else {
        return Some((format!("it has no max-price, and {limit} is set"), ""));
    };
    if let Some(max) = max_usd_per_hour.filter(|max| price > *max) {
        let why = format!(
            "its max-price ({}) is more than limits.max-usd-per-hour ({}) allows for everything",
            price.dollars(),
            max.dollars()
        );
        return Some((why, ", or raise `limits.max-usd-per-hour`"));
    }
    let lifetime = worker_type.max_lifetime.map(|lifetime| lifetime.saturating_mul(2));
    let counted = lifetime.unwrap_or(Duration::MAX).min(Limits::LEAST_AHEAD);
    let max = max_usd_per_day.filter(|max| price.over(counted) > *max)?;
    let why = format!(
        "its max-price ({}) is counted for {}, which is more than limits.max-usd-per-day ({}) allows",
        price.dollars(),
        duration::show(counted),
        max.dollars()
    );
    Some((why, ", or raise `limits.max-usd-per-day`"))
}

fn minimum_over_the_limit(settings: &Settings) -> Option<Finding> {
    let limit = settings.limits.max_instances?;
    let minimums = settings.worker_types.values().map(|worker_type| worker_type.min_instances);
    let minimum = minimums.fold(0, u64::saturating_add);
    (minimum > limit).then(|| {
        Finding::new(
            &format!(
                "the sum of min-instances over all worker types is {minimum}, and limits.max-instances is {limit}"
            ),
            "raise `limits.max-instances`, or lower `min-instances`",
        )
    })
}

#[derive(Serialize)]
struct Verdict {
    ok: bool,
    /// In rising precedence.
    files: Vec<PathBuf>,
    worker_types: Vec<ValidatedType>,
    warnings: Vec<Finding>,
    /// The text form prints these to stderr, like all errors.
    problems: Vec<Finding>,
    /// The findings of `--aws`.
    #[serde(flatten)]
    aws: Option<AwsChecks>,
}

#[derive(Serialize)]
struct ValidatedType {
    name: String,
    image_id: String,
    instance_types: Vec<String>,
    min_instances: u64,
    max_instances: u64,
    /// Null stands for the on-demand price.
    max_price_usd_per_hour: Option<f64>,
}

#[derive(Default, Serialize)]
struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    message: String,
    hint: String,
}

impl Verdict {
    fn refused(error: &ConfigError) -> Self {
        let ConfigError { problems, warnings } = error;
        Self {
            ok: false,
            files: Vec::new(),
            worker_types: Vec::new(),
            warnings: warnings.iter().map(Finding::warning).collect(),
            problems: problems.iter().map(Finding::problem).collect(),
            aws: None,
        }
    }
}

impl Finding {
    fn new(message: &str, hint: &str) -> Self {
        Self { message: message.to_owned(), hint: hint.to_owned(), ..Self::default() }
    }

    fn warning(warning: &Warning) -> Self {
        let Warning { message, hint } = warning;
        Self::new(message, hint)
    }

    fn problem(problem: &ConfigProblem) -> Self {
        let ConfigProblem { origin, key, message, hint } = problem;
        Self {
            origin: Some(origin.to_string()),
            key: Some(key.clone()).filter(|key| !key.is_empty()),
            ..Self::new(message, hint)
        }
    }

    fn refusals(failure: &Failure) -> impl Iterator<Item = Self> {
        failure.messages().map(|(message, hint)| Self::new(message, hint.unwrap_or_default()))
    }
}

impl ValidatedType {
    fn of((name, worker_type): (&WorkerTypeName, &WorkerType)) -> Self {
        Self {
            name: name.to_string(),
            image_id: worker_type.image_id.clone(),
            instance_types: worker_type.instance_types.iter().map(ToString::to_string).collect(),
            min_instances: worker_type.min_instances,
            max_instances: worker_type.max_instances,
            max_price_usd_per_hour: worker_type.max_price.map(UsdPerHour::dollars),
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            self.image_id.clone(),
            self.instance_types.join(" "),
            self.min_instances.to_string(),
            self.max_instances.to_string(),
            self.max_price_usd_per_hour
                .map_or_else(|| "on-demand".to_owned(), |price| price.to_string()),
        ]
    }
}

impl Report for Verdict {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "read {}", file.display())?;
        }
        if !self.worker_types.is_empty() {
            let header = ["WORKER TYPE", "IMAGE", "INSTANCE TYPES", "MIN", "MAX", "USD/HOUR"];
            output::write_table(f, header, self.worker_types.iter().map(ValidatedType::cells))?;
        }
        for Finding { message, hint, .. } in &self.warnings {
            writeln!(f, "warning: {message}")?;
            if !hint.is_empty() {
                writeln!(f, "hint: {hint}")?;
            }
        }
        if let Some(checks) = &self.aws {
            return write!(f, "{checks}");
        }
        match self.problems.len() {
            0 => writeln!(f, "ok"),
            n => writeln!(f, "{}", plural::count(n, "problem")),
        }
    }
}
