//! Checks that these credentials may make the calls of a round. Launches are checked with their worker types.

use super::facts::{DryRun, DryRunAnswer, DryRunTarget, PreflightFacts};
use super::report::{CallNeed, FindingKind, PreflightReport, Severity, message_of};
use crate::domain::refusal::RefusalClass;

/// The calls with which every round begins.
const LISTING: &str = "DescribeSpotInstanceRequests and DescribeInstances";

pub(super) fn assess(facts: &PreflightFacts, report: &mut PreflightReport) {
    let mut about = report.about_all_worker_types();
    match &facts.listing {
        Ok(()) => about.good(FindingKind::Permission, LISTING, "allowed"),
        Err(refusal) => {
            about.unknown(FindingKind::Permission, LISTING, LISTING, CallNeed::Run, refusal, "");
        }
    }
    for DryRun { operation, target, answer } in &facts.calls {
        let refusal = match answer {
            DryRunAnswer::Allowed => {
                about.good(FindingKind::Permission, *operation, "allowed");
                continue;
            }
            DryRunAnswer::Done => {
                about.error(
                    FindingKind::Permission,
                    *operation,
                    "was made although it was a dry run: what answers at this endpoint is not EC2",
                    "check `aws.endpoint-url`",
                );
                continue;
            }
            DryRunAnswer::Refused(refusal) => refusal,
        };
        match (refusal.class, target) {
            (RefusalClass::Transient | RefusalClass::Throttled, _)
            | (RefusalClass::Unauthorized, DryRunTarget::Ours) => {
                about.unknown(FindingKind::Permission, *operation, operation, CallNeed::Run, refusal, "");
            }
            // The same if a resource of ours disappeared between the listing and the dry run.
            _ => about.find(
                Severity::NotCheckable,
                FindingKind::Permission,
                *operation,
                format!(
                    "there is nothing of ours to try it on, and for an id that does not exist EC2 answers {}",
                    message_of(refusal)
                ),
                "validate again while an instance and a spot request of ours exist",
            ),
        }
    }
}
