//! May these credentials do what a round does? The launches are judged with their worker types.

use super::facts::{DryRun, DryRunAnswer, Facts, Target};
use super::verdict::{Kind, Needed, Severity, Verdict, said};
use crate::domain::refusal::RefusalClass;

/// What every round does first.
const LISTING: &str = "DescribeSpotInstanceRequests and DescribeInstances";

pub(super) fn judge(facts: &Facts, verdict: &mut Verdict) {
    let mut about = verdict.about_everybody();
    match &facts.listing {
        Ok(()) => about.good(Kind::Permission, LISTING, "allowed"),
        Err(refusal) => {
            about.unknown(Kind::Permission, LISTING, LISTING, Needed::ByRun, refusal, "");
        }
    }
    for DryRun { operation, target, answer } in &facts.calls {
        let refusal = match answer {
            DryRunAnswer::Allowed => {
                about.good(Kind::Permission, *operation, "allowed");
                continue;
            }
            DryRunAnswer::Done => {
                about.error(
                    Kind::Permission,
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
            | (RefusalClass::Unauthorized, Target::Ours) => {
                about.unknown(Kind::Permission, *operation, operation, Needed::ByRun, refusal, "");
            }
            // Something of ours that went away between the look and the dry run tells as little.
            _ => about.find(
                Severity::NotCheckable,
                Kind::Permission,
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
