//! Checks that the instance types of a worker type are offered where it launches, as spot instances, and
//! that they can run its image.

use std::collections::BTreeSet;

use super::facts::{ImageFacts, InstanceTypeFacts, PreflightFacts, WorkerTypeFacts};
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
use crate::domain::ids::Zone;
use crate::settings::WorkerType;

pub(super) fn assess(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    image: Option<&ImageFacts>,
    about: &mut FindingWriter<'_>,
) {
    let zones = usable_zones(found, facts);
    for instance_type in &worker_type.instance_types {
        let subject = instance_type.as_str();
        let mut problems = Vec::new();
        match &facts.instance_types {
            Ok(types) => match types.get(instance_type) {
                Some(kind) => problems.extend(mismatches(kind, image)),
                None => problems.push((
                    format!("does not exist in {}", facts.region),
                    "check the spelling; not every region has every instance type",
                )),
            },
            Err(refusal) => about.unknown(
                FindingKind::InstanceType,
                subject,
                "DescribeInstanceTypes",
                CallNeed::ValidateOnly,
                refusal,
                "check `instance-types`",
            ),
        }
        let mut offered = None;
        match &facts.offerings {
            // A type that does not exist is offered nowhere; one finding is enough.
            Ok(_) if !problems.is_empty() => {}
            Ok(offerings) => {
                let there = offerings.get(instance_type);
                match whereabouts(there, zones.as_ref(), &facts.region) {
                    Whereabouts::Everywhere(text) => offered = Some(text),
                    Whereabouts::Partly(text) => about.find(
                        Severity::Note,
                        FindingKind::InstanceType,
                        subject,
                        text,
                        "nothing to fix: it is not asked for there, and other choices are",
                    ),
                    Whereabouts::Nowhere(text) => problems.push((
                        text,
                        "use another instance type, or `availability-zones` and `subnets` where it is offered",
                    )),
                }
            }
            Err(refusal) => about.unknown(
                FindingKind::InstanceType,
                subject,
                "DescribeInstanceTypeOfferings",
                CallNeed::ValidateOnly,
                refusal,
                "check `instance-types`",
            ),
        }
        if let (true, Some(text)) = (problems.is_empty(), offered) {
            about.good(FindingKind::InstanceType, subject, text);
        }
        for (text, fix) in problems {
            about.error(FindingKind::InstanceType, subject, text, fix);
        }
    }
}

/// Returns the zones in which it may launch, or `None` if they are not known.
pub(super) fn usable_zones(
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
) -> Option<BTreeSet<Zone>> {
    let placements = found.placements.as_ref().ok()?;
    if placements.iter().any(|placement| placement.zone.is_none()) {
        // Without a subnet EC2 launches in the region's own zones. Local Zones have longer names.
        let mut zones = facts.zones.as_ref().ok()?.clone();
        zones.retain(|zone| zone.as_str().len() == facts.region.len() + 1);
        return Some(zones);
    }
    Some(placements.iter().filter_map(|placement| placement.zone.clone()).collect())
}

/// Returns the reasons, each with a fix, why this type cannot run this image as a spot instance.
fn mismatches(kind: &InstanceTypeFacts, image: Option<&ImageFacts>) -> Vec<(String, &'static str)> {
    let mut problems = Vec::new();
    let lacks =
        |list: &[String], wanted: &str| !list.is_empty() && !list.iter().any(|one| one == wanted);
    if lacks(&kind.usage_classes, "spot") {
        problems.push((
            format!("cannot be had as a spot instance ({} only)", kind.usage_classes.join(", ")),
            "use another instance type",
        ));
    }
    let Some(image) = image else { return problems };
    if let Some(architecture) = &image.architecture
        && lacks(&kind.architectures, architecture)
    {
        problems.push((
            format!("is {}, and the image is for {architecture}", kind.architectures.join(", ")),
            "use an image for this architecture, or other instance types; one worker type has one image",
        ));
    }
    if let Some(virtualization) = &image.virtualization_type
        && lacks(&kind.virtualization_types, virtualization)
    {
        problems.push((
            format!(
                "runs {} images, and this one is {virtualization}",
                kind.virtualization_types.join(", ")
            ),
            "use an HVM image",
        ));
    }
    if kind.ena_required && image.ena == Some(false) {
        problems.push((
            "needs enhanced networking (ENA), which the image is not marked for".to_owned(),
            "install the ENA driver and register the image with ENA support",
        ));
    }
    problems
}

enum Whereabouts {
    Everywhere(String),
    Partly(String),
    Nowhere(String),
}

fn whereabouts(
    offered: Option<&BTreeSet<Zone>>,
    usable: Option<&BTreeSet<Zone>>,
    region: &str,
) -> Whereabouts {
    let Some(offered) = offered.filter(|zones| !zones.is_empty()) else {
        return Whereabouts::Nowhere(format!("is offered nowhere in {region}"));
    };
    let Some(usable) = usable.filter(|zones| !zones.is_empty()) else {
        return Whereabouts::Everywhere(format!("offered in {}", list(offered)));
    };
    let there: BTreeSet<Zone> = usable.intersection(offered).cloned().collect();
    let missing: BTreeSet<Zone> = usable.difference(offered).cloned().collect();
    if there.is_empty() {
        Whereabouts::Nowhere(format!(
            "is offered in {} only, and this worker type launches in {}",
            list(offered),
            list(usable)
        ))
    } else if missing.is_empty() {
        Whereabouts::Everywhere(format!("offered as spot in {}", list(&there)))
    } else {
        Whereabouts::Partly(format!(
            "is offered in {}, and not in {}",
            list(&there),
            list(&missing)
        ))
    }
}

pub(super) fn list(zones: &BTreeSet<Zone>) -> String {
    zones.iter().map(Zone::as_str).collect::<Vec<_>>().join(", ")
}
