//! Spot prices: the call that reads them, and how its answer is read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use provisioner::internal::domain::ids::{InstanceType, Zone};
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::refusal::RefusalClass;

use crate::transport::{Ec2, Reply};
use crate::xml;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn pool(instance_type: &str, zone: &str) -> Pool {
    Pool {
        instance_type: InstanceType::from(instance_type),
        zone: (!zone.is_empty()).then(|| Zone::from(zone)),
    }
}

fn prices<const N: usize>(prices: [(&str, &str, u64); N]) -> BTreeMap<Pool, UsdPerHour> {
    let price = |(kind, zone, micros)| (pool(kind, zone), UsdPerHour::from_micros(micros));
    prices.map(price).into()
}

#[tokio::test]
async fn the_price_in_force_is_asked_for_in_one_call() {
    let ec2 = Ec2::new(|_| Reply::ok(xml::spot_prices(&[], "")));
    let pools = [("c7g.large", "us-west-2b"), ("m5.large", "us-west-2a"), ("m5.large", "")];
    let pools = pools.map(|(kind, zone)| pool(kind, zone)).into();
    assert_eq!(ec2.client().spot_prices(&pools, now()).await.unwrap(), BTreeMap::new());
    let sent = ec2.only();
    assert_eq!(sent.action, "DescribeSpotPriceHistory");
    assert_eq!(sent.list("InstanceType"), ["c7g.large", "m5.large"]);
    assert_eq!(sent.filter("availability-zone"), Some(vec!["us-west-2a", "us-west-2b"]));
    assert_eq!(sent.list("ProductDescription"), ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]);
    assert_eq!(sent.get("StartTime"), "2026-11-23T12:00:00Z");
    assert_eq!(sent.get("EndTime"), sent.get("StartTime"));
}

#[tokio::test]
async fn without_a_pool_nothing_is_asked() {
    let ec2 = Ec2::script([]);
    for pools in [BTreeSet::new(), BTreeSet::from([pool("m5.large", "")])] {
        assert_eq!(ec2.client().spot_prices(&pools, now()).await.unwrap(), BTreeMap::new());
    }
}

#[tokio::test]
async fn the_newest_price_of_plain_linux_wins_over_all_pages() {
    let linux = |kind, zone, price, at| xml::spot_price(kind, zone, "Linux/UNIX", price, at);
    let early = "2026-11-23T08:00:00.000Z";
    let late = "2026-11-23T11:00:00.000Z";
    let vpc = xml::spot_price("c7g.large", "us-west-2a", "Linux/UNIX (Amazon VPC)", "0.0311", late);
    let ec2 = Ec2::script([
        Reply::ok(xml::spot_prices(
            &[
                linux("m5.large", "us-west-2a", "0.035000", late),
                linux("m5.large", "us-west-2a", "0.020000", early),
                xml::spot_price("m5.large", "us-west-2a", "Windows", "0.110000", late),
                linux("m5.large", "us-west-2b", "a lot", late),
            ],
            "more",
        )),
        Reply::ok(xml::spot_prices(
            &[
                linux("c7g.large", "us-west-2a", "0.010000", early),
                vpc,
                // Asked for with the others, but not a pool of ours.
                linux("c7g.large", "us-west-2b", "0.050000", late),
            ],
            "",
        )),
    ]);
    let pools =
        [("m5.large", "us-west-2a"), ("m5.large", "us-west-2b"), ("c7g.large", "us-west-2a")];
    let pools = pools.map(|(kind, zone)| pool(kind, zone)).into();
    let found = ec2.client().spot_prices(&pools, now()).await.unwrap();
    let expected =
        prices([("m5.large", "us-west-2a", 35_000), ("c7g.large", "us-west-2a", 31_100)]);
    assert_eq!(found, expected);
    assert_eq!(ec2.sent()[1].get("NextToken"), "more");
}

#[tokio::test]
async fn a_missing_permission_comes_with_the_fix() {
    let ec2 = Ec2::new(|_| Reply::error(403, "UnauthorizedOperation"));
    let pools = BTreeSet::from([pool("m5.large", "us-west-2a")]);
    let error = ec2.client().spot_prices(&pools, now()).await.unwrap_err();
    assert_eq!(error.class(), RefusalClass::Unauthorized);
    assert_eq!(error.operation, "DescribeSpotPriceHistory");
    assert!(error.hint().unwrap().contains("iam-policy"));
}
