//! The last observation, sorted by owner, with counts by state per worker type.
//!
//! Building it costs work proportional to machines. Deciding from it does not: a worker type is counted
//! anew only when its machines or running tasks changed, or when a deadline of one of them passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::demand::Running;
use crate::engine::desk::{Book, Heard};
use crate::engine::memory::{IDLE_ROUNDS, MachineMemory, Memory};
use crate::ids::{ClientToken, InstanceId, SpotRequestId, StatusText, WorkerTypeName};
use crate::launch::Pool;
use crate::money::UsdPerHour;
use crate::observed::{InstanceState, KeyPair};
use crate::policy::PolicyMemory;
use crate::settings::{Settings, WorkerType};

/// Everything under the key-name, by owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Configured worker types.
    pub(super) types: BTreeMap<WorkerTypeName, Group>,
    /// Tagged ours, but the worker type is no longer configured.
    pub(super) retired: BTreeMap<WorkerTypeName, Group>,
    /// Neither our tags nor a spot request of ours.
    pub(super) strays: Group,
    /// Instances whose spot request is not visible yet.
    pub(super) unresolved: Vec<Machine>,
    /// Requests in the ledger whose instance is visible, though they themselves are not.
    pub(super) arrived: BTreeSet<SpotRequestId>,
    /// Instances under our key-name that carry another deployment's tag.
    pub(super) disputed: Vec<Machine>,
    /// Whose key pair it is, as last seen.
    pub(super) key_pair: KeyPair,
    /// States this version does not know.
    pub(super) odd: Vec<String>,
    /// The spot capacity pools that instances run in, each once: [`Machine::pool`] is a place in it.
    pub(super) pools: Vec<Pool>,
}

/// The instances and open requests of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Live instances, the oldest first.
    pub(super) machines: Vec<Machine>,
    /// Open requests.
    pub(super) open: Vec<OpenRequest>,
    /// Counts of the machines, as of the last recount.
    pub(super) counts: Counts,
    /// When the counts change by the passing of time alone.
    next_change: Option<Timestamp>,
    /// Whether machines or running tasks changed since the last recount.
    dirty: bool,
    /// Startups that ended with a first task since they were last taken.
    started: Vec<Startup>,
}

/// How an instance came to its first task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// From asking for it until it was launched.
    pub(super) requested: Duration,
    /// From there until it had a task.
    pub(super) booted: Duration,
}

/// A live instance.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) id: InstanceId,
    /// Its place among the [`Memory::machines`] as of the last look.
    pub(super) rank: usize,
    pub(super) state: InstanceState,
    /// Which of [`Index::pools`] it runs in, if a spot request made it and it is plain Linux.
    pub(super) pool: Option<usize>,
    pub(super) launched: Timestamp,
    pub(super) price: Option<UsdPerHour>,
    pub(super) intent: Option<ClientToken>,
    /// Whether it carries our tags already.
    pub(super) tagged: bool,
    pub(super) class: Class,
    /// Known to run no task, in two rounds running.
    pub(super) positively_idle: bool,
    /// Its worker was told to stop and said that it is stopping, and no task is seen on it.
    pub(super) agreed: bool,
}

impl Machine {
    /// Whether ending it makes sense: not if its state is not known, or it is going already.
    pub(super) fn may_be_ended(&self) -> bool {
        !matches!(self.state, InstanceState::Unrecognised(_) | InstanceState::ShuttingDown)
    }
}

/// What a machine is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// No task has run on it yet; it is expected to take one.
    Booting,
    /// Known or presumed to run no task.
    Idle,
    /// Runs tasks, or may: what it does is not known.
    #[default]
    Unknown,
    /// Known or presumed to run tasks.
    Busy,
    /// Up longer than `boot-timeout` without a claim: no capacity.
    Overdue,
    /// Older than `max-lifetime`: no capacity.
    Aged,
    /// Stopping or stopped, or about to be because its worker was told so: no capacity.
    Stopping,
}

/// A request waiting for capacity.
#[derive(Clone, Debug)]
pub(super) struct OpenRequest {
    pub(super) id: SpotRequestId,
    pub(super) asked: Timestamp,
    pub(super) status_code: StatusText,
    pub(super) status_since: Timestamp,
    pub(super) pool: Pool,
    pub(super) price: Option<UsdPerHour>,
    /// Cancelled by us already; EC2 still shows it open.
    pub(super) cancelled: bool,
    /// Its state is known, so it may be cancelled.
    pub(super) touchable: bool,
}

/// Machines by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) booting: u64,
    pub(super) idle: u64,
    pub(super) unknown: u64,
    pub(super) busy: u64,
    pub(super) overdue: u64,
    pub(super) aged: u64,
    pub(super) stopping: u64,
    /// Shutting down: no cost and no capacity any more, but the maximum waits for them to be gone.
    pub(super) leaving: u64,
    /// Tasks that machines up or booting can take beyond those they run.
    pub(super) free_slots: u64,
    /// Machines without our tags.
    pub(super) untagged: u64,
    /// The highest possible price of the machines and open requests that have one.
    pub(super) usd: UsdPerHour,
    /// How many have none.
    pub(super) unpriced: u64,
}

impl Counts {
    pub(super) fn live(&self) -> u64 {
        let Self {
            booting,
            idle,
            unknown,
            busy,
            overdue,
            aged,
            stopping,
            leaving: _,
            free_slots: _,
            usd: _,
            unpriced: _,
            untagged: _,
        } = *self;
        booting + idle + unknown + busy + overdue + aged + stopping
    }
}

/// What classing needs to know of the owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    boot_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    tasks_per_instance: u64,
    /// How long machines past their boot time may look free beside pending tasks.
    claim_grace: Duration,
    /// How many instances that never claimed a task are excused while no task waits that long: those
    /// that keep the minimum had nothing to claim, and would be replaced every `boot-timeout`.
    excused: u64,
}

impl Rules {
    /// A machine that is up and free claims within seconds; queues that poll take a minute at most.
    const CLAIM_GRACE: Duration = Duration::from_mins(1);

    pub(super) fn of(worker_type: &WorkerType) -> Self {
        Self {
            boot_timeout: Some(worker_type.boot_timeout),
            max_lifetime: worker_type.max_lifetime,
            tasks_per_instance: u64::from(worker_type.tasks_per_instance),
            claim_grace: Self::CLAIM_GRACE.min(worker_type.boot_timeout),
            excused: worker_type.min_instances,
        }
    }

    /// Excuses those too that the policy keeps in advance.
    fn excuse(&mut self, kept: u64) {
        self.excused = self.excused.max(kept);
    }

    pub(super) fn retired(settings: &Settings) -> Self {
        Self {
            boot_timeout: None,
            max_lifetime: settings.retired_max_lifetime,
            tasks_per_instance: 1,
            claim_grace: Self::CLAIM_GRACE,
            excused: 0,
        }
    }
}

/// Running tasks as one group sees them.
pub(super) struct Claims<'a> {
    pub(super) running: &'a Running,
    /// Running tasks of this worker type, as counted.
    pub(super) tasks: Option<u64>,
    /// Whether the demand was read anew since the last recount.
    pub(super) fresh: bool,
    /// Since when tasks have been pending beside machines that look free.
    pub(super) unclaimed_since: Option<Timestamp>,
    /// What workers said of themselves.
    pub(super) book: &'a Book,
}

impl Group {
    /// Takes the startups that ended since the last time.
    pub(super) fn take_started(&mut self) -> Vec<Startup> {
        std::mem::take(&mut self.started)
    }

    /// Adds nothing, only says that a recount is due.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Puts machines in order after all were added.
    pub(super) fn finish(&mut self) {
        self.machines.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        self.open.sort_by(|a, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
        self.dirty = true;
    }

    /// Whether a recount is due.
    pub(super) fn is_due(&self, fresh_claims: bool, now: Timestamp) -> bool {
        self.dirty
            || (fresh_claims && !self.machines.is_empty())
            || self.next_change.is_some_and(|at| at <= now)
    }

    /// Classes every machine and counts them. Returns whether one was first seen with a task.
    pub(super) fn recount(
        &mut self,
        rules: Rules,
        claims: &Claims<'_>,
        lookup: &mut Lookup<'_>,
        now: Timestamp,
    ) -> bool {
        let mut first_claim = false;
        let mut started = Vec::new();
        let mut deadline = Deadline { now, next: None };
        let mut counts = Counts::default();
        let per_machine = rules.tasks_per_instance.max(1);
        // Without ids, running tasks are presumed to be on the oldest machines.
        let mut presumed_busy = claims.tasks.map(|tasks| tasks.div_ceil(per_machine));
        if matches!(claims.running, Running::ByInstance { .. }) {
            presumed_busy = None;
        }
        let stuck = claims.unclaimed_since.is_some_and(|since| {
            let until = clock::after(since, rules.claim_grace);
            deadline.watch(until);
            until <= now
        });
        let mut excused = if stuck { 0 } else { rules.excused };
        let mut claimed_slots = 0;
        let mut capable = 0;
        let mut n_presumed_busy = 0;
        for machine in &mut self.machines {
            counts.untagged += u64::from(!machine.tagged);
            if machine.state == InstanceState::ShuttingDown {
                machine.class = Class::Stopping;
                machine.positively_idle = false;
                machine.agreed = false;
                counts.leaving += 1;
                continue;
            }
            // Every live machine is remembered since the look that showed it. One that were not must still
            // count to the maximum: what is left out is launched again.
            let Some((known, known_tasks)) = lookup.get(machine) else {
                machine.class = Class::Unknown;
                machine.positively_idle = false;
                machine.agreed = false;
                counts.unknown += 1;
                continue;
            };
            let up_since = machine.launched;
            let aged = rules.max_lifetime.is_some_and(|lifetime| {
                deadline.watch(clock::after(up_since, lifetime.saturating_mul(2)));
                deadline.has_passed(clock::after(up_since, lifetime))
            });
            let booted = rules
                .boot_timeout
                .is_some_and(|timeout| deadline.has_passed(clock::after(up_since, timeout)));
            let tasks = match claims.running {
                Running::ByInstance { .. } => {
                    let tasks = known_tasks;
                    if tasks > 0 && !known.claimed {
                        known.claimed = true;
                        first_claim = true;
                        started.extend(startup(machine, known, now));
                    }
                    if tasks > 0 {
                        known.idle_rounds = 0;
                    } else if claims.fresh {
                        known.idle_rounds = known.idle_rounds.saturating_add(1);
                    }
                    Some(u64::from(tasks))
                }
                Running::Unknown | Running::Counted { .. } => {
                    if claims.fresh {
                        known.idle_rounds = 0;
                    }
                    None
                }
            };
            let heard = claims.book.heard(&machine.id, now);
            // A first look at an old machine does not know its past: it is watched for a boot time
            // before it is called one that never claimed.
            let watched = rules.boot_timeout.is_some_and(|timeout| {
                deadline.has_passed(clock::after(known.first_seen, timeout))
            });
            machine.class = match machine.state {
                InstanceState::Stopping | InstanceState::Stopped => Class::Stopping,
                InstanceState::Unrecognised(_)
                | InstanceState::ShuttingDown
                | InstanceState::Terminated => Class::Unknown,
                InstanceState::Pending | InstanceState::Running => {
                    match (tasks, &mut presumed_busy) {
                        (Some(1..), _) => Class::Busy,
                        _ if heard.is_leaving() => Class::Stopping,
                        (None, Some(busy))
                            if *busy > 0
                                && machine.state == InstanceState::Running
                                && heard != Heard::Idle =>
                        {
                            *busy -= 1;
                            n_presumed_busy += 1;
                            Class::Busy
                        }
                        _ if aged => Class::Aged,
                        (Some(0), _) if known.claimed => Class::Idle,
                        // Whoever asks is up, and ready for its first task.
                        _ if heard == Heard::Idle && !(booted && stuck) => Class::Idle,
                        (Some(0), _) if rules.boot_timeout.is_none() => Class::Idle,
                        (Some(0), _) if booted && watched && excused > 0 => {
                            excused -= 1;
                            Class::Idle
                        }
                        (Some(0), _) if booted && watched => Class::Overdue,
                        (None, Some(_)) if booted && stuck => Class::Overdue,
                        (Some(0), _) | (None, Some(_)) if booted => Class::Idle,
                        (None, None) if heard == Heard::Quiet => Class::Busy,
                        (None, None) if booted || rules.boot_timeout.is_none() => Class::Unknown,
                        _ => Class::Booting,
                    }
                }
            };
            machine.positively_idle = tasks == Some(0)
                && machine.state == InstanceState::Running
                && known.idle_rounds >= IDLE_ROUNDS;
            machine.agreed = machine.class == Class::Stopping && heard == Heard::Agreed;
            match machine.class {
                Class::Booting => counts.booting += 1,
                Class::Idle => counts.idle += 1,
                Class::Unknown => counts.unknown += 1,
                // An aged machine goes on with what it has, and gets no more.
                Class::Busy if aged => counts.aged += 1,
                Class::Busy => {
                    counts.busy += 1;
                    claimed_slots += tasks.unwrap_or(per_machine).min(per_machine);
                }
                Class::Overdue => counts.overdue += 1,
                Class::Aged => counts.aged += 1,
                Class::Stopping => counts.stopping += 1,
            }
            if matches!(machine.class, Class::Booting | Class::Idle | Class::Busy) && !aged {
                capable += per_machine;
            }
        }
        if presumed_busy.is_some() {
            // Tasks beyond what these machines can run are on none of ours: claims of machines that are
            // gone, or other people's workers. They take no machine's credit.
            claimed_slots = claims.tasks.unwrap_or(0).min(n_presumed_busy * per_machine);
        }
        counts.free_slots = capable.saturating_sub(claimed_slots);
        let staying =
            self.machines.iter().filter(|machine| machine.state != InstanceState::ShuttingDown);
        let prices = staying.map(|machine| machine.price);
        for price in prices.chain(self.open.iter().map(|request| request.price)) {
            match price {
                Some(price) => counts.usd = counts.usd.plus(price),
                None => counts.unpriced += 1,
            }
        }
        for request in &self.open {
            deadline.watch(clock::after(request.status_since, UNFILLABLE_AFTER));
        }
        self.started.append(&mut started);
        self.counts = counts;
        self.next_change = deadline.next;
        self.dirty = false;
        first_claim
    }
}

/// The startup of a machine that has its first task now, if it was watched from the beginning.
fn startup(machine: &Machine, known: &MachineMemory, now: Timestamp) -> Option<Startup> {
    let seen_late = clock::age(machine.launched, known.first_seen) > WATCHED_FROM;
    if seen_late || known.first_seen == now {
        return None;
    }
    Some(Startup {
        requested: clock::age(known.asked?, machine.launched),
        booted: clock::age(machine.launched, now),
    })
}

/// A machine first seen later than this after its launch may have had tasks before.
const WATCHED_FROM: Duration = Duration::from_mins(1);

/// A request whose status says that it cannot be filled is given up after this long (interface 6).
pub(super) const UNFILLABLE_AFTER: Duration = Duration::from_secs(30);

/// Collects the earliest instant still ahead.
struct Deadline {
    now: Timestamp,
    next: Option<Timestamp>,
}

impl Deadline {
    fn watch(&mut self, at: Timestamp) {
        if at > self.now {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    fn has_passed(&mut self, at: Timestamp) -> bool {
        self.watch(at);
        at <= self.now
    }
}

impl Index {
    /// Every group with its owner; strays last.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.types.values().chain(self.retired.values()).chain([&self.strays])
    }

    /// The same, to change.
    pub(super) fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        let Self { types, retired, strays, .. } = self;
        types.values_mut().chain(retired.values_mut()).chain([strays])
    }

    /// Recounts what is due. Returns the worker types of which an instance was first seen with a task.
    pub(super) fn recount(
        &mut self,
        settings: &Settings,
        running: &Running,
        fresh: bool,
        memory: &mut Memory,
        book: &Book,
        now: Timestamp,
    ) -> BTreeSet<WorkerTypeName> {
        let mut claimed = BTreeSet::new();
        let due: usize = self
            .groups()
            .filter(|group| group.is_due(fresh, now))
            .map(|group| group.machines.len())
            .sum();
        let mut lookup = Lookup::new(&mut memory.machines, running, due);
        for (name, group) in &mut self.types {
            let Some(worker_type) = settings.worker_types.get(name) else { continue };
            if group.is_due(fresh, now) {
                let unclaimed_since = memory.unclaimed_since.get(name).copied();
                let tasks = running.tasks(name);
                let claims = Claims { running, tasks, fresh, unclaimed_since, book };
                let mut rules = Rules::of(worker_type);
                rules.excuse(memory.policies.get(name).map_or(0, PolicyMemory::kept));
                if group.recount(rules, &claims, &mut lookup, now) {
                    claimed.insert(name.clone());
                }
            }
        }
        let rules = Rules::retired(settings);
        for group in self.retired.values_mut().chain([&mut self.strays]) {
            if group.is_due(fresh, now) {
                let claims = Claims { running, tasks: None, fresh, unclaimed_since: None, book };
                let _ = group.recount(rules, &claims, &mut lookup, now);
            }
        }
        claimed
    }
}

/// What is known of machines, and how many tasks run on them. For a few they are looked up by id. For
/// many, both are laid out by rank in one pass first: a look-up in a large tree costs a cache miss per
/// level.
pub(super) enum Lookup<'a> {
    ById(&'a mut BTreeMap<InstanceId, MachineMemory>, Option<&'a BTreeMap<InstanceId, u32>>),
    ByRank(Vec<(&'a mut MachineMemory, u32)>),
}

impl<'a> Lookup<'a> {
    fn new(
        machines: &'a mut BTreeMap<InstanceId, MachineMemory>,
        running: &'a Running,
        due: usize,
    ) -> Self {
        let tasks = match running {
            Running::ByInstance { instances, .. } => Some(instances),
            Running::Unknown | Running::Counted { .. } => None,
        };
        if due < machines.len() / 8 {
            return Self::ById(machines, tasks);
        }
        let mut tasks = tasks.into_iter().flatten().peekable();
        let by_rank = machines.iter_mut().map(|(id, machine)| {
            while tasks.next_if(|(other, _)| *other < id).is_some() {}
            (machine, tasks.next_if(|(other, _)| *other == id).map_or(0, |(_, n)| *n))
        });
        Self::ByRank(by_rank.collect())
    }

    fn get(&mut self, machine: &Machine) -> Option<(&mut MachineMemory, u32)> {
        match self {
            Self::ById(machines, tasks) => {
                let tasks = tasks.and_then(|tasks| tasks.get(&machine.id)).copied().unwrap_or(0);
                Some((machines.get_mut(&machine.id)?, tasks))
            }
            Self::ByRank(known) => known.get_mut(machine.rank).map(|(known, n)| (&mut **known, *n)),
        }
    }
}
