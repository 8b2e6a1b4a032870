//! Buying instances in a market: spot pools whose capacity comes and goes, and on demand.
//!
//! The library's rule ([`provisioner::internal::pools`]) chooses the pool. A request that finds no capacity stays
//! open; like the daemon, the simulation cancels it when it observes that the request is older than 30 s.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::pools::{PoolRecord, divide};
use provisioner_sim::rng::Rng;

use super::{Event, InstanceState, Simulation, Startup};
use crate::spot::Market;
use crate::time::millis;

/// Where an instance is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purchase {
    /// Without a market: capacity is unlimited.
    Unlimited,
    /// In a spot pool of the market.
    Pool(usize),
    /// On demand.
    OnDemand,
}

/// How long a request may find no capacity, in milliseconds, before it is cancelled and made elsewhere.
const REFUSED_AFTER: u64 = 30_000;
/// EC2's status code for such a request.
const NO_CAPACITY: &str = "capacity-not-available";

/// The part of the simulation's state that exists only with a market.
#[derive(Debug)]
pub(super) struct Buyer<'a> {
    market: &'a Market,
    records: Vec<PoolRecord>,
    /// What happened in which pool at which time, as far as no observation has seen it yet.
    unseen: VecDeque<(u64, usize, PoolEvent)>,
    /// Requests that found no capacity: since when, and how long they take to start once they find some.
    refused: BTreeMap<usize, (u64, Startup)>,
    /// When the tasks that were interrupted began to wait again.
    interrupted: BTreeMap<usize, u64>,
    rng: Rng,
    /// Instances bought on demand that are not ready yet.
    on_demand_coming: Vec<usize>,
    billed_on_demand: u64,
    /// Whether instances that end at this moment are being reclaimed.
    reclaiming: bool,
}

#[derive(Clone, Copy, Debug)]
enum PoolEvent {
    Fulfilled,
    /// Capacity shrank, and instances were reclaimed.
    Reclaimed,
    Ended {
        lived: u64,
        reclaimed: bool,
    },
}

impl<'a> Buyer<'a> {
    pub(super) fn new(market: &'a Market, seed: u64) -> Self {
        Self {
            market,
            records: vec![PoolRecord::default(); market.pools().len()],
            unseen: VecDeque::new(),
            refused: BTreeMap::new(),
            interrupted: BTreeMap::new(),
            rng: Rng::stream(seed, "market"),
            on_demand_coming: Vec::new(),
            billed_on_demand: 0,
            reclaiming: false,
        }
    }

    /// Milliseconds billed on demand.
    pub(super) fn billed_on_demand(&self) -> u64 {
        self.billed_on_demand
    }

    fn record(&mut self, now: u64, purchase: Purchase, event: PoolEvent) {
        if let Purchase::Pool(pool) = purchase {
            self.unseen.push_back((now, pool, event));
        }
    }
}

/// The effects of a market on a simulation. Without one, these methods do nothing.
impl Simulation<'_> {
    /// Schedules the first capacity change of every pool.
    pub(super) fn watch_capacity(&mut self) {
        let Some(buyer) = &self.buyer else { return };
        for (index, pool) in buyer.market.pools().iter().enumerate() {
            self.events.push(Reverse((pool.next_step(0), Event::CapacityChange(index))));
        }
    }

    /// Reclaims the instances that a shrunken pool has no capacity for, or fulfils requests that waited for
    /// capacity in a pool that grew.
    pub(super) fn capacity_changed(&mut self, index: usize) {
        let Some(buyer) = &mut self.buyer else { return };
        let pool = &buyer.market.pools()[index];
        let before = pool.share(self.now.saturating_sub(1));
        let share = pool.share(self.now);
        let next = pool.next_step(self.now);
        if share < before {
            buyer.record(self.now, Purchase::Pool(index), PoolEvent::Reclaimed);
            self.reclaim_share(index, 1.0 - share / before);
        } else {
            let waiting: Vec<_> =
                buyer.refused.iter().map(|(request, (_, startup))| (*request, *startup)).collect();
            for (request, startup) in waiting {
                let instance = self.instances[request];
                let waits = instance.purchase == Purchase::Pool(index)
                    && instance.state == InstanceState::Requested;
                if waits && !self.is_refused(request, startup) {
                    self.start_up(request, startup);
                }
            }
        }
        self.schedule(next, Event::CapacityChange(index));
    }

    fn reclaim_share(&mut self, pool: usize, share: f64) {
        let is_here = |index: &usize| {
            let instance = &self.instances[*index];
            let is_up = !matches!(instance.state, InstanceState::Requested | InstanceState::Gone);
            instance.purchase == Purchase::Pool(pool) && is_up
        };
        let mut here: Vec<_> = (0..self.instances.len()).filter(is_here).collect();
        // Idle instances go first: they must not take the tasks of others that go at the same instant.
        here.sort_by_key(|index| matches!(self.instances[*index].state, InstanceState::Busy(_)));
        for index in here {
            let Some(buyer) = &mut self.buyer else { return };
            if buyer.rng.happens(share) {
                buyer.reclaiming = true;
                self.reclaim(index);
            }
        }
        if let Some(buyer) = &mut self.buyer {
            buyer.reclaiming = false;
        }
    }

    /// Returns whether a request finds no capacity now. If so, remembers it until there is some.
    pub(super) fn is_refused(&mut self, request: usize, startup: Startup) -> bool {
        let Some(buyer) = &mut self.buyer else { return false };
        let Purchase::Pool(pool) = self.instances[request].purchase else { return false };
        let share = buyer.market.pools()[pool].share(self.now);
        let refused = !buyer.rng.happens(share);
        if refused {
            buyer.refused.entry(request).or_insert((self.now, startup));
        } else {
            buyer.refused.remove(&request);
        }
        refused
    }

    /// Returns whether the request found no capacity when it was last tried.
    pub(super) fn waits_for_capacity(&self, request: usize) -> bool {
        self.buyer.as_ref().is_some_and(|buyer| buyer.refused.contains_key(&request))
    }

    /// Returns whether the pool of a request that is about to be fulfilled has filled up in the meantime.
    pub(super) fn found_pool_full(&mut self, request: usize) -> bool {
        let instance = self.instances[request];
        let full = match (&self.buyer, instance.purchase) {
            (Some(buyer), Purchase::Pool(pool)) => {
                buyer.market.pools()[pool].share(self.now) <= 0.0
            }
            _ => false,
        };
        let startup = Startup { open: 0, boot: instance.ready_at - self.now };
        full && self.is_refused(request, startup)
    }

    /// Records that a request was fulfilled.
    pub(super) fn fulfilled(&mut self, purchase: Purchase) {
        if let Some(buyer) = &mut self.buyer {
            buyer.record(self.now, purchase, PoolEvent::Fulfilled);
        }
    }

    /// Records that an instance ended, for whatever reason.
    pub(super) fn ended(&mut self, purchase: Purchase, lived: u64, billed: u64) {
        let Some(buyer) = &mut self.buyer else { return };
        if purchase == Purchase::OnDemand {
            buyer.billed_on_demand += billed;
        }
        let reclaimed = buyer.reclaiming;
        buyer.record(self.now, purchase, PoolEvent::Ended { lived, reclaimed });
    }

    /// Records that a task was interrupted and waits from now on.
    pub(super) fn waits_again(&mut self, task: usize) {
        if let Some(buyer) = &mut self.buyer {
            buyer.interrupted.insert(task, self.now);
        }
    }

    /// Learns what the last observation saw of the market, and cancels requests that find no capacity.
    pub(super) fn observe_market(&mut self, now: Timestamp) {
        let observed = self.now.saturating_sub(millis(self.setup.staleness));
        let Some(buyer) = &mut self.buyer else { return };
        while let Some((_, pool, event)) = buyer.unseen.pop_front_if(|(at, ..)| *at <= observed) {
            let record = &mut buyer.records[pool];
            match event {
                PoolEvent::Fulfilled => record.filled(),
                PoolEvent::Reclaimed => record.refused(NO_CAPACITY, now),
                PoolEvent::Ended { lived, reclaimed } => {
                    record.ended(Duration::from_millis(lived), reclaimed, now);
                }
            }
        }
        let mut without_capacity = vec![false; buyer.records.len()];
        let instances = &mut self.instances;
        let totals = &mut self.totals;
        buyer.refused.retain(|request, (since, _)| {
            let instance = &mut instances[*request];
            if instance.state != InstanceState::Requested {
                return false;
            }
            if *since + REFUSED_AFTER > observed {
                return true;
            }
            instance.state = InstanceState::Gone;
            totals.requested -= 1;
            totals.cancelled += 1;
            if let Purchase::Pool(pool) = instance.purchase {
                without_capacity[pool] = true;
            }
            false
        });
        for (record, without_capacity) in buyer.records.iter_mut().zip(without_capacity) {
            if without_capacity {
                record.refused(NO_CAPACITY, now);
            }
        }
    }

    /// Divides `n` requests among the pools.
    pub(super) fn purchases(&self, n: u64, now: Timestamp) -> Vec<(Purchase, u64)> {
        let Some(buyer) = &self.buyer else { return vec![(Purchase::Unlimited, n)] };
        if buyer.market.pools().is_empty() {
            return vec![(Purchase::OnDemand, n)];
        }
        let interval = Duration::from_millis(self.round_interval);
        let shares = divide(&buyer.records, n, interval, now);
        shares.into_iter().enumerate().map(|(pool, n)| (Purchase::Pool(pool), n)).collect()
    }

    /// How many more instances the maximum allows.
    pub(super) fn budget(&self) -> u64 {
        let used = self.live as u64 + self.totals.requested + self.on_demand_requested;
        self.setup.max_instances.saturating_sub(used)
    }

    /// Requests on-demand instances for the tasks that have waited too long.
    pub(super) fn request_on_demand(&mut self) {
        let Some(buyer) = &mut self.buyer else { return };
        let Some(on_demand) = buyer.market.on_demand() else { return };
        if buyer.market.pools().is_empty() || self.pending.is_empty() {
            return;
        }
        let instances = &self.instances;
        buyer.on_demand_coming.retain(|index| {
            matches!(instances[*index].state, InstanceState::Requested | InstanceState::Booting)
        });
        let after = millis(on_demand.after);
        let overdue = self.pending.iter().filter(|task| {
            let interrupted = buyer.interrupted.get(*task).copied();
            interrupted.unwrap_or(self.load.tasks()[**task].created) + after <= self.now
        });
        let missing = overdue.count().saturating_sub(buyer.on_demand_coming.len());
        for _ in 0..(missing as u64).min(self.budget()) {
            let index = self.instances.len();
            self.request(Purchase::OnDemand);
            if let Some(buyer) = &mut self.buyer {
                buyer.on_demand_coming.push(index);
            }
        }
    }

    /// How many on-demand instances are idle beside a spot market. Keeping one for the next task costs more
    /// than a new spot request.
    pub(super) fn idle_on_demand(&self) -> u64 {
        let Some(buyer) = &self.buyer else { return 0 };
        if buyer.market.pools().is_empty() {
            return 0;
        }
        let is_on_demand = |index: &&usize| self.instances[**index].purchase == Purchase::OnDemand;
        self.idle.iter().filter(is_on_demand).count() as u64
    }

    /// Takes the least valuable idle worker that can be told to stop off the list: on demand before spot,
    /// then where instances live shortest, then the longest idle.
    pub(super) fn take_least_valuable(&mut self) -> Option<usize> {
        let mut candidates =
            self.idle.iter().enumerate().filter(|(_, index)| self.can_be_told(**index));
        let (position, _) = match &self.buyer {
            None => candidates.next()?,
            Some(buyer) => {
                let value = |index: usize| match self.instances[index].purchase {
                    Purchase::OnDemand => 0.0,
                    Purchase::Pool(pool) => buyer.records[pool].life_hours(),
                    Purchase::Unlimited => f64::INFINITY,
                };
                candidates.min_by(|(_, a), (_, b)| value(**a).total_cmp(&value(**b)))?
            }
        };
        self.idle.remove(position)
    }
}
