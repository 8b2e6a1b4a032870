//! One run: the event loop.

mod instances;
mod market;
mod rounds;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use provisioner::internal::policy::PolicyMemory;
use provisioner_sim::rng::Rng;

use super::outcome::{Distribution, Moment, Outcome, count};
use super::setup::Setup;
use crate::load::Load;
use crate::policy::SimulatedPolicy;
use crate::time::{hours, millis};
use market::{Buyer, Purchase};

/// Runs `load` under `policy`. The same seed gives the same outcome. Calls `watch` in every round.
pub fn run(
    load: &Load,
    setup: &Setup,
    policy: &SimulatedPolicy,
    seed: u64,
    mut watch: impl FnMut(Moment),
) -> Outcome {
    let mut simulation = Simulation::new(load, setup, policy, seed);
    simulation.run(&mut watch);
    simulation.outcome()
}

/// An event in the future. Simultaneous events happen in this order, followed by the creation of tasks and
/// by rounds: a task that is created just when a worker ends another one finds this worker idle, and a
/// round sees all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker ends its task.
    Finish(usize),
    /// The capacity of a spot pool changes.
    CapacityChange(usize),
    /// An instance is reclaimed.
    Reclaim(usize),
    /// A request is fulfilled.
    Fulfil(usize),
    /// A worker is ready for its first task.
    Ready(usize),
}

/// The time in milliseconds after which a run ends although tasks wait or instances stay up, if no task was
/// created or ended: a day without progress means that there will be none.
const GIVE_UP_AFTER: u64 = 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InstanceState {
    Requested,
    Booting,
    Idle,
    /// The worker runs the task with this index.
    Busy(usize),
    Gone,
}

/// An instance, or the request for one. All times are in milliseconds since the beginning of the load.
#[derive(Clone, Copy, Debug)]
struct Instance {
    state: InstanceState,
    requested: u64,
    /// When its present state began. For an instance that is gone, when its last state began.
    since: u64,
    billed_from: u64,
    /// Whether it is younger than the boot timeout.
    young: bool,
    /// Whether it ever had a task.
    worked: bool,
    /// How long it lives until it is reclaimed, if ever.
    life: Option<u64>,
    purchase: Purchase,
    /// When its request is fulfilled, unless something intervenes.
    fulfilled_at: u64,
    /// When its worker is ready, unless something intervenes.
    ready_at: u64,
}

/// What an observation counts.
#[derive(Clone, Debug, Default)]
struct Counters {
    pending: u64,
    booting: u64,
    idle: u64,
    busy: u64,
    young: u64,
    requested: u64,
    /// Requests made so far. This and the next two tell what was done after the observation.
    asked: u64,
    cancelled: u64,
    stopped: u64,
    /// The time until a request was fulfilled and the boot time, for instances that became ready since the
    /// last observation.
    boots: Vec<(u64, u64)>,
}

/// The two parts of a startup, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Startup {
    /// The time until the request is fulfilled.
    open: u64,
    /// The time from there until the worker is ready.
    boot: u64,
}

struct Simulation<'a> {
    load: &'a Load,
    setup: &'a Setup,
    policy: &'a SimulatedPolicy,
    memory: PolicyMemory,
    now: u64,
    /// When idle workers stop by themselves, if they do.
    idle_timeout: Option<u64>,
    round_interval: u64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// The index of the next task to be created.
    next_task: usize,
    pending: VecDeque<usize>,
    instances: Vec<Instance>,
    /// Idle instances, the longest idle first.
    idle: VecDeque<usize>,
    /// Requests, the latest last. Some of them may be fulfilled already.
    requests: Vec<usize>,
    /// Buys in a market; `None` if capacity is unlimited.
    buyer: Option<Buyer<'a>>,
    /// On-demand requests that are not fulfilled yet.
    on_demand_requested: u64,
    /// Instances in the order of their fulfilment. Some of them may be gone.
    young: VecDeque<usize>,
    /// Observations that no round has used yet.
    observations: VecDeque<Counters>,
    totals: Counters,
    startup_rng: Rng,
    boot_rng: Rng,
    life_rng: Rng,
    wake_rng: Rng,
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

impl<'a> Simulation<'a> {
    fn new(load: &'a Load, setup: &'a Setup, policy: &'a SimulatedPolicy, seed: u64) -> Self {
        // Workers that are told when to stop have no idle timeout of their own, unless the policy sets one.
        let told_to_stop = policy.lets_go() && setup.knowledge.workers_consent();
        let default_timeout = (!told_to_stop).then_some(setup.idle_timeout);
        Self {
            load,
            setup,
            policy,
            memory: PolicyMemory::default(),
            now: 0,
            idle_timeout: policy.idle_timeout.or(default_timeout).map(millis),
            round_interval: millis(setup.round).max(1),
            events: BinaryHeap::new(),
            next_task: 0,
            pending: VecDeque::new(),
            instances: Vec::new(),
            idle: VecDeque::new(),
            requests: Vec::new(),
            on_demand_requested: 0,
            buyer: setup.market.as_deref().map(|market| Buyer::new(market, seed)),
            young: VecDeque::new(),
            observations: VecDeque::new(),
            totals: Counters::default(),
            startup_rng: Rng::stream(seed, "startups"),
            boot_rng: Rng::stream(seed, "boots"),
            life_rng: Rng::stream(seed, "lives"),
            wake_rng: Rng::stream(seed, "wakes"),
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
        self.watch_capacity();
        let mut next_observation = 0;
        let mut next_round = millis(self.setup.staleness);
        let tasks = self.load.tasks();
        loop {
            let arrival = tasks.get(self.next_task).map_or(u64::MAX, |task| task.created);
            let event = self.events.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let timeout = match (self.idle_timeout, self.idle.front()) {
                (Some(timeout), Some(first)) => self.instances[*first].since + timeout,
                _ => u64::MAX,
            };
            let change = event.min(arrival).min(timeout);
            let tick = next_observation.min(next_round);
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
                    self.handle(event);
                }
            } else if arrival == self.now {
                let task = self.next_task;
                self.next_task += 1;
                self.last_progress = self.now;
                self.pending.push_back(task);
                self.assign();
            } else if timeout == self.now {
                if let Some(instance) = self.idle.pop_front() {
                    self.end(instance);
                }
            } else if next_observation == self.now {
                let observation = self.observe();
                self.observations.push_back(observation);
                next_observation += self.round_interval;
            } else {
                self.decide();
                next_round += self.round_interval;
                watch(self.moment());
            }
        }
        for instance in 0..self.instances.len() {
            self.end(instance);
        }
    }

    fn is_over(&self) -> bool {
        let Counters { busy, booting, requested, .. } = self.totals;
        if busy > 0 || self.next_task < self.load.tasks().len() {
            return false;
        }
        let only_minimum = self.live as u64 <= self.setup.min_instances;
        let at_rest = self.pending.is_empty() && booting == 0 && requested == 0 && only_minimum;
        at_rest || self.now.saturating_sub(self.last_progress) > GIVE_UP_AFTER
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Fulfil(instance) => self.fulfil(instance),
            Event::Ready(instance) => self.ready(instance),
            Event::Finish(instance) => self.finish(instance),
            Event::CapacityChange(pool) => self.capacity_changed(pool),
            Event::Reclaim(instance) => self.reclaim(instance),
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
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
            wait_seconds: Distribution::of(self.waits),
            delay_seconds: Distribution::of(self.delays),
            instance_hours: billed,
            on_demand_hours: hours(self.buyer.as_ref().map_or(0, Buyer::billed_on_demand)),
            lost_hours: hours(self.lost),
            utilisation: if billed > 0.0 { hours(self.served) / billed } else { 0.0 },
            launches: count(self.launched),
            cancelled_requests: count(usize::try_from(self.totals.cancelled).unwrap_or(usize::MAX)),
            peak_instances: count(self.peak),
        }
    }
}
