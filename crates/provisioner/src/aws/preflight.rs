//! `validate --aws`: would what the configuration names work in AWS?
//!
//! `aws::Client::preflight` gathers [`PreflightFacts`] without changing anything; [`assess`] holds the settings
//! against them. What cannot be known without buying something is said to be so
//! ([`Severity::NotCheckable`]) and never passes for good.

mod account;
mod facts;
#[cfg(feature = "aws")]
mod gather;
mod image;
mod instance_type;
mod launch;
mod network;
mod permission;
mod price;
mod profile;
mod quota;
mod report;

#[cfg(test)]
mod tests;

pub use facts::{
    DryRun, DryRunAnswer, DryRunTarget, Fact, ImageFacts, InstanceProfileFacts, InstanceTypeFacts,
    LaunchSite, PreflightFacts, SecurityGroupFacts, SubnetFacts, WorkerTypeFacts,
};
pub use report::{Finding, FindingKind, PassedCheck, PreflightReport, Severity};

use jiff::Timestamp;

use crate::settings::Settings;

/// Holds the settings against the facts. A worker type without facts was not looked at, and is not
/// judged; one that is wrong leaves the judgement of the others as it is.
pub fn assess(settings: &Settings, facts: &PreflightFacts, now: Timestamp) -> PreflightReport {
    let mut verdict = PreflightReport::default();
    account::assess(settings, facts, &mut verdict);
    permission::assess(facts, &mut verdict);
    quota::assess(settings, facts, &mut verdict);
    for (name, worker_type) in &settings.worker_types {
        let Some(found) = facts.worker_types.get(name) else { continue };
        let mut about = verdict.about(name);
        let image = image::assess(worker_type, found, facts, now, &mut about);
        network::assess(worker_type, found, facts, &mut about);
        instance_type::assess(worker_type, found, facts, image, &mut about);
        price::assess(worker_type, found, facts, &mut about);
        profile::assess(worker_type, found, &mut about);
        launch::assess(found, facts, &mut about);
    }
    verdict
}
