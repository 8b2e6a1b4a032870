//! Where a fleet buys: spot pools whose capacity comes and goes, and on demand.
//!
//! Which pool comes next is the library's rule ([`provisioner::pools`]). A request that finds no capacity
//! stays open, and is cancelled when it is seen to be older than 30 s, as the daemon does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::pools::{PoolRecord, divide};

use super::{Event, Fleet, State};
use crate::chance::Chance;
use crate::fleet::bounds::millis;
use crate::spot::Market;

/// Where an instance is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever: there are always enough.
    Anywhere,
    /// In a spot pool of the market.
    Pool(usize),
    /// On demand.
    OnDemand,
}

/// So long a request may find no capacity before it is cancelled and asked for elsewhere.
const REFUSED_AFTER: u64 = 30_000;
/// What EC2 says of it.
const NO_CAPACITY: &str = "capacity-not-available";

/// A fleet's dealings with a market.
#[derive(Debug)]
pub(super) struct Trade<'a> {
    market: &'a Market,
    records: Vec<PoolRecord>,
    /// What happened in which pool and no look has seen yet, with its time.
    news: VecDeque<(u64, usize, News)>,
    /// Requests that found no capacity: since when, and how long they take to start once they do.
    refused: BTreeMap<usize, (u64, Startup)>,
    /// Since when tasks wait that were interrupted.
    interrupted: BTreeMap<usize, u64>,
    chance: Chance,
    /// Asked for on demand, and not ready yet.
    on_demand_coming: Vec<usize>,
    billed_on_demand: u64,
    /// Instances are being taken back.
    reclaiming: bool,
}

/// How long a request is open, and how long its instance boots, in milliseconds.
pub(super) type Startup = (u64, u64);

#[derive(Clone, Copy, Debug)]
enum News {
    Filled,
    /// Capacity ended, and instances were taken back.
    Reclaimed,
    Ended {
        lived: u64,
        reclaimed: bool,
    },
}

impl<'a> Trade<'a> {
    pub(super) fn new(market: &'a Market, seed: u64) -> Self {
        Self {
            market,
            records: vec![PoolRecord::default(); market.pools().len()],
            news: VecDeque::new(),
            refused: BTreeMap::new(),
            interrupted: BTreeMap::new(),
            chance: Chance::stream(seed, "market"),
            on_demand_coming: Vec::new(),
            billed_on_demand: 0,
            reclaiming: false,
        }
    }

    /// Milliseconds billed on demand.
    pub(super) fn billed_on_demand(&self) -> u64 {
        self.billed_on_demand
    }

    fn tell(&mut self, now: u64, place: Place, news: News) {
        if let Place::Pool(pool) = place {
            self.news.push_back((now, pool, news));
        }
    }
}

/// What a market changes in a fleet's run. Without one, nothing.
impl Fleet<'_> {
    /// Lets the pools begin to change.
    pub(super) fn open_market(&mut self) {
        let Some(trade) = &self.trade else { return };
        for (place, pool) in trade.market.pools().iter().enumerate() {
            self.events.push(Reverse((pool.next_step(0), Event::Shift(place))));
        }
    }

    /// A pool's capacity changes: what finds no room in it any more is taken back, and requests that
    /// waited for room may find it.
    pub(super) fn shift(&mut self, pool: usize) {
        let Some(trade) = &mut self.trade else { return };
        let it = &trade.market.pools()[pool];
        let (before, share) = (it.share(self.now.saturating_sub(1)), it.share(self.now));
        let next = it.next_step(self.now);
        if share < before {
            trade.tell(self.now, Place::Pool(pool), News::Reclaimed);
            self.take_back(pool, 1.0 - share / before);
        } else {
            let waiting: Vec<_> = trade.refused.iter().map(|(at, (_, it))| (*at, *it)).collect();
            for (machine, startup) in waiting {
                let it = self.machines[machine];
                let waits = it.place == Place::Pool(pool) && it.state == State::Requested;
                if waits && !self.is_refused(machine, it.place, startup) {
                    self.start_up(machine, startup);
                }
            }
        }
        self.at(next, Event::Shift(pool));
    }

    fn take_back(&mut self, pool: usize, share: f64) {
        let is_up = |state| matches!(state, State::Booting | State::Idle | State::Busy(_));
        let here = |at: &usize| {
            self.machines[*at].place == Place::Pool(pool) && is_up(self.machines[*at].state)
        };
        let mut here: Vec<_> = (0..self.machines.len()).filter(here).collect();
        // The idle first: they must not be given the tasks of others that go at the same instant.
        here.sort_by_key(|at| matches!(self.machines[*at].state, State::Busy(_)));
        for machine in here {
            let Some(trade) = &mut self.trade else { return };
            if trade.chance.happens(share) {
                trade.reclaiming = true;
                self.reclaim(machine);
            }
        }
        if let Some(trade) = &mut self.trade {
            trade.reclaiming = false;
        }
    }

    /// Whether a request finds no capacity now. If so, that is remembered for when some comes.
    pub(super) fn is_refused(&mut self, machine: usize, place: Place, startup: Startup) -> bool {
        let (now, Some(trade)) = (self.now, &mut self.trade) else { return false };
        let Place::Pool(pool) = place else { return false };
        let share = trade.market.pools()[pool].share(now);
        let refused = !trade.chance.happens(share);
        if refused {
            trade.refused.entry(machine).or_insert((now, startup));
        } else {
            trade.refused.remove(&machine);
        }
        refused
    }

    /// Whether the request was found to have no capacity when it was last tried.
    pub(super) fn is_waiting_for_room(&self, machine: usize) -> bool {
        self.trade.as_ref().is_some_and(|trade| trade.refused.contains_key(&machine))
    }

    /// Whether a request that is about to be filled finds that the pool filled up meanwhile.
    pub(super) fn is_too_late(&mut self, machine: usize) -> bool {
        let it = self.machines[machine];
        let full = match (&self.trade, it.place) {
            (Some(trade), Place::Pool(pool)) => trade.market.pools()[pool].share(self.now) <= 0.0,
            _ => false,
        };
        full && self.is_refused(machine, it.place, (0, it.ready - self.now))
    }

    /// A request was filled.
    pub(super) fn filled(&mut self, place: Place) {
        if let Some(trade) = &mut self.trade {
            trade.tell(self.now, place, News::Filled);
        }
    }

    /// An instance ended, for whatever reason.
    pub(super) fn ended(&mut self, place: Place, lived: u64, billed: u64) {
        let Some(trade) = &mut self.trade else { return };
        if place == Place::OnDemand {
            trade.billed_on_demand += billed;
        }
        let reclaimed = trade.reclaiming;
        trade.tell(self.now, place, News::Ended { lived, reclaimed });
    }

    /// A task was interrupted, and waits from now on.
    pub(super) fn waits_again(&mut self, task: usize) {
        if let Some(trade) = &mut self.trade {
            trade.interrupted.insert(task, self.now);
        }
    }

    /// Takes in what the last look saw of the market, and cancels requests that find no capacity.
    pub(super) fn read_market(&mut self, now: Timestamp) {
        let looked = self.now.saturating_sub(millis(self.setup.staleness));
        let Some(trade) = &mut self.trade else { return };
        while let Some((_, pool, news)) = trade.news.pop_front_if(|(at, ..)| *at <= looked) {
            let record = &mut trade.records[pool];
            match news {
                News::Filled => record.filled(),
                News::Reclaimed => record.refused(NO_CAPACITY, now),
                News::Ended { lived, reclaimed } => {
                    record.ended(Duration::from_millis(lived), reclaimed, now);
                }
            }
        }
        let mut struck = vec![false; trade.records.len()];
        let (machines, totals) = (&mut self.machines, &mut self.totals);
        trade.refused.retain(|machine, (since, _)| {
            let it = &mut machines[*machine];
            if it.state != State::Requested {
                return false;
            }
            if *since + REFUSED_AFTER > looked {
                return true;
            }
            it.state = State::Gone;
            totals.requested -= 1;
            totals.cancelled += 1;
            if let Place::Pool(pool) = it.place {
                struck[pool] = true;
            }
            false
        });
        for (record, _) in trade.records.iter_mut().zip(struck).filter(|(_, struck)| *struck) {
            record.refused(NO_CAPACITY, now);
        }
    }

    /// Where `n` instances are asked for.
    pub(super) fn places(&self, n: u64, now: Timestamp) -> Vec<(Place, u64)> {
        let Some(trade) = &self.trade else { return vec![(Place::Anywhere, n)] };
        if trade.market.pools().is_empty() {
            return vec![(Place::OnDemand, n)];
        }
        let asked = divide(&trade.records, n, Duration::from_millis(self.round), now);
        asked.into_iter().enumerate().map(|(pool, n)| (Place::Pool(pool), n)).collect()
    }

    /// How many more instances the maximum leaves room for.
    pub(super) fn room(&self) -> u64 {
        let there = self.live as u64 + self.totals.requested + self.on_demand_requested;
        self.setup.max_instances.saturating_sub(there)
    }

    /// Asks on demand for the tasks that have waited too long.
    pub(super) fn ask_on_demand(&mut self) {
        let Some(trade) = &mut self.trade else { return };
        let Some(on_demand) = trade.market.on_demand() else { return };
        if trade.market.pools().is_empty() || self.pending.is_empty() {
            return;
        }
        let machines = &self.machines;
        trade.on_demand_coming.retain(|machine| {
            matches!(machines[*machine].state, State::Requested | State::Booting)
        });
        let after = millis(on_demand.after);
        let overdue = self.pending.iter().filter(|task| {
            let since = trade.interrupted.get(*task).copied();
            since.unwrap_or(self.load.tasks()[**task].created) + after <= self.now
        });
        let missing = overdue.count().saturating_sub(trade.on_demand_coming.len());
        for _ in 0..(missing as u64).min(self.room()) {
            let machine = self.machines.len();
            self.ask(Place::OnDemand);
            if let Some(trade) = &mut self.trade {
                trade.on_demand_coming.push(machine);
            }
        }
    }

    /// How many instances on demand no task needs now, beside a spot market: to hold one for the next task
    /// costs more than to ask for a new one.
    pub(super) fn dear_and_idle(&self) -> u64 {
        let Some(trade) = &self.trade else { return 0 };
        if trade.market.pools().is_empty() {
            return 0;
        }
        let on_demand = |at: &&usize| self.machines[**at].place == Place::OnDemand;
        self.idle.iter().filter(on_demand).count() as u64
    }

    /// Takes the idle worker that is worth least off the list, of those that can be told to stop: on demand
    /// before spot, then where instances live shortest, then the longest idle.
    pub(super) fn least_worth(&mut self) -> Option<usize> {
        let mut asking = self.idle.iter().enumerate().filter(|(_, it)| self.asks(**it));
        let (place, _) = match &self.trade {
            None => asking.next()?,
            Some(trade) => {
                let worth = |machine: usize| match self.machines[machine].place {
                    Place::OnDemand => 0.0,
                    Place::Pool(pool) => trade.records[pool].life_hours(),
                    Place::Anywhere => f64::INFINITY,
                };
                asking.min_by(|(_, a), (_, b)| worth(**a).total_cmp(&worth(**b)))?
            }
        };
        self.idle.remove(place)
    }
}
