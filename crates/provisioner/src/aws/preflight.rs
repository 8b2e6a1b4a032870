//! `validate --aws`: checks that everything that the configuration names would work in AWS.
//!
//! `aws::Client::preflight` gathers [`PreflightFacts`] without changing anything, and [`assess`] compares
//! the settings with them. What cannot be known without buying something is reported as such
//! ([`Severity::NotCheckable`]) and never counts as good.

mod account;
mod facts;
#[cfg(feature = "aws")]
mod gather;
#[cfg(feature = "aws")]
mod gather_settings;
mod image;
mod instance_type;
mod launch;
mod metadata;
mod network;
mod permission;
mod price;
mod profile;
mod quota;
mod report;
mod surplus;
mod volume;

#[cfg(test)]
mod tests;

#[cfg(any(feature = "aws", test))]
pub(crate) use facts::{
    AllowedImages, DryRun, DryRunTarget, Fact, InstanceProfileFacts, InstanceTypeFacts, LaunchSite,
    MetadataDefaults, SecurityGroupFacts, SubnetFacts, WorkerTypeFacts,
};
pub use facts::{DryRunAnswer, ImageFacts, PreflightFacts};
pub use report::{Finding, PassedCheck, PreflightReport, Severity};

use jiff::Timestamp;

use crate::settings::Settings;

/// Compares the settings with the facts. A worker type without facts is skipped. Each worker type is
/// assessed independently of the others.
pub fn assess(settings: &Settings, facts: &PreflightFacts, now: Timestamp) -> PreflightReport {
    let mut report = PreflightReport::default();
    account::assess(settings, facts, &mut report);
    permission::assess(facts, &mut report);
    quota::assess(settings, facts, &mut report);
    for (name, worker_type) in &settings.worker_types {
        let Some(found) = facts.worker_types.get(name) else { continue };
        let mut about = report.about(name);
        let image = image::assess(worker_type, found, facts, now, &mut about);
        network::assess(worker_type, found, facts, &mut about);
        volume::assess(worker_type, image, &mut about);
        metadata::assess(worker_type, facts, image, &mut about);
        instance_type::assess(worker_type, found, facts, image, &mut about);
        price::assess(worker_type, found, facts, image, &mut about);
        surplus::assess(worker_type, settings, facts, image, &mut about);
        profile::assess(worker_type, found, &mut about);
        launch::assess(found, facts, &mut about);
    }
    report
}
