//! Checks the zones, subnets and security groups of a worker type.

use std::collections::BTreeSet;

use super::facts::{PreflightFacts, WorkerTypeFacts};
use super::instance_type::list;
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
use crate::domain::ids::SubnetId;
use crate::settings::WorkerType;

pub(super) fn assess(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    about: &mut FindingWriter<'_>,
) {
    zones(worker_type, found, facts, about);
    let vpcs = if worker_type.subnets.is_empty() {
        default_vpc(facts, about)
    } else {
        subnets(worker_type, found, facts, about)
    };
    groups(found, &vpcs, about);
}

fn zones(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    about: &mut FindingWriter<'_>,
) {
    match &facts.zones {
        _ if worker_type.availability_zones.is_empty() => {}
        Ok(there) => {
            for zone in &worker_type.availability_zones {
                if !there.contains(zone) {
                    let text = format!("{} has {} for this account", facts.region, list(there));
                    let fix = "correct `availability-zones`";
                    about.error(
                        FindingKind::Zone,
                        zone.as_str(),
                        format!("does not exist: {text}"),
                        fix,
                    );
                }
            }
        }
        Err(refusal) => {
            let zones: BTreeSet<_> = worker_type.availability_zones.iter().cloned().collect();
            about.unknown(
                FindingKind::Zone,
                list(&zones),
                "DescribeAvailabilityZones",
                CallNeed::ValidateOnly,
                refusal,
                "correct `availability-zones`",
            );
        }
    }
    // If subnets are missing, the check of the subnets reports that.
    let all_there = found
        .subnets
        .as_ref()
        .is_ok_and(|there| worker_type.subnets.iter().all(|id| there.contains_key(id)));
    if let (true, Err(refusal)) = (all_there, &found.placements) {
        about.unknown(
            FindingKind::Zone,
            refusal_subject(worker_type),
            "DescribeSubnets",
            CallNeed::Run,
            refusal,
            "name subnets in these zones, or other `availability-zones`",
        );
    }
}

fn refusal_subject(worker_type: &WorkerType) -> String {
    list(&worker_type.availability_zones.iter().cloned().collect())
}

/// Checks the default VPC, where EC2 launches without subnets. Returns it.
fn default_vpc(facts: &PreflightFacts, about: &mut FindingWriter<'_>) -> BTreeSet<String> {
    match &facts.default_vpc {
        None => BTreeSet::new(),
        Some(Ok(Some(vpc))) => BTreeSet::from([vpc.clone()]),
        Some(Ok(None)) => {
            about.error(
                FindingKind::Subnet,
                "default VPC",
                format!("no `subnets` are configured, and {} has no default VPC", facts.region),
                "name `subnets`, or make a default VPC: aws ec2 create-default-vpc",
            );
            BTreeSet::new()
        }
        Some(Err(refusal)) => {
            let fix = "name `subnets`";
            let needed = CallNeed::ValidateOnly;
            about.unknown(FindingKind::Subnet, "default VPC", "DescribeVpcs", needed, refusal, fix);
            BTreeSet::new()
        }
    }
}

fn subnets(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    about: &mut FindingWriter<'_>,
) -> BTreeSet<String> {
    let there = match &found.subnets {
        Ok(there) => there,
        Err(refusal) => {
            let ids: Vec<_> = worker_type.subnets.iter().map(SubnetId::as_str).collect();
            about.unknown(
                FindingKind::Subnet,
                ids.join(", "),
                "DescribeSubnets",
                CallNeed::Run,
                refusal,
                "check `subnets`",
            );
            return BTreeSet::new();
        }
    };
    for id in &worker_type.subnets {
        let Some(subnet) = there.get(id) else {
            about.error(
                FindingKind::Subnet,
                id.as_str(),
                format!("does not exist in {}: the worker type cannot be used", facts.region),
                "correct `subnets`",
            );
            continue;
        };
        if subnet.free_addresses == Some(0) {
            about.find(
                Severity::Warning,
                FindingKind::Subnet,
                id.as_str(),
                "has no free address: nothing can be launched there now",
                "name a larger subnet, or free addresses",
            );
        } else {
            let text = format!("in {}, {}", subnet.zone, subnet.vpc);
            about.good(FindingKind::Subnet, id.as_str(), text);
        }
    }
    there.values().map(|subnet| subnet.vpc.clone()).collect()
}

fn groups(found: &WorkerTypeFacts, vpcs: &BTreeSet<String>, about: &mut FindingWriter<'_>) {
    for (configured, group) in &found.groups {
        let group = match group {
            Ok(Some(group)) => group,
            Ok(None) => {
                about.error(
                    FindingKind::SecurityGroup,
                    configured,
                    "does not exist",
                    "correct `security-groups`",
                );
                continue;
            }
            Err(refusal) => {
                // `run` resolves names, and sends ids as they are.
                let by_id = configured.starts_with("sg-");
                let needed = if by_id { CallNeed::ValidateOnly } else { CallNeed::Run };
                about.unknown(
                    FindingKind::SecurityGroup,
                    configured,
                    "DescribeSecurityGroups",
                    needed,
                    refusal,
                    "correct `security-groups`: a name must mean one group in the subnets' VPC, and an id always does",
                );
                continue;
            }
        };
        let others: Vec<&str> = group.vpc.as_ref().map_or_else(Vec::new, |own| {
            vpcs.iter().filter(|vpc| *vpc != own).map(String::as_str).collect()
        });
        if let (Some(own), false) = (&group.vpc, others.is_empty()) {
            about.error(
                FindingKind::SecurityGroup,
                configured,
                format!("is in {own}, and the worker type launches in {}", others.join(", ")),
                "name groups and subnets of one VPC",
            );
        } else {
            let text = if *configured == group.id { "exists" } else { group.id.as_str() };
            about.good(FindingKind::SecurityGroup, configured, text);
        }
    }
}
