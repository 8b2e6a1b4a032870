//! `DescribeSpotPriceHistory`.

use jiff::Timestamp;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::refusal::Refusal;

use super::filters::{Filters, Held};
use super::form::Form;
use super::only_tried;
use super::pages::{Asked, Book};
use super::xml::{self, Node, set, text, time};
use crate::world::World;

/// The maximum number of records per page (Amazon EC2 API Reference, `DescribeSpotPriceHistory`).
const PAGE: usize = 1000;

/// The only product of the pools.
const PRODUCT: &str = "Linux/UNIX";

/// A price, and the time from which it holds.
struct Price<'a> {
    instance_type: &'a str,
    zone: &'a str,
    at: Timestamp,
    usd: UsdPerHour,
}

/// `DescribeSpotPriceHistory`: for each pool the price at `StartTime` and every change until `EndTime`, newest
/// first.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let asked = Asked::read(&mut form, PAGE)?;
    let types = form.list("InstanceType");
    let products = form.list("ProductDescription");
    let zone = form.text("AvailabilityZone");
    // EC2 does not know future prices.
    let from = form.time("StartTime")?.unwrap_or(Timestamp::UNIX_EPOCH).min(world.now);
    let until = form.time("EndTime")?.unwrap_or(world.now).min(world.now);
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let wanted = |list: &[String], it: &str| list.is_empty() || list.iter().any(|one| one == it);
    let mut prices = Vec::new();
    for (pool, steps) in world.pools.history() {
        let Some((instance_type, in_zone)) = pool.split_once(" in ") else { continue };
        if !wanted(&types, instance_type)
            || !wanted(&products, PRODUCT)
            || zone.as_ref().is_some_and(|zone| zone != in_zone)
        {
            continue;
        }
        let in_force = steps.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let ends = steps.partition_point(|(at, _)| *at <= until);
        for (at, price) in steps.get(in_force..ends).unwrap_or_default() {
            prices.push(Price { instance_type, zone: in_zone, at: *at, usd: *price });
        }
    }
    prices.sort_by_key(|price| std::cmp::Reverse(price.at));
    let chosen = filters.choose(prices, |price, name| match name {
        "availability-zone" => Held::text(price.zone),
        "instance-type" => Held::text(price.instance_type),
        "product-description" => Held::text(PRODUCT),
        _ => Held::NoSuchFilter,
    })?;
    let chosen: Vec<_> = chosen.iter().enumerate().collect();
    let mut book =
        Book { page: world.page, shifted: world.faults.shifted, network: &mut world.network };
    let page = asked.of(&mut book, &chosen);
    let shown = page.records.iter().map(|record| {
        vec![
            text("instanceType", record.instance_type),
            text("productDescription", PRODUCT),
            xml::price("spotPrice", record.usd),
            time("timestamp", record.at),
            text("availabilityZone", record.zone),
        ]
    });
    // This call writes an empty token on the last page.
    let token = page.token().unwrap_or_else(|| text("nextToken", ""));
    Ok(vec![set("spotPriceHistorySet", shown), token])
}
