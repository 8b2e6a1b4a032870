//! `[worker-types.NAME]` and `[worker-defaults]`.

use std::time::Duration;

use super::{launch_specification, tags};
use crate::config::section::{Recording, Section};
use crate::config::setting::{Rejection, tight};
use crate::domain::ids::{InstanceType, SubnetId, Zone};
use crate::domain::money::UsdPerHour;
use crate::domain::user_data::{Asking, UserData, Variables};
use crate::policy::Policy;
use crate::settings::WorkerType;

/// The values of other sections with which templates are checked.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) key_name: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    /// The region that the files name, where our resources are.
    pub(super) saved_region: Option<&'a str>,
    pub(super) queue_url: &'a str,
    pub(super) asking: Asking<'a>,
}

/// The table that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// `[worker-defaults]` alone. It is incomplete, so only single values can be checked.
    Defaults,
    /// A worker type, laid over the defaults.
    Type { name: &'a str },
}

pub(super) fn read(section: &Section<'_>, context: &Context<'_>, part: Part<'_>) -> WorkerType {
    let worker_type = WorkerType {
        aliases: section.list(
            "aliases",
            "Other values of the pointer that mean this worker type",
            |text| not_blank(text, "alias").map(str::to_owned),
        ),
        image_id: image_id(section).unwrap_or_default(),
        instance_types: section.list(
            "instance-types",
            "Instance types, in order of preference",
            parse_instance_type,
        ),
        availability_zones: section.list(
            "availability-zones",
            "Zones to launch in; if empty, all zones of the region; with `subnets`, filters these",
            |text| not_blank(text, "zone").and_then(tight).map(Zone::new),
        ),
        subnets: section.list(
            "subnets",
            "Subnets to launch in, `subnet-…`; if empty, the default subnets of the default VPC",
            parse_subnet,
        ),
        security_groups: section.list(
            "security-groups",
            "Ids (`sg-…`), or names in the subnets' VPC; if empty, the VPC's default group",
            |text| not_blank(text, "security group").and_then(tight).map(str::to_owned),
        ),
        iam_instance_profile: section.checked(
            "iam-instance-profile",
            "The name or ARN of the instance profile whose role the workers have",
            parse_instance_profile,
        ),
        user_data: user_data(section),
        max_price: section.optional(
            "max-price",
            "The highest price per instance-hour; without it, up to the on-demand price",
        ),
        policy: {
            check_launch(section);
            policy(section)
        },
        request_timeout: section.positive_duration(
            "request-timeout",
            Duration::from_mins(10),
            "The age at which an open request is cancelled, to be tried elsewhere",
        ),
        min_instances: section.value("min-instances", 0, "The number of instances that are kept even without tasks"),
        max_instances: section.value(
            "max-instances",
            20,
            "The most instances, open requests and launches in flight, for any number of tasks",
        ),
        tasks_per_instance: section.value(
            "tasks-per-instance",
            1,
            "The number of tasks that one instance runs at a time",
        ),
        idle_timeout: section.value(
            "idle-timeout",
            Duration::from_mins(15),
            "How long workers stay idle before they stop by themselves; `user-data` has to tell them",
        ),
        boot_timeout: section.positive_duration(
            "boot-timeout",
            Duration::from_mins(15),
            "How long an instance may take to claim its first task; after that it is terminated or, if the \
             queue does not report which instance runs which task, no longer counted",
        ),
        max_lifetime: max_lifetime(section),
        tags: section.section(
            "tags",
            "Tags for everything that is made, in addition to our own: any names with texts",
            tags::read,
        ),
        launch_specification: section.section_recording(
            "launch-specification",
            Recording::WhatIsSet,
            "Further fields of EC2's launch specification, as EC2 spells them",
            launch_specification::read,
        ),
    };
    check_values(section, &worker_type);
    if let Part::Type { name } = part {
        check_complete(section, &worker_type);
        check_zones(section, context.saved_region, &worker_type.availability_zones);
        check_template(section, context, name, &worker_type);
    }
    worker_type
}

fn image_id(section: &Section<'_>) -> Option<String> {
    let meaning = "`ami-…`, or `ssm:/…` for a parameter of Systems Manager that holds one";
    section.checked("image-id", meaning, parse_image_id)
}

/// Checks `launch`. It has a single value so far, so there is nothing to remember.
fn check_launch(section: &Section<'_>) {
    section.choice("launch", &[("spot-request", ())], (), "How capacity is requested");
}

fn policy(section: &Section<'_>) -> Policy {
    let meaning = "What decides how much capacity is wanted: `adaptive`, `basic`, `worker-manager` or \
                   `worker-manager-deployed`; with settings, `adaptive:wait-cost=5`";
    section.checked_or("policy", Policy::default(), meaning, parse_policy).unwrap_or_default()
}

fn max_lifetime(section: &Section<'_>) -> Option<Duration> {
    let lifetime = section.value(
        "max-lifetime",
        Duration::from_hours(24),
        "The age from which an instance is no longer counted and is terminated when idle, and at twice \
         the age also when busy; `\"0s\"` means never",
    );
    (!lifetime.is_zero()).then_some(lifetime)
}

/// Checks single values, which are wrong in the defaults as well as in a worker type.
fn check_values(section: &Section<'_>, worker_type: &WorkerType) {
    if worker_type.max_price == Some(UsdPerHour::ZERO) {
        let hint = "leave max-price out to pay up to the on-demand price";
        section.problem("max-price", "at 0 USD no request is ever fulfilled", hint);
    }
    if worker_type.tasks_per_instance == 0 {
        section.problem(
            "tasks-per-instance",
            "an instance must run at least one task",
            "1 or more",
        );
    }
}

/// Checks the rules that apply only to a complete worker type.
fn check_complete(section: &Section<'_>, worker_type: &WorkerType) {
    if worker_type.image_id.is_empty() {
        section.required("image-id", "add image-id = \"ami-…\" here or in [worker-defaults]");
    }
    if worker_type.instance_types.is_empty() {
        let hint = "add instance-types = [\"c7g.large\"] here or in [worker-defaults]";
        if section.is_set("instance-types") {
            section.contradiction(&["instance-types"], "must name at least one type", hint);
        } else {
            section.required("instance-types", hint);
        }
    }
    let min = worker_type.min_instances;
    let max = worker_type.max_instances;
    if min > max {
        section.contradiction(
            &["min-instances", "max-instances"],
            format!(
                "min-instances ({}) is more than max-instances ({})",
                section.shown(&min, "min-instances"),
                section.shown(&max, "max-instances"),
            ),
            "raise max-instances or lower min-instances",
        );
    }
}

/// Checks that zones are of the region. The names of all zones begin with it, local zones included.
fn check_zones(section: &Section<'_>, region: Option<&str>, zones: &[Zone]) {
    let Some(region) = region else { return };
    for zone in zones.iter().filter(|zone| !zone.as_str().starts_with(region)) {
        section.contradiction(
            &["availability-zones"],
            format!("`{zone}` is not a zone of the region `{region}` (aws.region)"),
            &format!("its zones have names such as {region}a"),
        );
    }
}

/// Checks the names in a template, and its length with the values that are known already.
fn check_template(
    section: &Section<'_>,
    context: &Context<'_>,
    name: &str,
    worker_type: &WorkerType,
) {
    let Some(user_data) = &worker_type.user_data else { return };
    let Context { key_name, region, saved_region: _, queue_url, asking } = context;
    let variables = Variables {
        // `setup-aws` may not have made a key-name yet, and the region may be the SDK's.
        key_name: key_name.or(Some("")),
        worker_type: name,
        region: region.unwrap_or_default(),
        queue_url,
        idle_timeout: worker_type.idle_timeout,
        asking: *asking,
    };
    if let Err(error) = user_data.render(&variables) {
        let at = if section.is_set("user-data-file") { "user-data-file" } else { "user-data" };
        section.contradiction(&[at], error.to_string(), "");
    }
}

fn user_data(section: &Section<'_>) -> Option<UserData> {
    let template = section.value(
        "user-data-template",
        false,
        "Whether to fill in `${{ key_name }}`, `${{ worker_type }}`, `${{ region }}`, `${{ queue_url }}`, \
         `${{ idle_timeout }}` and, if workers may ask whether to stop, `${{ stop_url }}` and \
         `${{ stop_token }}`",
    );
    let written = section.secret_text(
        "user-data",
        "User data of the machine, sent as written; 16 KiB at most; anyone on the machine can read it",
    );
    let file = section.path("user-data-file", "The file to take the user data from, instead");
    if written.is_some() && file.is_some() {
        let message = "user-data and user-data-file are both set";
        section.contradiction(&["user-data", "user-data-file"], message, "keep one of them");
        return None;
    }
    let (key, raw) = match (written, file) {
        (Some(text), _) => ("user-data", text.into_bytes()),
        (None, Some(file)) => match read_user_data(&file) {
            Ok(bytes) => ("user-data-file", bytes),
            Err(Rejection { message, hint }) => {
                section.problem("user-data-file", message, hint);
                return None;
            }
        },
        (None, None) => return None,
    };
    if raw.len() > UserData::MAX_LEN {
        section.problem(key, too_long(raw.len() as u64), "let it fetch the rest");
        return None;
    }
    Some(UserData { raw, template })
}

fn too_long(len: u64) -> String {
    format!("has {len} bytes; EC2 takes at most {} (16 KiB)", UserData::MAX_LEN)
}

fn read_user_data(file: &std::path::Path) -> Result<Vec<u8>, Rejection> {
    let unreadable = |error: std::io::Error| {
        let hint = "the path is relative to the configuration file";
        Rejection::new(format!("{} cannot be read: {error}", file.display()), hint)
    };
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    // The length is checked before reading, since the file may be a disk image or an endless device.
    if metadata.is_file() && metadata.len() > UserData::MAX_LEN as u64 {
        return Err(Rejection::new(too_long(metadata.len()), "let it fetch the rest"));
    }
    if !metadata.is_file() {
        return Err(Rejection::new(format!("{} is not a file", file.display()), ""));
    }
    std::fs::read(file).map_err(unreadable)
}

fn not_blank<'a>(text: &'a str, what: &str) -> Result<&'a str, Rejection> {
    if text.trim().is_empty() {
        return Err(Rejection::new(format!("`{text}` is not a {what}"), ""));
    }
    Ok(text)
}

/// Takes the name or the ARN of an instance profile.
fn parse_instance_profile(text: &str) -> Result<String, Rejection> {
    let text = tight(text)?;
    if !text.starts_with("arn:") || text.contains(":instance-profile/") {
        return Ok(text.to_owned());
    }
    let what = if text.contains(":role/") { "a role" } else { "something else" };
    Err(Rejection::new(
        format!("`{text}` is the ARN of {what}, not of an instance profile"),
        "`aws iam list-instance-profiles-for-role --role-name …` names those of a role; one that was made in \
         the console has the name of its role",
    ))
}

fn parse_policy(text: &str) -> Result<Policy, Rejection> {
    let policy = text.parse::<Policy>();
    policy.map_err(|error| Rejection::new(error.to_string(), error.hint()))
}

fn parse_image_id(text: &str) -> Result<String, Rejection> {
    let text = tight(text)?;
    let is_image = text.strip_prefix("ami-").is_some_and(|id| !id.is_empty());
    if is_image || text.strip_prefix("ssm:").is_some_and(|path| path.starts_with('/')) {
        Ok(text.to_owned())
    } else {
        let hint = "\"ami-…\", or \"ssm:/aws/service/…\" for a parameter that holds one";
        Err(Rejection::new(format!("`{text}` is not an image"), hint))
    }
}

fn parse_instance_type(text: &str) -> Result<InstanceType, Rejection> {
    let text = tight(text)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let parts = text.split_once('.');
    let has_both = parts.is_some_and(|(family, size)| !family.is_empty() && !size.is_empty());
    if has_both && text.chars().all(allowed) {
        Ok(InstanceType::new(text))
    } else {
        Err(Rejection::new(format!("`{text}` is not an instance type"), "such as c7g.large"))
    }
}

fn parse_subnet(text: &str) -> Result<SubnetId, Rejection> {
    let text = tight(text)?;
    if text.starts_with("subnet-") {
        Ok(SubnetId::new(text))
    } else {
        Err(Rejection::new(format!("`{text}` is not a subnet id"), "subnet-…"))
    }
}
