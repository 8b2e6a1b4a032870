//! The run of one fleet under one policy.

mod deciding;
mod machines;
mod trade;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use provisioner::policy::{Policy, PolicyMemory};

use super::bounds::{hours, millis};
use super::outcome::{Moment, Outcome, Waits, count};
use super::world::Setup;
use crate::chance::Chance;
use crate::load::Load;
use trade::{Place, Trade};

/// Runs `load` under `policy`. The same seed gives the same outcome. Calls `watch` at every round.
pub fn run(
    load: &Load,
    setup: &Setup,
    policy: &Policy,
    seed: u64,
    mut watch: impl FnMut(Moment),
) -> Outcome {
    let mut fleet = Fleet::new(load, setup, policy, seed);
    fleet.run(&mut watch);
    fleet.outcome()
}

/// What happens. At one instant, in this order: a task that is created just when a worker ends another
/// finds it free, and a round sees all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker ends its task.
    Finish(usize),
    /// A spot pool's capacity changes.
    Shift(usize),
    /// An instance is taken away.
    Reclaim(usize),
    /// A request is filled.
    Fulfil(usize),
    /// A worker is ready for its first task.
    Ready(usize),
}

/// So long after the last task was created or ended, a run ends although tasks wait or idle workers stay:
/// nothing will come of them.
const GIVE_UP: u64 = 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Requested,
    Booting,
    Idle,
    Busy(usize),
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Machine {
    state: State,
    asked: u64,
    /// When its present state began; for its state before it ended, if it has.
    since: u64,
    /// When it is billed from.
    billed: u64,
    /// Whether it is younger than a boot timeout.
    young: bool,
    /// Whether it ever had a task.
    worked: bool,
    life: Option<u64>,
    place: Place,
    /// When its request is filled and its worker ready, if nothing comes in between.
    filled: u64,
    ready: u64,
}

/// What a look saw.
#[derive(Clone, Debug, Default)]
struct Look {
    pending: u64,
    booting: u64,
    idle: u64,
    busy: u64,
    young: u64,
    requested: u64,
    /// What was done before it, in all.
    asked: u64,
    cancelled: u64,
    stopped: u64,
    boots: Vec<(u64, u64)>,
}

struct Fleet<'a> {
    load: &'a Load,
    setup: &'a Setup,
    policy: &'a Policy,
    memory: PolicyMemory,
    now: u64,
    idle_timeout: Option<u64>,
    round: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// The next task to be created.
    next_task: usize,
    pending: VecDeque<usize>,
    machines: Vec<Machine>,
    /// The longest idle first.
    idle: VecDeque<usize>,
    /// The latest asked for last; some of them may be filled.
    requests: Vec<usize>,
    /// Where instances are bought, if not wherever.
    trade: Option<Trade<'a>>,
    /// Asked for on demand and not there yet.
    on_demand_requested: u64,
    /// By the time they were filled; some of them may be gone.
    young: VecDeque<usize>,
    looks: VecDeque<Look>,
    totals: Look,
    startups: Chance,
    boots: Chance,
    lives: Chance,
    wakes: Chance,
    waits: Vec<u64>,
    delays: Vec<u64>,
    first_starts: Vec<Option<u64>>,
    live: usize,
    peak: usize,
    billed: u64,
    lost: u64,
    served: u64,
    interrupted: usize,
    launched: usize,
    last_progress: u64,
}

impl<'a> Fleet<'a> {
    fn new(load: &'a Load, setup: &'a Setup, policy: &'a Policy, seed: u64) -> Self {
        let told = policy.idle_timeout;
        // Who is asked when to stop need not decide it himself.
        let asked = policy.lets_go() && setup.knowledge.workers_consent();
        let idle_timeout = if asked { told } else { Some(told.unwrap_or(setup.idle_timeout)) };
        Self {
            load,
            setup,
            policy,
            memory: PolicyMemory::default(),
            now: 0,
            idle_timeout: idle_timeout.map(millis),
            round: millis(setup.round).max(1),
            events: BinaryHeap::new(),
            next_task: 0,
            pending: VecDeque::new(),
            machines: Vec::new(),
            idle: VecDeque::new(),
            requests: Vec::new(),
            on_demand_requested: 0,
            trade: setup.market.as_deref().map(|market| Trade::new(market, seed)),
            young: VecDeque::new(),
            looks: VecDeque::new(),
            totals: Look::default(),
            startups: Chance::stream(seed, "startups"),
            boots: Chance::stream(seed, "boots"),
            lives: Chance::stream(seed, "lives"),
            wakes: Chance::stream(seed, "wakes"),
            waits: Vec::with_capacity(load.tasks().len()),
            delays: Vec::with_capacity(load.tasks().len()),
            first_starts: vec![None; load.tasks().len()],
            live: 0,
            peak: 0,
            billed: 0,
            lost: 0,
            served: 0,
            interrupted: 0,
            launched: 0,
            last_progress: 0,
        }
    }

    fn run(&mut self, watch: &mut impl FnMut(Moment)) {
        let until = self.setup.until.map_or(u64::MAX, millis);
        let staleness = millis(self.setup.staleness);
        self.open_market();
        let (mut next_look, mut next_round) = (0, staleness);
        let tasks = self.load.tasks();
        loop {
            let arrival = tasks.get(self.next_task).map_or(u64::MAX, |task| task.created);
            let event = self.events.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let timeout = match (self.idle_timeout, self.idle.front()) {
                (Some(timeout), Some(first)) => self.machines[*first].since + timeout,
                _ => u64::MAX,
            };
            let change = event.min(arrival).min(timeout);
            let tick = next_look.min(next_round);
            if self.is_over() {
                break;
            }
            if change.min(tick) >= until {
                self.now = until;
                break;
            }
            self.now = change.min(tick);
            if event == self.now {
                if let Some(Reverse((_, event))) = self.events.pop() {
                    self.happen(event);
                }
            } else if arrival == self.now {
                let task = self.next_task;
                self.next_task += 1;
                self.last_progress = self.now;
                self.pending.push_back(task);
                self.assign();
            } else if timeout == self.now {
                if let Some(machine) = self.idle.pop_front() {
                    self.end(machine);
                }
            } else if next_look == self.now {
                let look = self.look();
                self.looks.push_back(look);
                next_look += self.round;
            } else {
                self.decide();
                next_round += self.round;
                watch(self.moment());
            }
        }
        for machine in 0..self.machines.len() {
            self.end(machine);
        }
    }

    fn is_over(&self) -> bool {
        let Look { busy, booting, requested, .. } = self.totals;
        if busy > 0 || self.next_task < self.load.tasks().len() {
            return false;
        }
        let kept = self.live as u64 <= self.setup.min_instances;
        let at_rest = self.pending.is_empty() && booting == 0 && requested == 0 && kept;
        at_rest || self.now.saturating_sub(self.last_progress) > GIVE_UP
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fulfil(machine) => self.fulfil(machine),
            Event::Ready(machine) => self.ready(machine),
            Event::Finish(machine) => self.finish(machine),
            Event::Shift(pool) => self.shift(pool),
            Event::Reclaim(machine) => self.reclaim(machine),
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    fn moment(&self) -> Moment {
        Moment {
            at: self.now,
            pending: self.pending.len() as u64,
            requested: self.totals.requested,
            booting: self.totals.booting,
            idle: self.totals.idle,
            busy: self.totals.busy,
        }
    }

    fn outcome(self) -> Outcome {
        let billed = hours(self.billed);
        let tasks = self.load.tasks().len();
        Outcome {
            tasks: count(tasks),
            unserved_tasks: count(tasks - self.delays.len()),
            interrupted_tasks: count(self.interrupted),
            wait_seconds: Waits::of(self.waits),
            delay_seconds: Waits::of(self.delays),
            instance_hours: billed,
            on_demand_hours: hours(self.trade.as_ref().map_or(0, Trade::billed_on_demand)),
            lost_hours: hours(self.lost),
            utilisation: if billed > 0.0 { hours(self.served) / billed } else { 0.0 },
            launches: count(self.launched),
            cancelled_requests: count(usize::try_from(self.totals.cancelled).unwrap_or(usize::MAX)),
            peak_instances: count(self.peak),
        }
    }
}
