//! Compares `max-price` with the spot prices in force, below which EC2 fulfils no request.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Fact, ImageFacts, PreflightFacts, WorkerTypeFacts};
use super::instance_type::usable_zones;
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
use crate::domain::ids::{InstanceType, Zone};
use crate::domain::launch::Pool;
use crate::domain::money::UsdPerHour;
use crate::settings::WorkerType;

const SUBJECT: &str = "max-price";

pub(super) fn assess(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &PreflightFacts,
    image: Option<&ImageFacts>,
    about: &mut FindingWriter<'_>,
) {
    let Some(max_price) = worker_type.max_price else { return };
    let platform = image.map_or(ImageFacts::LINUX, ImageFacts::platform);
    let none = Fact::Ok(BTreeMap::new());
    let prices = match facts.prices.get(platform).unwrap_or(&none) {
        Ok(prices) => prices,
        Err(refusal) => {
            about.unknown(
                FindingKind::Price,
                SUBJECT,
                "DescribeSpotPriceHistory",
                CallNeed::ValidateOnly,
                refusal,
                "check `max-price`",
            );
            return;
        }
    };
    let zones = usable_zones(found, facts);
    let mut in_reach = 0_usize;
    let mut unknown = 0_usize;
    let mut too_dear = Vec::new();
    for instance_type in &worker_type.instance_types {
        match lowest(instance_type, zones.as_ref(), prices) {
            Some((_, price)) if price <= max_price => in_reach += 1,
            Some((zone, price)) => too_dear.push((price, instance_type, zone)),
            None => unknown += 1,
        }
    }
    too_dear.sort();
    if in_reach == 0
        && unknown == 0
        && let Some((price, instance_type, zone)) = too_dear.first()
    {
        let text = format!(
            "{max_price} USD per hour is below all spot prices now: the lowest is {price}, of \
             {instance_type} in {zone}"
        );
        let fix = "raise `max-price`, or leave it out to pay up to the on-demand price";
        return about.error(FindingKind::Price, SUBJECT, text, fix);
    }
    for (price, instance_type, zone) in too_dear {
        about.find(
            Severity::Warning,
            FindingKind::Price,
            instance_type.as_str(),
            format!("costs {price} USD per hour at least ({zone}), over max-price ({max_price})"),
            "raise `max-price`, or take the type out: what costs more is not launched",
        );
    }
    if in_reach > 0 {
        let of = worker_type.instance_types.len();
        let text = format!(
            "{max_price} USD per hour is enough for {in_reach} of {of} instance types now ({platform})"
        );
        about.good(FindingKind::Price, SUBJECT, text);
    } else if !about.has_errors() {
        about.find(
            Severity::NotCheckable,
            FindingKind::Price,
            SUBJECT,
            format!(
                "EC2 names no spot price of {platform} for these instance types where they launch"
            ),
            "compare it with the Spot Instance pricing history in the EC2 console",
        );
    }
}

/// Returns the cheapest of the usable zones for an instance type, and the price there.
fn lowest<'a>(
    instance_type: &InstanceType,
    usable: Option<&BTreeSet<Zone>>,
    prices: &'a BTreeMap<Pool, UsdPerHour>,
) -> Option<(&'a Zone, UsdPerHour)> {
    prices
        .iter()
        .filter(|(pool, _)| pool.instance_type == *instance_type)
        .filter_map(|(Pool { zone, .. }, price)| Some((zone.as_ref()?, *price)))
        .filter(|(zone, _)| usable.is_none_or(|usable| usable.contains(*zone)))
        .min_by_key(|(_, price)| *price)
}
