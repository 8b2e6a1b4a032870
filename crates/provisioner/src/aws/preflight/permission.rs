//! May these credentials do what a round does? The launches are judged with their worker types.

use super::facts::{DryRun, DryRunAnswer, DryRunTarget, PreflightFacts};
use super::report::{CallNeed, FindingKind, PreflightReport, Severity, said};
use crate::domain::refusal::RefusalClass;

/// What every round does first.
const LISTING: &str = "DescribeSpotInstanceRequests and DescribeInstances";

pub(super) fn assess(facts: &PreflightFacts, verdict: &mut PreflightReport) {
    let mut about = verdict.about_everybody();
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
            // Something of ours that went away between the look and the dry run tells as little.
            _ => about.find(
                Severity::NotCheckable,
                FindingKind::Permission,
                *operation,
                format!(
                    "there is nothing of ours to try it on, and for an id that nothing has EC2 says {}",
                    said(refusal)
                ),
                "validate again while an instance and a spot request of ours exist",
            ),
        }
    }
}
