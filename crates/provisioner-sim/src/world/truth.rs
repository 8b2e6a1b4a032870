//! The truth, whatever describe calls show.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{InstanceId, WorkerTypeName};
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::{Usd, UsdPerHour};
use provisioner::internal::domain::observed::{InstanceState, SpotRequest, SpotRequestState};
use provisioner::internal::settings::Settings;

use super::pools::LEAST_BILLED;
use super::{Machine, Request, World};
use crate::deployment::key;

/// EC2's bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// The cost at the moving prices of the pools.
    pub usd: Usd,
    /// The sum of the times for which instances were up.
    pub instance_time: Duration,
}

impl Bill {
    fn plus(self, other: Self) -> Self {
        let Self { usd, instance_time } = other;
        Self { usd: self.usd.plus(usd), instance_time: self.instance_time + instance_time }
    }
}

impl World {
    /// Returns the state of an instance.
    pub fn state(&self, id: &InstanceId) -> Option<InstanceState> {
        self.machines.get(id).map(|machine| machine.truth().state.clone())
    }

    /// Returns the live instances under our key-name.
    pub fn live(&self) -> impl Iterator<Item = (&InstanceId, &Machine)> {
        let ours = key();
        self.machines
            .iter()
            .filter(move |(_, machine)| machine.key == ours && machine.truth().state.is_live())
    }

    /// Returns the open requests under our key-name.
    pub fn open(&self) -> impl Iterator<Item = &SpotRequest> {
        let ours = key();
        self.requests
            .current
            .iter()
            .map(|no| self.requests.at(*no))
            .filter(move |request| request.key == ours)
            .map(Request::truth)
            .filter(|request| request.state == SpotRequestState::Open)
    }

    pub(super) fn running_in(&self, pool: &Pool) -> u64 {
        let there = self.machines.iter().map(|(_, machine)| machine.truth()).filter(|instance| {
            instance.state.is_live()
                && instance.spot_request.is_some()
                && instance.instance_type == pool.instance_type
                && instance.zone == pool.zone
        });
        there.count() as u64
    }

    /// Counts the open requests and live instances of a worker type.
    pub fn count(&self, worker_type: &WorkerTypeName) -> u64 {
        let open = self.open().filter(|r| r.tags.worker_type.as_ref() == Some(worker_type)).count();
        let live = self.live().filter(|(_, m)| m.worker_type.as_ref() == Some(worker_type)).count();
        (open + live) as u64
    }

    /// Counts the open requests and live instances that the engine requested or can have observed, and sums their
    /// maximum prices.
    pub fn total(&self) -> (u64, UsdPerHour) {
        let mut n = 0;
        let mut usd = UsdPerHour::ZERO;
        for request in self.open() {
            n += 1;
            usd = usd.plus(request.max_price.unwrap_or_default());
        }
        for (_, machine) in self.live() {
            let made_by_hand = machine.truth().spot_request.is_none();
            if !made_by_hand || machine.record.seen(self.observed).is_some() {
                n += 1;
                usd = usd.plus(machine.max_price);
            }
        }
        (n, usd)
    }

    /// Returns what all live instances cost per hour at present prices.
    pub fn usd_per_hour(&self) -> UsdPerHour {
        let price = |pool: Pool| self.pools.price(&pool.to_string(), self.now).unwrap_or_default();
        self.live()
            .map(|(_, machine)| price(machine.pool()))
            .fold(UsdPerHour::ZERO, UsdPerHour::plus)
    }

    /// Returns the bill of the instances under our key-name so far.
    pub fn bill(&self) -> Bill {
        let ours = key();
        let there = self.machines.iter().filter(|(_, machine)| machine.key == ours);
        let there = there.map(|(_, machine)| self.bill_of(machine));
        there.fold(self.ended, Bill::plus)
    }

    /// Returns the bill of a machine if it ended now.
    fn bill_of(&self, machine: &Machine) -> Bill {
        let Some(from) = machine.billed_from else { return Bill::default() };
        let instance_time = clock::age(from, self.now).max(LEAST_BILLED);
        let until = clock::after(from, instance_time);
        Bill { usd: self.pools.cost(&machine.pool().to_string(), from, until), instance_time }
    }

    /// Returns the highest possible cost on the day of `at` of all instances that our requests created and will
    /// create: each costs its maximum price and lives as long as it may.
    pub fn cost_of_day(&self, at: Timestamp, settings: &Settings) -> Usd {
        let (begins, ends) = (clock::last_midnight(at), clock::next_midnight(at));
        let ours = key();
        let until = |name: Option<&WorkerTypeName>| {
            let worker_type = name.and_then(|name| settings.worker_types.get(name));
            let lifetime = worker_type.and_then(|worker_type| worker_type.max_lifetime);
            lifetime.map_or(ends, |age| clock::after(at, age * 2).min(ends))
        };
        let made =
            self.machines.all().filter(|machine| machine.key == ours && machine.call.is_some());
        let made = made.map(|machine| {
            let from = machine.truth().launch_time.max(begins);
            let until = machine.ended.unwrap_or_else(|| until(machine.worker_type.as_ref()));
            machine.max_price.over(clock::age(from, until))
        });
        let open = self.open().map(|request| {
            let until = until(request.tags.worker_type.as_ref());
            request.max_price.unwrap_or_default().over(clock::age(at, until))
        });
        made.chain(open).fold(Usd::ZERO, Usd::plus)
    }

    pub(super) fn is_billed_no_more(&mut self, no: usize) {
        let bill = self.bill_of(self.machines.at(no));
        self.machines.at_mut(no).billed_from = None;
        if self.machines.at(no).key == key() {
            self.ended = self.ended.plus(bill);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use provisioner::internal::domain::ids::InstanceType;
    use provisioner::internal::domain::money::UsdPerHour;
    use provisioner::internal::domain::observed::OwnTags;

    use super::*;
    use crate::deployment::{mins, name, secs, settings, start, worker_type};
    use crate::queue::Knowledge;

    #[test]
    fn a_machine_is_billed_for_a_minute_at_least_and_not_while_it_is_stopped() {
        let settings = settings([("linux", worker_type(&["c7g.large"], 9))]);
        let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, start());
        let pool = Pool { instance_type: InstanceType::from("c7g.large"), zone: None };
        // A cent per minute.
        let price = UsdPerHour::from_micros(600_000);
        world.set_price(&pool.to_string(), start(), price);
        let by_hand = |world: &mut World| {
            let tags = OwnTags::default();
            world.launch(&key(), Some(name("linux")), pool.instance_type.clone(), tags, false)
        };
        let short = by_hand(&mut world);
        world.advance(clock::after(start(), secs(10)));
        assert_eq!(world.bill(), Bill { usd: price.over(mins(1)), instance_time: mins(1) });
        world.end(&short, "instance-terminated-by-user");
        let long = by_hand(&mut world);
        world.advance(clock::after(world.now, mins(5)));
        world.stop(&long);
        world.advance(clock::after(world.now, mins(60)));
        assert_eq!(world.bill(), Bill { usd: price.over(mins(6)), instance_time: mins(6) });
        world.end(&long, "instance-terminated-by-user");
        assert_eq!(world.bill().instance_time, mins(6));
    }
}
