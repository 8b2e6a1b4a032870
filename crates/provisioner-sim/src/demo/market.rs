//! The spot market of the demonstration: prices that change at random.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provisioner::internal::domain::clock;
use provisioner::internal::domain::money::UsdPerHour;

use super::{KINDS, ZONES};
use crate::rng::Rng;
use crate::world::World;

/// How often a price changes. EC2's prices change a few times a day; here the changes shall be visible.
const STEP: Duration = Duration::from_mins(40);
/// The maximum change.
const MOST: f64 = 0.06;

/// Sets the prices of all pools until `ends`.
pub(super) fn open(world: &mut World, seed: u64, begins: Timestamp, ends: Timestamp) {
    let mut rng = Rng::stream(seed, "demo: prices");
    set_prices(world, &mut rng, &ZONES, (begins, ends));
    // Only programs to which this EC2 is served launch there.
    let mut rng = Rng::stream(seed, "demo: prices of the last zone");
    set_prices(world, &mut rng, &["us-west-2d"], (begins, ends));
}

fn set_prices(
    world: &mut World,
    rng: &mut Rng,
    zones: &[&str],
    (begins, ends): (Timestamp, Timestamp),
) {
    for kind in &KINDS {
        for (instance_type, usual) in kind.instance_types {
            for zone in zones {
                let pool = format!("{instance_type} in {zone}");
                let mut price = usual * (1.0 + 0.2 * (rng.unit() - 0.5));
                let mut at = begins;
                while at < ends {
                    if let Ok(price) = UsdPerHour::from_dollars(price) {
                        if at == begins {
                            // The market is older than the demonstration: a program whose clock is a little
                            // behind finds a price too.
                            world.pools.set_price(
                                &pool,
                                begins - SignedDuration::from_hours(24),
                                price,
                            );
                        }
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
