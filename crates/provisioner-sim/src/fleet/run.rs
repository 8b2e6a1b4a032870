//! The run of one fleet under one policy.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::policy::{Policy, PolicyMemory, Situation};

use super::bounds::{hours, millis};
use super::outcome::{Moment, Outcome, Waits, count};
use super::world::{Knowledge, Setup, Wake};
use crate::chance::Chance;
use crate::load::Load;

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

/// Between two questions of an idle worker: as `examples/should-stop.sh` asks. In milliseconds.
const ASKS_EVERY: u64 = 30_000;

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
            Event::Reclaim(machine) => self.reclaim(machine),
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    fn ask(&mut self) {
        let world = &self.setup.world;
        let startup = world.startup.draw(&mut self.startups);
        let boot = if world.parts_apart { world.startup.draw(&mut self.boots) } else { startup };
        let life = (world.reclaimed_per_hour > 0.0).then(|| {
            let mean = Duration::from_hours(1).div_f64(world.reclaimed_per_hour);
            millis(self.lives.until_next(mean))
        });
        let machine = self.machines.len();
        self.machines.push(Machine {
            state: State::Requested,
            asked: self.now,
            since: self.now,
            billed: self.now,
            young: false,
            worked: false,
            life,
        });
        self.totals.asked += 1;
        self.totals.requested += 1;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "minutes in milliseconds"
        )]
        let unbilled = (millis(startup) as f64 * world.unbilled).round() as u64;
        self.requests.push(machine);
        self.at(self.now + unbilled, Event::Fulfil(machine));
        let boot = millis(boot.mul_f64(1.0 - world.unbilled));
        self.at(self.now + unbilled + boot, Event::Ready(machine));
    }

    /// Cancels the request that was made last: the others are nearer to being filled.
    fn cancel(&mut self) -> bool {
        while let Some(machine) = self.requests.pop() {
            if self.machines[machine].state == State::Requested {
                self.machines[machine].state = State::Gone;
                self.totals.requested -= 1;
                self.totals.cancelled += 1;
                let open = self.now - self.machines[machine].asked;
                self.memory.saw_cancelled(Duration::from_millis(open));
                return true;
            }
        }
        false
    }

    fn fulfil(&mut self, machine: usize) {
        let it = &mut self.machines[machine];
        if it.state != State::Requested {
            return;
        }
        let life = it.life;
        *it = Machine {
            state: State::Booting,
            since: self.now,
            billed: self.now,
            young: true,
            ..*it
        };
        self.totals.requested -= 1;
        self.totals.booting += 1;
        self.totals.young += 1;
        self.young.push_back(machine);
        self.launched += 1;
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if let Some(life) = life {
            self.at(self.now + life, Event::Reclaim(machine));
        }
    }

    fn ready(&mut self, machine: usize) {
        let it = self.machines[machine];
        if it.state != State::Booting {
            return;
        }
        self.totals.booting -= 1;
        self.totals.boots.push((it.billed - it.asked, self.now - it.billed));
        self.rest(machine);
    }

    fn rest(&mut self, machine: usize) {
        let it = &mut self.machines[machine];
        it.state = State::Idle;
        it.since = self.now;
        self.idle.push_back(machine);
        self.totals.idle += 1;
        self.assign();
    }

    /// Gives waiting tasks to idle workers.
    fn assign(&mut self) {
        while !self.idle.is_empty() {
            let Some(task) = self.pending.pop_front() else { return };
            let place = match self.setup.world.wake {
                Wake::Longest => 0,
                Wake::Any => usize::try_from(self.wakes.below(self.idle.len() as u64)).unwrap_or(0),
            };
            let Some(machine) = self.idle.remove(place) else { return };
            self.start(machine, task);
        }
    }

    fn start(&mut self, machine: usize, task: usize) {
        let it = &mut self.machines[machine];
        let first = if it.worked { 0 } else { millis(self.setup.world.first_task) };
        it.state = State::Busy(task);
        it.since = self.now;
        it.worked = true;
        self.totals.idle -= 1;
        self.totals.busy += 1;
        let created = self.load.tasks()[task].created;
        let wait = self.now - created;
        if self.first_starts[task].replace(self.now).is_none() {
            self.waits.push(wait);
        }
        self.at(self.now + self.load.tasks()[task].duration + first, Event::Finish(machine));
    }

    fn finish(&mut self, machine: usize) {
        let it = self.machines[machine];
        let State::Busy(task) = it.state else { return };
        let task = self.load.tasks()[task];
        self.delays.push(self.now - task.created - task.duration);
        self.served += task.duration;
        self.totals.busy -= 1;
        self.last_progress = self.now;
        self.rest(machine);
    }

    fn reclaim(&mut self, machine: usize) {
        let it = self.machines[machine];
        if let State::Busy(task) = it.state {
            self.interrupted += 1;
            self.lost += self.now - it.since;
            // It is the oldest of those that wait.
            self.pending.push_front(task);
        }
        self.end(machine);
        self.assign();
    }

    fn end(&mut self, machine: usize) {
        let it = self.machines[machine];
        match it.state {
            State::Gone => return,
            State::Requested => {
                self.totals.requested -= 1;
                self.machines[machine].state = State::Gone;
                return;
            }
            State::Booting => self.totals.booting -= 1,
            State::Idle => {
                self.totals.idle -= 1;
                // It may be taken off the list already.
                if let Some(place) = self.idle.iter().position(|other| *other == machine) {
                    let _ = self.idle.remove(place);
                }
            }
            State::Busy(_) => self.totals.busy -= 1,
        }
        let it = &mut self.machines[machine];
        it.state = State::Gone;
        if std::mem::take(&mut it.young) {
            self.totals.young -= 1;
        }
        self.live -= 1;
        self.billed += (self.now - it.billed).max(millis(self.setup.world.least_billed));
    }

    fn look(&mut self) -> Look {
        let boot_timeout = millis(self.setup.boot_timeout);
        while let Some(machine) = self.young.front().copied() {
            let it = &mut self.machines[machine];
            if it.young && it.billed + boot_timeout > self.now {
                break;
            }
            if std::mem::take(&mut it.young) {
                self.totals.young -= 1;
            }
            let _ = self.young.pop_front();
        }
        let boots = std::mem::take(&mut self.totals.boots);
        Look { pending: self.pending.len() as u64, boots, ..self.totals.clone() }
    }

    fn decide(&mut self) {
        let Some(look) = self.looks.pop_front() else { return };
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let Ok(now) = Timestamp::from_millisecond(now) else { return };
        let situation = self.situation(&look, now);
        for (requested, booting) in &look.boots {
            let [requested, booting] = [requested, booting].map(|it| Duration::from_millis(*it));
            self.memory.saw_startup(requested, booting);
        }
        let wish = self.policy.wish(&situation, &mut self.memory);
        let room =
            self.setup.max_instances.saturating_sub(self.live as u64 + self.totals.requested);
        // Held against what the round knows, as the engine does: what was filled since the look is no gap.
        let coming = situation.requested;
        for _ in 0..wish.coming.saturating_sub(coming).min(room) {
            self.ask();
        }
        for _ in 0..coming.saturating_sub(wish.coming) {
            if !self.cancel() {
                break;
            }
        }
        if situation.workers_consent {
            for _ in 0..wish.let_go {
                let Some(place) = self.idle.iter().position(|it| self.asks(*it)) else { break };
                let Some(machine) = self.idle.remove(place) else { break };
                self.end(machine);
                self.totals.stopped += 1;
            }
        }
    }

    /// Whether an idle worker can be told to stop now: where it has to ask, if it asked since the round
    /// before.
    fn asks(&self, machine: usize) -> bool {
        let idle = self.now - self.machines[machine].since;
        let asked = |idle: u64| idle / ASKS_EVERY;
        self.setup.knowledge != Knowledge::Asking
            || asked(idle) > asked(idle.saturating_sub(self.round))
    }

    /// What a round knows: the look, and what was done since.
    fn situation(&self, look: &Look, now: Timestamp) -> Situation {
        let asked = self.totals.asked - look.asked;
        let cancelled = self.totals.cancelled - look.cancelled;
        let stopped = self.totals.stopped - look.stopped;
        let requested = (look.requested + asked).saturating_sub(cancelled);
        let up = (look.booting + look.idle + look.busy).saturating_sub(stopped);
        let known = Situation {
            pending: look.pending,
            requested,
            min: self.setup.min_instances,
            max: self.setup.max_instances,
            idle_timeout: self.setup.idle_timeout,
            ..Situation::nothing(now)
        };
        match self.setup.knowledge {
            Knowledge::Ids | Knowledge::Asking | Knowledge::Workers => {
                let idle = look.idle.saturating_sub(stopped);
                Situation {
                    running: Some(look.busy),
                    booting: look.booting,
                    idle,
                    busy: look.busy,
                    free_slots: look.booting + idle,
                    workers_consent: self.setup.knowledge.workers_consent(),
                    ..known
                }
            }
            // As the engine counts: running tasks are presumed on the oldest instances, and an
            // instance younger than the boot timeout that has none is presumed to boot.
            Knowledge::Counts => {
                let busy = look.busy.min(up);
                let booting = look.young.min(up - busy);
                let idle = up - busy - booting;
                Situation {
                    running: Some(look.busy),
                    booting,
                    idle,
                    busy,
                    free_slots: booting + idle,
                    ..known
                }
            }
            Knowledge::Pending => {
                let booting = look.young.min(up);
                Situation { booting, unknown: up - booting, free_slots: booting, ..known }
            }
        }
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
            on_demand_hours: 0.0,
            lost_hours: hours(self.lost),
            utilisation: if billed > 0.0 { hours(self.served) / billed } else { 0.0 },
            launches: count(self.launched),
            cancelled_requests: count(usize::try_from(self.totals.cancelled).unwrap_or(usize::MAX)),
            peak_instances: count(self.peak),
        }
    }
}
