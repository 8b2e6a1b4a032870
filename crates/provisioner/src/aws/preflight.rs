//! `validate --aws`: would what the configuration names work in AWS?
//!
//! `aws::Client::preflight` gathers [`Facts`] without changing anything; [`judge`] holds the settings
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
mod verdict;

#[cfg(test)]
mod tests;

pub use facts::{
    DryRun, DryRunAnswer, Facts, Group, Image, InstanceProfile, InstanceTypeFacts, Looked, Place,
    Subnet, Target, WorkerTypeFacts,
};
pub use verdict::{Checked, Finding, Kind, Severity, Verdict};

use jiff::Timestamp;

use crate::settings::Settings;

/// Holds the settings against the facts. A worker type without facts was not looked at, and is not
/// judged; one that is wrong leaves the judgement of the others as it is.
pub fn judge(settings: &Settings, facts: &Facts, now: Timestamp) -> Verdict {
    let mut verdict = Verdict::default();
    account::judge(settings, facts, &mut verdict);
    permission::judge(facts, &mut verdict);
    quota::judge(settings, facts, &mut verdict);
    for (name, worker_type) in &settings.worker_types {
        let Some(found) = facts.worker_types.get(name) else { continue };
        let mut about = verdict.about(name);
        let image = image::judge(worker_type, found, facts, now, &mut about);
        network::judge(worker_type, found, facts, &mut about);
        instance_type::judge(worker_type, found, facts, image, &mut about);
        price::judge(worker_type, found, facts, &mut about);
        profile::judge(worker_type, found, &mut about);
        launch::judge(found, facts, &mut about);
    }
    verdict
}
