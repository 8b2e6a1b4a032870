//! The spot prices in force.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{InstanceType as SdkInstanceType, SpotPrice};
use jiff::Timestamp;

use super::pages::{FILTER_VALUES, PAGE_ITEMS, Pages, exact};
use super::{Client, Error, time};
use crate::aws::preflight::ImageFacts;
use crate::domain::ids::{InstanceType, Zone};
use crate::domain::launch::Pool;
use crate::domain::money::UsdPerHour;

/// Returns how EC2 calls an operating system in prices. It uses the second spelling in accounts that once had
/// EC2-Classic (Amazon EC2 API Reference, `SpotPrice`).
fn spellings(platform: &str) -> [String; 2] {
    [platform.to_owned(), format!("{platform} (Amazon VPC)")]
}

/// The newest price of each pool that was read so far, with its time.
type Newest = BTreeMap<Pool, (Option<Timestamp>, UsdPerHour)>;

impl Client {
    /// Returns the spot prices of plain Linux in force at `now`. Pools without a zone are left out, and so
    /// are those for which EC2 has no price.
    pub async fn spot_prices(
        &self,
        pools: &BTreeSet<Pool>,
        now: Timestamp,
    ) -> Result<BTreeMap<Pool, UsdPerHour>, Error> {
        self.spot_prices_of(ImageFacts::LINUX, pools, now).await
    }

    /// Returns the spot prices of another operating system, as EC2 calls it (`Windows`).
    pub async fn spot_prices_of(
        &self,
        platform: &str,
        pools: &BTreeSet<Pool>,
        now: Timestamp,
    ) -> Result<BTreeMap<Pool, UsdPerHour>, Error> {
        let products = spellings(platform);
        let zoned: Vec<_> = pools
            .iter()
            .filter_map(|pool| Some((&pool.instance_type, pool.zone.as_ref()?)))
            .collect();
        let instance_types: BTreeSet<_> =
            zoned.iter().map(|(instance_type, _)| *instance_type).collect();
        let instance_types: Vec<_> = instance_types.into_iter().collect();
        let mut newest = Newest::new();
        for some_types in instance_types.chunks(FILTER_VALUES) {
            // No region has anywhere near 200 zones.
            let zones: BTreeSet<_> = zoned
                .iter()
                .filter(|(instance_type, _)| some_types.contains(instance_type))
                .map(|(_, zone)| *zone)
                .collect();
            self.list_spot_prices(&products, some_types, &zones, now, &mut newest).await?;
        }
        newest.retain(|pool, _| pools.contains(pool));
        Ok(newest.into_iter().map(|(pool, (_, price))| (pool, price)).collect())
    }

    async fn list_spot_prices(
        &self,
        products: &[String; 2],
        instance_types: &[&InstanceType],
        zones: &BTreeSet<&Zone>,
        now: Timestamp,
        newest: &mut Newest,
    ) -> Result<(), Error> {
        let resource = format!("{} instance types", instance_types.len());
        let mut pages = Pages::of("DescribeSpotPriceHistory", resource);
        while pages.remain() {
            // An interval from now until now gives the prices in force, which are the last changes before.
            let page = self
                .ec2
                .describe_spot_price_history()
                .set_instance_types(Some(
                    instance_types
                        .iter()
                        .map(|instance_type| SdkInstanceType::from(instance_type.as_str()))
                        .collect(),
                ))
                .set_product_descriptions(Some(products.to_vec()))
                .filters(exact("availability-zone", zones.iter().map(|zone| zone.as_str())))
                .start_time(time::date_time(now))
                .end_time(time::date_time(now))
                .max_results(PAGE_ITEMS)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            for found in page.spot_price_history() {
                if let Some((pool, at, price)) = read(found, products) {
                    let known = newest.entry(pool).or_insert((at, price));
                    if at >= known.0 {
                        *known = (at, price);
                    }
                }
            }
            pages.advance(page.next_token())?;
        }
        Ok(())
    }
}

/// Reads one entry: the pool, when its price changed, and the price. Returns `None` for a price that is not
/// that of one of these products in a zone, since our machines do not pay it.
fn read(
    found: &SpotPrice,
    products: &[String; 2],
) -> Option<(Pool, Option<Timestamp>, UsdPerHour)> {
    let product = found.product_description().map(AsRef::as_ref);
    if product.is_some_and(|product| !products.iter().any(|ours| ours == product)) {
        return None;
    }
    let price = UsdPerHour::parse(found.spot_price()?).ok()?;
    let pool = Pool {
        instance_type: InstanceType::from(found.instance_type()?.as_str()),
        zone: Some(Zone::from(found.availability_zone()?)),
    };
    Some((pool, found.timestamp().and_then(time::timestamp), price))
}
