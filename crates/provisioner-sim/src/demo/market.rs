//! The spot market of the demonstration: prices that change at random.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::money::UsdPerHour;

use super::{KINDS, ZONES};
use crate::deployment::start;
use crate::rng::Rng;
use crate::world::World;

/// How often a price changes. EC2's prices change a few times a day; here the changes shall be visible.
const STEP: Duration = Duration::from_mins(40);
/// The maximum change.
const MOST: f64 = 0.06;

/// Sets the prices of all pools until `ends`.
pub(super) fn open(world: &mut World, seed: u64, ends: Timestamp) {
    let mut rng = Rng::stream(seed, "demo: prices");
    for kind in &KINDS {
        for (instance_type, usual) in kind.instance_types {
            for zone in ZONES {
                let pool = format!("{instance_type} in {zone}");
                let mut price = usual * (1.0 + 0.2 * (rng.unit() - 0.5));
                let mut at = start();
                while at < ends {
                    if let Ok(price) = UsdPerHour::from_dollars(price) {
                        world.set_price(&pool, at, price);
                    }
                    price *= 1.0 + MOST * (2.0 * rng.unit() - 1.0);
                    price = price.clamp(usual * 0.6, usual * 1.7);
                    at = clock::after(at, STEP);
                }
            }
        }
    }
}
