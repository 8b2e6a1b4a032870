//! Checks how EC2 answered the dry runs of a worker type's launches.

use super::facts::{
    DryRunAnswer, InstanceProfileFacts, LaunchSite, PreflightFacts, WorkerTypeFacts,
};
use super::report::{CallNeed, FindingKind, FindingWriter, Severity, message_of};
use crate::domain::ids::SubnetId;
use crate::domain::refusal::{Refusal, RefusalClass};

const OPERATION: &str = "RequestSpotInstances";

pub(super) fn assess(
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    about: &mut FindingWriter<'_>,
) {
    if found.launches.is_empty() {
        about.find(
            Severity::NotCheckable,
            FindingKind::Launch,
            OPERATION,
            "EC2's answer to the call is not known",
            "fix the errors above first",
        );
        return;
    }
    let mut groups: Vec<(&DryRunAnswer, Vec<&LaunchSite>)> = Vec::new();
    for (site, answer) in &found.launches {
        let same = groups.iter_mut().find(|(known, _)| alike(known, answer));
        match same {
            Some((_, sites)) => sites.push(site),
            None => groups.push((answer, vec![site])),
        }
    }
    for (answer, sites) in groups {
        let subject =
            sites.iter().map(|site| site_text(site, found)).collect::<Vec<_>>().join("; ");
        match answer {
            DryRunAnswer::Allowed => {
                about.good(FindingKind::Launch, subject, format!("{OPERATION} allowed"));
            }
            DryRunAnswer::Done => about.error(
                FindingKind::Launch,
                subject,
                "was launched although it was a dry run: what answers at this endpoint is not EC2",
                "`cleanup-aws` removes it; check `aws.endpoint-url`",
            ),
            DryRunAnswer::Refused(refusal) => refused(refusal, subject, found, facts, about),
        }
    }
}

fn refused(
    refusal: &Refusal,
    subject: String,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    about: &mut FindingWriter<'_>,
) {
    let has_profile =
        matches!(found.profile, Some(Ok(Some(InstanceProfileFacts { has_role: true }))));
    match refusal.class {
        RefusalClass::Unauthorized => about.error(
            FindingKind::Permission,
            subject,
            format!("{OPERATION} is refused: {}", message_of(refusal)),
            "allow what it names: `provisionerd iam-policy` prints what is needed",
        ),
        RefusalClass::NoCapacity
        | RefusalClass::UnsuitablePlace
        | RefusalClass::NoFreeAddresses
        | RefusalClass::Quota => about.find(
            Severity::Warning,
            FindingKind::Launch,
            subject,
            format!("EC2 would refuse it now: {}", message_of(refusal)),
            if refusal.class == RefusalClass::Quota {
                "ask AWS Service Quotas for more, or lower `max-instances`"
            } else {
                "name other instance types, zones or subnets as well"
            },
        ),
        // The profile exists in IAM, and EC2 learns of it later.
        RefusalClass::UnknownProfile if has_profile => about.find(
            Severity::Warning,
            FindingKind::Launch,
            subject,
            format!("EC2 does not know the instance profile yet: {}", message_of(refusal)),
            "validate again in some minutes: what IAM makes does not reach EC2 at once; `run` tries again \
             by itself",
        ),
        // A wrong image fails the call, and the check of the image has reported it.
        RefusalClass::NotFound
        | RefusalClass::UnknownProfile
        | RefusalClass::Unclear
        | RefusalClass::Invalid
            if about.has_errors() => about.find(
            Severity::NotCheckable,
            FindingKind::Launch,
            subject,
            format!("EC2 refuses it as it is: {}", message_of(refusal)),
            "fix the errors above first",
        ),
        RefusalClass::NotFound
        | RefusalClass::UnknownProfile
        | RefusalClass::Unclear
        | RefusalClass::Invalid
        | RefusalClass::IdempotentMismatch
        | RefusalClass::Transient
        | RefusalClass::Throttled => about.unknown(
            FindingKind::Launch,
            subject,
            OPERATION,
            CallNeed::Run,
            refusal,
            &format!("correct the setting it names; launches in {} fail with it", facts.region),
        ),
    }
}

/// Returns whether two answers read the same. Request ids and encoded messages differ from call to call.
fn alike(one: &DryRunAnswer, other: &DryRunAnswer) -> bool {
    match (one, other) {
        (DryRunAnswer::Refused(one), DryRunAnswer::Refused(other)) => {
            message_of(one) == message_of(other)
        }
        (one, other) => one == other,
    }
}

fn site_text(site: &LaunchSite, found: &WorkerTypeFacts) -> String {
    let LaunchSite { instance_type, placement } = site;
    // The configuration names its subnets, and a default subnet by its zone.
    let is_configured =
        |subnet: &&SubnetId| found.subnets.as_ref().is_ok_and(|it| it.contains_key(*subnet));
    match (placement.subnet.as_ref().filter(is_configured), &placement.zone) {
        (Some(subnet), _) => format!("{instance_type} in {subnet}"),
        (None, Some(zone)) => format!("{instance_type} in {zone}"),
        (None, None) => instance_type.to_string(),
    }
}
