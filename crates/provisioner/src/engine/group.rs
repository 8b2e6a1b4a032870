//! The machines and open requests of one owner, and how many there are of each class.
//!
//! A group is counted as a whole, or only the machines of it that may be otherwise than at the last count:
//! those put in or told of since, those that never ran a task (time alone changes what they are), and those
//! whose `max-lifetime` passed. Both ways come to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::demand::Running;
use crate::engine::index::{Class, Counts, Machine, OpenRequest};
use crate::engine::lookup::Lookup;
use crate::engine::memory::{IDLE_ROUNDS, MachineMemory};
use crate::ids::InstanceId;
use crate::money::UsdPerHour;
use crate::observed::InstanceState;
use crate::settings::{Settings, WorkerType};

/// The instances and open requests of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Live instances, the oldest first.
    pub(super) machines: Vec<Machine>,
    /// Open requests.
    pub(super) open: Vec<OpenRequest>,
    /// Counts of both, as of the last recount.
    pub(super) counts: Counts,
    /// Of the machines alone.
    tally: Tally,
    /// When the counts change by the passing of time alone.
    next_change: Option<Timestamp>,
    due: Due,
    /// What the last recount went by, if parts of it can be brought up to date.
    basis: Option<Basis>,
    /// Machines that may be of another class than at the last recount.
    touched: BTreeSet<Seat>,
    /// Machines that were never seen with a task, and when time alone makes another class of them next.
    /// Those without such a time are booted, and share what is excused.
    unclaimed: BTreeMap<Seat, Option<Timestamp>>,
    /// Startups that ended with a first task since they were last taken.
    started: Vec<Startup>,
}

/// Where a machine stands in its group: by its launch, then by its id.
pub(super) type Seat = (Timestamp, InstanceId);

/// Whether a recount is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    /// Of the machines that were touched.
    Partly,
    /// Of all.
    Wholly,
}

/// What a recount goes by besides machines and tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Basis {
    /// Without those that are excused: whom that concerns is counted anew in any case.
    rules: Rules,
    at: Timestamp,
}

/// What machines come to, one by one.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    counts: Counts,
    /// Tasks that those fit to run any can run at a time.
    capable: u64,
    /// How many these are known to run.
    claimed: u64,
}

impl Tally {
    fn add(&mut self, machine: &Machine, per_machine: u64) {
        let (count, capable, claimed) = self.places(machine, per_machine);
        *count += 1;
        self.capable += capable;
        self.claimed += claimed;
        self.counts.untagged += u64::from(!machine.tagged);
        match machine.price {
            _ if machine.is_leaving() => {}
            Some(price) => self.counts.usd = self.counts.usd.plus(price),
            None => self.counts.unpriced += 1,
        }
    }

    /// Takes back what was added for `machine` as it is.
    fn take(&mut self, machine: &Machine, per_machine: u64) {
        let (count, capable, claimed) = self.places(machine, per_machine);
        *count = count.saturating_sub(1);
        self.capable = self.capable.saturating_sub(capable);
        self.claimed = self.claimed.saturating_sub(claimed);
        let untagged = &mut self.counts.untagged;
        *untagged = untagged.saturating_sub(u64::from(!machine.tagged));
        match machine.price {
            _ if machine.is_leaving() => {}
            Some(price) => {
                let left = self.counts.usd.micros().saturating_sub(price.micros());
                self.counts.usd = UsdPerHour::from_micros(left);
            }
            None => self.counts.unpriced = self.counts.unpriced.saturating_sub(1),
        }
    }

    /// Where `machine` is counted, how many tasks it is fit to run, and how many of these it runs.
    fn places(&mut self, machine: &Machine, per_machine: u64) -> (&mut u64, u64, u64) {
        let counts = &mut self.counts;
        if machine.is_leaving() {
            return (&mut counts.leaving, 0, 0);
        }
        let capable = if machine.aged { 0 } else { per_machine };
        match machine.class {
            Class::Booting => (&mut counts.booting, capable, 0),
            Class::Idle => (&mut counts.idle, capable, 0),
            // An aged machine goes on with what it has, and gets no more.
            Class::Busy if machine.aged => (&mut counts.aged, 0, 0),
            Class::Busy => {
                let tasks = machine.counted.map_or(0, u64::from);
                (&mut counts.busy, capable, tasks.min(per_machine))
            }
            Class::Unknown => (&mut counts.unknown, 0, 0),
            Class::Overdue => (&mut counts.overdue, 0, 0),
            Class::Aged => (&mut counts.aged, 0, 0),
            Class::Stopping => (&mut counts.stopping, 0, 0),
        }
    }
}

/// How an instance came to its first task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// From asking for it until it was launched.
    pub(super) requested: Duration,
    /// From there until it had a task.
    pub(super) booted: Duration,
}

/// What classing needs to know of the owner.
#[derive(Clone, Copy, Debug, PartialEq)]
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

    fn per_machine(&self) -> u64 {
        self.tasks_per_instance.max(1)
    }

    /// The ages at which something becomes of a machine, whatever it does.
    fn lifetimes(&self) -> impl Iterator<Item = Duration> {
        self.max_lifetime.into_iter().flat_map(|lifetime| [lifetime, lifetime.saturating_mul(2)])
    }

    /// Excuses those too that the policy keeps in advance.
    pub(super) fn excuse(&mut self, kept: u64) {
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
    /// Whether every machine whose tasks changed since then was [touched](Group::touch).
    pub(super) told: bool,
    /// Whether what is to be looked at again is noted, for a recount of that alone.
    pub(super) follows: bool,
    /// Since when tasks have been pending beside machines that look free.
    pub(super) unclaimed_since: Option<Timestamp>,
}

impl Group {
    /// Takes the startups that ended since the last time.
    pub(super) fn take_started(&mut self) -> Vec<Startup> {
        std::mem::take(&mut self.started)
    }

    /// Adds nothing, only says that a recount is due.
    pub(super) fn ask_recount(&mut self) {
        if self.due == Due::No {
            self.due = Due::Partly;
        }
    }

    /// Puts machines in order after all were added anew.
    pub(super) fn finish(&mut self) {
        self.machines.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        self.finish_open();
        self.due = Due::Wholly;
    }

    /// Puts requests in order after all were added anew.
    pub(super) fn finish_open(&mut self) {
        self.open.sort_by(|a, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
        self.ask_recount();
    }

    fn place(&self, launched: Timestamp, id: &InstanceId) -> Result<usize, usize> {
        self.machines.binary_search_by(|it| (it.launched, &it.id).cmp(&(launched, id)))
    }

    /// Puts a machine in, or another state of it in its place.
    pub(super) fn put(&mut self, machine: Machine) {
        let seat = (machine.launched, machine.id.clone());
        match self.place(machine.launched, &machine.id) {
            Ok(place) => {
                let before = std::mem::replace(&mut self.machines[place], machine);
                self.uncount(&before);
            }
            Err(place) => self.machines.insert(place, machine),
        }
        self.touched.insert(seat);
        self.ask_recount();
    }

    /// Takes a machine out.
    pub(super) fn remove(&mut self, seat: &Seat) {
        if let Ok(place) = self.place(seat.0, &seat.1) {
            let machine = self.machines.remove(place);
            self.uncount(&machine);
            self.touched.remove(seat);
            self.unclaimed.remove(seat);
            self.ask_recount();
        }
    }

    fn uncount(&mut self, machine: &Machine) {
        if let Some(basis) = self.basis.filter(|_| machine.counted.is_some()) {
            self.tally.take(machine, basis.rules.per_machine());
        }
    }

    /// The tasks of a machine changed.
    pub(super) fn touch(&mut self, seat: Seat) {
        self.touched.insert(seat);
    }

    /// Whether a recount is due.
    pub(super) fn is_due(&self, fresh_claims: bool, now: Timestamp) -> bool {
        self.due != Due::No
            || (fresh_claims && !self.machines.is_empty())
            || self.next_change.is_some_and(|at| at <= now)
    }

    /// When the counts change by the passing of time alone.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.next_change
    }

    /// Which machines a recount must look at, by place; `None`: all.
    fn in_question(&self, basis: Basis, claims: &Claims<'_>) -> Option<Vec<usize>> {
        let before = self.basis.filter(|before| {
            let known = matches!(claims.running, Running::ByInstance { .. });
            let alike = before.rules == basis.rules && before.at <= basis.at;
            known && alike && (claims.told || !claims.fresh) && self.due != Due::Wholly
        })?;
        let due = self.unclaimed.iter().filter(|(_, at)| at.is_none_or(|at| at <= basis.at));
        let mut places: Vec<usize> = self
            .touched
            .iter()
            .chain(due.map(|(seat, _)| seat))
            .filter_map(|(launched, id)| self.place(*launched, id).ok())
            .collect();
        for lifetime in basis.rules.lifetimes() {
            let past = |now: Timestamp| self.n_past(lifetime, now);
            places.extend(past(before.at)..past(basis.at));
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// How many machines, the oldest, are `lifetime` old or older.
    pub(super) fn n_past(&self, lifetime: Duration, now: Timestamp) -> usize {
        let cut = clock::before(now, lifetime);
        // Mostly none is, and the others need not be looked at.
        if self.machines.first().is_none_or(|oldest| oldest.launched > cut) {
            return 0;
        }
        self.machines.partition_point(|machine| machine.launched <= cut)
    }

    /// Classes the machines in question and counts all. Returns whether one was first seen with a task.
    pub(super) fn recount(
        &mut self,
        rules: Rules,
        claims: &Claims<'_>,
        lookup: &mut Lookup<'_>,
        now: Timestamp,
    ) -> bool {
        let basis = Basis { rules: Rules { excused: 0, ..rules }, at: now };
        let per_machine = rules.per_machine();
        let places = self.in_question(basis, claims);
        let partly = places.is_some();
        if !partly {
            self.tally = Tally::default();
            self.unclaimed.clear();
        }
        self.touched.clear();
        let stuck_at = claims.unclaimed_since.map(|since| clock::after(since, rules.claim_grace));
        let stuck = stuck_at.is_some_and(|at| at <= now);
        // Without ids, running tasks are presumed to be on the oldest machines.
        let presumed_busy = match claims.running {
            Running::ByInstance { .. } => None,
            Running::Unknown | Running::Counted { .. } => {
                claims.tasks.map(|tasks| tasks.div_ceil(per_machine))
            }
        };
        let mut classing = Classing {
            rules,
            claims,
            deadline: Deadline { now, next: None },
            stuck,
            excused: if stuck { 0 } else { rules.excused },
            presumed_busy,
            first_claim: false,
        };
        let follows = claims.follows;
        let whole = 0..if partly { 0 } else { self.machines.len() };
        for place in places.into_iter().flatten().chain(whole) {
            let machine = &mut self.machines[place];
            if partly && machine.counted.is_some() {
                self.tally.take(machine, per_machine);
            }
            let sight = classing.class(machine, lookup, &mut self.started);
            self.tally.add(machine, per_machine);
            if follows {
                let seat = (machine.launched, machine.id.clone());
                if sight.settling {
                    self.touched.insert(seat.clone());
                }
                if sight.unclaimed {
                    self.unclaimed.insert(seat, sight.next_change);
                } else if partly {
                    self.unclaimed.remove(&seat);
                }
            }
        }
        let Classing { mut deadline, first_claim, .. } = classing;
        let n_presumed_busy = presumed_busy
            .map_or(0, |most| most.saturating_sub(classing.presumed_busy.unwrap_or(0)));
        let Tally { mut counts, capable, mut claimed } = self.tally;
        if presumed_busy.is_some() {
            // Tasks beyond what these machines can run are on none of ours: claims of machines that are
            // gone, or other people's workers. They take no machine's credit.
            claimed = claims.tasks.unwrap_or(0).min(n_presumed_busy * per_machine);
        }
        counts.free_slots = capable.saturating_sub(claimed);
        for request in &self.open {
            match request.price {
                Some(price) => counts.usd = counts.usd.plus(price),
                None => counts.unpriced += 1,
            }
            deadline.watch(clock::after(request.status_since, UNFILLABLE_AFTER));
        }
        let unclaimed =
            if partly { self.unclaimed.values().copied().flatten().min() } else { None };
        stuck_at.into_iter().chain(unclaimed).for_each(|at| deadline.watch(at));
        for lifetime in rules.lifetimes() {
            if let Some(next) = self.machines.get(self.n_past(lifetime, now)) {
                deadline.watch(clock::after(next.launched, lifetime));
            }
        }
        self.counts = counts;
        self.next_change = deadline.next;
        self.due = Due::No;
        let known = matches!(claims.running, Running::ByInstance { .. });
        self.basis = (follows && known).then_some(basis);
        first_claim
    }

    /// Whether another recount comes to the same until [`next_change`](Self::next_change).
    pub(super) fn is_settled(&self) -> bool {
        self.touched.is_empty()
            && self.due == Due::No
            && self.counts.untagged == 0
            && (self.basis.is_some() || self.machines.is_empty())
    }
}

/// Classes machines, one after the other, the oldest first.
struct Classing<'a> {
    rules: Rules,
    claims: &'a Claims<'a>,
    deadline: Deadline,
    /// Tasks have waited too long beside machines that look free.
    stuck: bool,
    /// How many more are excused.
    excused: u64,
    /// How many more are presumed to run a task.
    presumed_busy: Option<u64>,
    first_claim: bool,
}

/// What to look at again in the next recount.
#[derive(Default)]
struct Sight {
    /// It was never seen with a task.
    unclaimed: bool,
    /// When time alone makes another class of it, while it is that.
    next_change: Option<Timestamp>,
    /// It is not idle for long enough to be called so.
    settling: bool,
}

impl Classing<'_> {
    fn class(
        &mut self,
        machine: &mut Machine,
        lookup: &mut Lookup<'_>,
        started: &mut Vec<Startup>,
    ) -> Sight {
        let rules = &self.rules;
        machine.aged = false;
        machine.counted = Some(0);
        machine.positively_idle = false;
        if machine.is_leaving() {
            machine.class = Class::Stopping;
            return Sight::default();
        }
        // Every live machine is remembered since the look that showed it. One that were not must still
        // count to the maximum: what is left out is launched again.
        let Some((known, known_tasks)) = lookup.get(machine) else {
            machine.class = Class::Unknown;
            return Sight::default();
        };
        let now = self.deadline.now;
        let up_since = machine.launched;
        let aged =
            rules.max_lifetime.is_some_and(|lifetime| clock::after(up_since, lifetime) <= now);
        let tasks = match self.claims.running {
            Running::ByInstance { .. } => {
                if known_tasks > 0 && !known.claimed {
                    known.claimed = true;
                    self.first_claim = true;
                    started.extend(startup(machine, known, now));
                }
                if known_tasks > 0 {
                    known.idle_rounds = 0;
                } else if self.claims.fresh {
                    known.idle_rounds = known.idle_rounds.saturating_add(1).min(IDLE_ROUNDS);
                }
                Some(u64::from(known_tasks))
            }
            Running::Unknown | Running::Counted { .. } => {
                if self.claims.fresh {
                    known.idle_rounds = 0;
                }
                None
            }
        };
        // Of one that ran a task it does not matter how long ago it was launched or first seen.
        let ran = known.claimed && tasks.is_some();
        let mut deadline = Deadline { now, next: None };
        let mut has_booted = |since| {
            rules
                .boot_timeout
                .is_some_and(|timeout| !ran && deadline.has_passed(clock::after(since, timeout)))
        };
        let booted = has_booted(up_since);
        // A first look at an old machine does not know its past: it is watched for a boot time
        // before it is called one that never claimed.
        let watched = has_booted(known.first_seen);
        deadline.next.into_iter().for_each(|at| self.deadline.watch(at));
        let (excused, stuck) = (&mut self.excused, self.stuck);
        machine.class = match machine.state {
            InstanceState::Stopping | InstanceState::Stopped => Class::Stopping,
            InstanceState::Unrecognised(_)
            | InstanceState::ShuttingDown
            | InstanceState::Terminated => Class::Unknown,
            InstanceState::Pending | InstanceState::Running => {
                match (tasks, &mut self.presumed_busy) {
                    (Some(1..), _) => Class::Busy,
                    (None, Some(busy)) if *busy > 0 && machine.state == InstanceState::Running => {
                        *busy -= 1;
                        Class::Busy
                    }
                    _ if aged => Class::Aged,
                    (Some(0), _) if known.claimed => Class::Idle,
                    (Some(0), _) if rules.boot_timeout.is_none() => Class::Idle,
                    (Some(0), _) if booted && watched && *excused > 0 => {
                        *excused -= 1;
                        Class::Idle
                    }
                    (Some(0), _) if booted && watched => Class::Overdue,
                    (None, Some(_)) if booted && stuck => Class::Overdue,
                    (Some(0), _) | (None, Some(_)) if booted => Class::Idle,
                    (None, None) if booted || rules.boot_timeout.is_none() => Class::Unknown,
                    _ => Class::Booting,
                }
            }
        };
        machine.aged = aged;
        machine.counted = Some(known_tasks);
        machine.positively_idle = tasks == Some(0)
            && machine.state == InstanceState::Running
            && known.idle_rounds >= IDLE_ROUNDS;
        Sight {
            unclaimed: !known.claimed,
            next_change: deadline.next,
            settling: tasks == Some(0) && known.idle_rounds < IDLE_ROUNDS,
        }
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
