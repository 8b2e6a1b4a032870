//! Warns of burstable instance types under a dollar limit: EC2 charges surplus credits beside the price, whatever
//! the maximum price is (EC2 User Guide, "Unlimited mode for burstable performance instances").

use super::facts::{ImageFacts, PreflightFacts};
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
use crate::domain::ids::InstanceType;
use crate::domain::money::UsdPerHour;
use crate::settings::{Settings, WorkerType};

/// The families whose machines can use surplus credits, with their price per vCPU-hour in millionths of a dollar
/// under Linux and Windows, if we know it (Amazon EC2 pricing, "CPU credits").
const FAMILIES: [(&str, Option<(u64, u64)>); 5] = [
    ("t2", Some((50_000, 96_000))),
    ("t3", Some((50_000, 96_000))),
    ("t3a", Some((50_000, 96_000))),
    ("t4g", Some((40_000, 40_000))),
    ("t8i", None),
];

/// Returns the burstable family of an instance type, and the price of its surplus credits.
fn family(instance_type: &InstanceType) -> Option<(&'static str, Option<(u64, u64)>)> {
    let (family, _) = instance_type.as_str().split_once('.')?;
    FAMILIES.into_iter().find(|(name, _)| *name == family)
}

/// Returns the families whose default credits matter: those in use under a dollar limit.
#[cfg(feature = "aws")]
pub(super) fn families(settings: &Settings) -> std::collections::BTreeSet<&'static str> {
    if !is_limited(settings) {
        return std::collections::BTreeSet::new();
    }
    let types = settings.worker_types.values().flat_map(|worker_type| &worker_type.instance_types);
    types.filter_map(family).map(|(name, _)| name).collect()
}

fn is_limited(settings: &Settings) -> bool {
    settings.limits.max_usd_per_hour.is_some() || settings.limits.max_usd_per_day.is_some()
}

pub(super) fn assess(
    worker_type: &WorkerType,
    settings: &Settings,
    facts: &PreflightFacts,
    image: Option<&ImageFacts>,
    about: &mut FindingWriter<'_>,
) {
    if !is_limited(settings) {
        return;
    }
    for instance_type in &worker_type.instance_types {
        let Some((family, rates)) = family(instance_type) else { continue };
        match facts.credits.get(family) {
            Some(Ok(credits)) if credits == "standard" => {
                let text =
                    format!("{family} machines use no surplus credits by the account's default");
                about.good(FindingKind::Credits, instance_type.as_str(), text);
                continue;
            }
            Some(Err(refusal)) => about.unknown(
                FindingKind::Credits,
                instance_type.as_str(),
                "GetDefaultCreditSpecification",
                CallNeed::AccountSetting,
                refusal,
                &format!("aws ec2 get-default-credit-specification --instance-family {family}"),
            ),
            Some(Ok(_)) | None => {}
        }
        let vcpus =
            facts.instance_types.as_ref().ok().and_then(|types| types.get(instance_type)?.vcpus);
        let is_windows = image.is_some_and(ImageFacts::is_windows);
        let worst = rates.zip(vcpus).map(|((linux, windows), vcpus)| {
            let rate = if is_windows { windows } else { linux };
            UsdPerHour::from_micros(rate).times(u64::from(vcpus))
        });
        about.find(
            Severity::Warning,
            FindingKind::Credits,
            instance_type.as_str(),
            worst_price(worker_type, worst),
            format!(
                "aws ec2 modify-default-credit-specification --region {} --instance-family {family} \
                 --cpu-credits standard; or use types that are not burstable; or leave room below `[limits]`",
                facts.region
            ),
        );
    }
}

fn worst_price(worker_type: &WorkerType, surplus: Option<UsdPerHour>) -> String {
    let Some(surplus) = surplus else {
        return "may use surplus credits, which EC2 charges beside the price and no limit counts; how much \
                is not known"
            .to_owned();
    };
    let sum = worker_type.max_price.map_or_else(String::new, |price| {
        format!(": its worst price is {} USD per hour, not {price}", price.plus(surplus))
    });
    format!(
        "may use surplus credits of up to {surplus} USD per hour, which EC2 charges beside the price and no \
         limit counts{sum}"
    )
}
