//! Decides a round: what to cancel, end, tag and ask for, and what not, and why.
//!
//! Pure: it reads the index, the ledger and the memory and changes none of them. Its work is
//! proportional to worker types and to actions, not to machines.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::clock;
use crate::demand::{Demand, Running};
use crate::engine::in_flight::InFlight;
use crate::engine::index::{Class, Group, Index, Machine, OpenRequest, UNFILLABLE_AFTER};
use crate::engine::limits::Room;
use crate::engine::memory::Memory;
use crate::engine::options::{self, Goal};
use crate::engine::plan::{
    Action, ActionKind, Note, NoteKind, Plan, Reason, ReasonKind, WorkerTypeStatus,
};
use crate::engine::policy::{self, Situation};
use crate::engine::settle::is_repeated;
use crate::engine::shed::Shed;
use crate::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::launch::ResolvedWorkerType;
use crate::ledger::Ledger;
use crate::money::UsdPerHour;
use crate::observed::{InstanceState, KeyPair};
use crate::refusal::{RefusalClass, classify};
use crate::settings::{Settings, Strays, WorkerType};

/// Everything a decision depends on.
pub(super) struct Decide<'a> {
    pub(super) settings: &'a Settings,
    pub(super) index: &'a Index,
    pub(super) ledger: &'a Ledger,
    pub(super) memory: &'a Memory,
    pub(super) in_flight: &'a BTreeMap<Option<WorkerTypeName>, InFlight>,
    pub(super) demand: Result<&'a Demand, &'a str>,
    pub(super) resolved: &'a BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    /// Instances tagged in the last minute, which EC2 may not show yet.
    pub(super) tagged_lately: &'a BTreeMap<InstanceId, Timestamp>,
    pub(super) now: Timestamp,
}

/// A decided round.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    pub(super) plan: Plan,
    /// The launches, which find their pool only when they are made.
    pub(super) goals: Vec<Goal>,
    /// The launches whose answer is not known that are asked again.
    pub(super) repeats: Vec<(ClientToken, Reason)>,
}

/// A round being decided.
struct Draft<'a> {
    decide: &'a Decide<'a>,
    plan: Plan,
    goals: Vec<Goal>,
    cancelled: BTreeSet<SpotRequestId>,
    ended: BTreeSet<InstanceId>,
    repeats: Vec<(ClientToken, Reason)>,
    /// Whether `[limits]` are exceeded.
    over_limits: bool,
}

impl Decide<'_> {
    pub(super) fn run(&self) -> Decided {
        let mut draft = Draft {
            decide: self,
            plan: Plan::default(),
            goals: Vec::new(),
            cancelled: BTreeSet::new(),
            ended: BTreeSet::new(),
            repeats: Vec::new(),
            over_limits: false,
        };
        draft.note_demand();
        for (name, group) in &self.index.types {
            if let Some(worker_type) = self.settings.worker_types.get(name) {
                draft.worker_type(name, worker_type, group);
            }
        }
        for (name, group) in &self.index.retired {
            draft.retired(name, group);
        }
        draft.strays();
        draft.over_limits();
        draft.cut_to_limits();
        draft.tags();
        draft.requests();
        Decided { plan: draft.plan, goals: draft.goals, repeats: draft.repeats }
    }
}

impl<'a> Draft<'a> {
    fn note(&mut self, worker_type: Option<&WorkerTypeName>, kind: NoteKind, text: String) {
        self.plan.notes.push(Note::new(worker_type, kind, text));
    }

    fn cancel<'r>(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        requests: impl IntoIterator<Item = &'r OpenRequest>,
        kind: ReasonKind,
        text: impl FnOnce(usize) -> String,
    ) {
        let ids: Vec<_> = requests
            .into_iter()
            .filter(|request| request.touchable && !request.cancelled)
            .filter(|request| self.cancelled.insert(request.id.clone()))
            .map(|request| request.id.clone())
            .collect();
        if !ids.is_empty() {
            let reason = Reason { kind, text: text(ids.len()) };
            let kind = ActionKind::Cancel(ids);
            self.plan.actions.push(Action { kind, worker_type: worker_type.cloned(), reason });
        }
    }

    fn end<'m>(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        machines: impl IntoIterator<Item = &'m Machine>,
        kind: ReasonKind,
        text: impl FnOnce(usize) -> String,
    ) {
        let ids: Vec<_> = machines
            .into_iter()
            .filter(|machine| self.ended.insert(machine.id.clone()))
            .map(|machine| machine.id.clone())
            .collect();
        if !ids.is_empty() {
            let reason = Reason { kind, text: text(ids.len()) };
            let kind = ActionKind::Terminate(ids);
            self.plan.actions.push(Action { kind, worker_type: worker_type.cloned(), reason });
        }
    }

    fn note_demand(&mut self) {
        let decide = self.decide;
        let demand = match decide.demand {
            Ok(demand) => demand,
            Err(why) => {
                let text = format!(
                    "the queue could not be read: {why}; nothing is launched, cancelled or ended on \
                     account of demand"
                );
                return self.note(None, NoteKind::DemandUnknown, text);
            }
        };
        let skipped = &demand.skipped;
        if skipped.malformed + skipped.oversized > 0 {
            let text = format!(
                "{} elements of the queue's answer could not be read and {} were over 1 MiB; skipped",
                skipped.malformed, skipped.oversized
            );
            self.note(None, NoteKind::MalformedTasks, text);
        }
        for (name, tasks) in &skipped.unknown_worker_types {
            let text =
                format!("{tasks} pending tasks of worker type `{name}`, which is not configured");
            self.plan.notes.push(Note::new(None, NoteKind::UnknownWorkerType, text).about(name));
        }
        if skipped.unknown_rest > 0 {
            let rest = skipped.unknown_rest;
            let text =
                format!("{rest} pending tasks of further worker types that are not configured");
            self.note(None, NoteKind::UnknownWorkerType, text);
        }
        if skipped.running_ignored {
            let text =
                "the queue answers state=RUNNING with the pending tasks; running tasks are not \
                        used"
                    .to_owned();
            self.note(None, NoteKind::RunningIgnored, text);
        }
    }

    fn in_flight(&self, name: &WorkerTypeName) -> InFlight {
        self.decide.in_flight.get(&Some(name.clone())).copied().unwrap_or_default()
    }

    fn demand_known(&self) -> bool {
        self.decide.demand.is_ok()
    }

    fn worker_type(&mut self, name: &WorkerTypeName, worker_type: &'a WorkerType, group: &Group) {
        let decide = self.decide;
        let now = decide.now;
        let counts = group.counts;
        let pending = decide
            .demand
            .ok()
            .and_then(|demand| demand.pending.get(name))
            .copied()
            .unwrap_or_default();
        let in_flight = self.in_flight(name).count;
        let open = group.open.len() as u64;
        let coming = open + in_flight;
        let wish = policy::wish(
            worker_type,
            Situation {
                pending: pending.count,
                counts,
                min: worker_type.min_instances,
                tasks_per_instance: u64::from(worker_type.tasks_per_instance),
            },
        );
        self.plan.worker_types.push(WorkerTypeStatus {
            name: name.to_string(),
            pending: pending.count,
            running: decide.demand.ok().and_then(|demand| demand.running.tasks(name)).unwrap_or(0),
            open_requests: coming,
            booting: counts.booting + counts.overdue,
            idle: counts.idle,
            busy: counts.busy + counts.unknown + counts.aged,
            stopping: counts.stopping + counts.leaving,
            wanted: wish.wanted.min(worker_type.max_instances),
            oldest_pending: pending.oldest,
        });

        self.timed_out_requests(name, worker_type, group);
        self.worn_out_machines(name, worker_type, group);
        if self.demand_known() {
            self.unfillable_requests(name, worker_type, group);
            // Those cancelled for another reason, now or before, are among what is too much.
            let excess = coming.saturating_sub(wish.coming);
            let going = group
                .open
                .iter()
                .filter(|request| request.cancelled || self.cancelled.contains(&request.id))
                .count() as u64;
            let mut victims: Vec<_> = group.open.iter().collect();
            victims.sort_by_key(|request| {
                (!is_unfillable(request, now), std::cmp::Reverse(request.asked))
            });
            let victims: Vec<_> = victims
                .into_iter()
                .filter(|request| {
                    request.touchable && !request.cancelled && !self.cancelled.contains(&request.id)
                })
                .take(usize::try_from(excess.saturating_sub(going)).unwrap_or(usize::MAX))
                .collect();
            self.cancel(Some(name), victims, ReasonKind::NoDemand, |n| {
                format!(
                    "{n} of {open} open requests are not needed: {} pending tasks, room for {} on \
                     instances up or booting, {in_flight} launches in flight",
                    pending.count, counts.free_slots
                )
            });
        }
        if self.demand_known() {
            self.over_maximum(name, worker_type, group, coming);
            let launch = wish.coming.saturating_sub(coming);
            self.launch(name, worker_type, launch, wish.for_minimum, group, coming, pending.count);
        }
        if counts.overdue > 0 {
            let text = format!(
                "{} instances are up longer than boot-timeout ({}) and no task was seen on them; no \
                 longer counted as capacity",
                counts.overdue,
                clock::show(worker_type.boot_timeout)
            );
            self.note(Some(name), NoteKind::BootTimeout, text);
        }
        if counts.unknown > 0 && matches!(self.running(), Some(Running::Unknown)) {
            let text = format!(
                "{} instances are up longer than boot-timeout ({}) and the queue does not tell what \
                 runs; no longer counted as free",
                counts.unknown,
                clock::show(worker_type.boot_timeout)
            );
            self.note(Some(name), NoteKind::BootTimeout, text);
        }
    }

    fn running(&self) -> Option<&'a Running> {
        self.decide.demand.ok().map(|demand| &demand.running)
    }

    fn timed_out_requests(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
    ) {
        let now = self.decide.now;
        let timeout = worker_type.request_timeout;
        let late = group.open.iter().filter(|request| clock::after(request.asked, timeout) <= now);
        self.cancel(Some(name), late, ReasonKind::RequestTimeout, |n| {
            format!(
                "{n} requests are open for longer than request-timeout ({}); asked for elsewhere once \
                 seen cancelled",
                clock::show(timeout)
            )
        });
    }

    /// Requests that cannot be filled where they are, if there is somewhere else.
    fn unfillable_requests(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
    ) {
        let decide = self.decide;
        let now = decide.now;
        let stuck: Vec<_> =
            group.open.iter().filter(|request| is_unfillable(request, now)).collect();
        if stuck.is_empty() {
            return;
        }
        let options = match decide.resolved.get(name) {
            Some(Ok(resolved)) => options::all(worker_type, resolved),
            Some(Err(_)) | None => Vec::new(),
        };
        let (movable, waiting): (Vec<_>, Vec<_>) = stuck.into_iter().partition(|request| {
            options.iter().any(|option| {
                let pool = option.pool();
                pool != request.pool && options::is_open(option, decide.memory, now)
            })
        });
        let codes: BTreeSet<_> =
            movable.iter().map(|request| request.status_code.clone()).collect();
        self.cancel(Some(name), movable, ReasonKind::NoCapacity, |n| {
            let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
            format!("{n} requests cannot be filled where they are ({codes}); the next type or zone is tried")
        });
        for request in waiting.iter().take(1) {
            let text = format!(
                "{} requests wait ({}), and every other type and zone refused lately or none is \
                 configured",
                waiting.len(),
                request.status_code
            );
            self.note(Some(name), NoteKind::WaitingForCapacity, text);
        }
    }

    /// Machines that serve nobody: stopped, never claimed, too old.
    fn worn_out_machines(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
    ) {
        let now = self.decide.now;
        let counts = group.counts;
        if counts.stopping > 0 {
            self.stopped(Some(name), group);
        }
        if counts.overdue > 0 && self.demand_known() {
            let dead = group
                .machines
                .iter()
                .filter(|machine| machine.class == Class::Overdue && machine.positively_idle);
            self.end(Some(name), dead, ReasonKind::NeverClaimed, |n| {
                format!(
                    "{n} instances never claimed a task within boot-timeout ({})",
                    clock::show(worker_type.boot_timeout)
                )
            });
        }
        let Some(lifetime) = worker_type.max_lifetime else { return };
        if counts.aged == 0 && !oldest_is_past(group, lifetime, now) {
            return;
        }
        let known = self.demand_known();
        let old =
            group.machines.iter().filter(|machine| machine.may_be_ended()).filter(|machine| {
                clock::after(machine.launched, lifetime.saturating_mul(2)) <= now
                    || (known && machine.class == Class::Aged && machine.positively_idle)
            });
        self.end(Some(name), old, ReasonKind::MaxLifetime, |n| {
            format!(
                "{n} instances are past max-lifetime ({}) and idle, or past twice that",
                clock::show(lifetime)
            )
        });
    }

    fn stopped(&mut self, name: Option<&WorkerTypeName>, group: &Group) {
        let stopped =
            group.machines.iter().filter(|machine| machine.state == InstanceState::Stopped);
        self.end(name, stopped, ReasonKind::Stopped, |n| {
            format!("{n} instances are stopped: they serve nobody and count to the maximum")
        });
    }

    fn over_maximum(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
        coming: u64,
    ) {
        let total = group.counts.live() + coming;
        let max = worker_type.max_instances;
        if total <= max {
            return;
        }
        let shed = Shed::new([group], &self.cancelled, &self.ended);
        let machines_over = group.counts.live().saturating_sub(max);
        let (requests, machines) = shed.take(total - max, machines_over, |_| 1);
        let why = |what: &str, n: usize| {
            format!("{n} {what} over max-instances ({max}): there are {total} in all")
        };
        self.cancel(Some(name), requests, ReasonKind::OverMaximum, |n| why("open requests", n));
        self.end(Some(name), machines, ReasonKind::OverMaximum, |n| why("instances", n));
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the numbers of one worker type, all of one place"
    )]
    fn launch(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &'a WorkerType,
        launch: u64,
        for_minimum: u64,
        group: &Group,
        coming: u64,
        pending: u64,
    ) {
        let counts = group.counts;
        if launch == 0 {
            if coming > 0 && pending > counts.free_slots {
                let text = format!(
                    "{coming} requests open or in flight cover the {} pending tasks that no instance \
                     has room for",
                    pending - counts.free_slots
                );
                self.note(Some(name), NoteKind::InFlight, text);
            }
            return;
        }
        let max = worker_type.max_instances;
        let total = counts.live() + counts.leaving + coming;
        let room = max.saturating_sub(total);
        if launch > room {
            let text = format!(
                "{launch} more instances are wanted; max-instances ({max}) leaves room for {room}, \
                 there are {total} in all"
            );
            self.note(Some(name), NoteKind::AtMaximum, text);
        }
        let launch = launch.min(room);
        if launch == 0 || !self.may_launch(name, worker_type, launch) {
            return;
        }
        let reason = if launch <= for_minimum {
            Reason {
                kind: ReasonKind::BelowMinimum,
                text: format!(
                    "{launch} more keep min-instances ({}): there are {total} in all",
                    worker_type.min_instances
                ),
            }
        } else {
            Reason {
                kind: ReasonKind::PendingTasks,
                text: format!(
                    "{pending} pending tasks, room for {} on instances up or booting, {coming} requests \
                     open or in flight",
                    counts.free_slots
                ),
            }
        };
        self.goals.push(Goal::new(name.clone(), launch, reason));
    }

    /// Whether `name` may launch at all this round; notes why not.
    fn may_launch(&mut self, name: &WorkerTypeName, worker_type: &WorkerType, launch: u64) -> bool {
        let decide = self.decide;
        let now = decide.now;
        if let Some(until) = decide.ledger.hold_until.filter(|until| now < *until) {
            let text = format!(
                "{launch} instances are wanted, but the in-flight ledger was lost: nothing is launched \
                 before {until}, when EC2 shows all that was asked for (`--assume-clean` overrides)"
            );
            self.note(Some(name), NoteKind::LedgerLost, text);
            return false;
        }
        if decide.index.key_pair == KeyPair::Absent {
            let text = format!(
                "{launch} instances are wanted, but EC2 has no key pair of our key-name; run `setup-aws`"
            );
            self.note(Some(name), NoteKind::KeyPairMissing, text);
            return false;
        }
        if let Some(failures) = decide.memory.failures.get(name)
            && let Some(until) = failures.paused_until().filter(|until| now < *until)
        {
            let text = format!(
                "{launch} instances are wanted, but {} launches in a row failed: paused until {until}; \
                 the last said {}",
                failures.in_a_row, failures.text
            );
            self.note(Some(name), NoteKind::Paused, text);
            return false;
        }
        let resolved = match decide.resolved.get(name) {
            Some(Ok(resolved)) => resolved,
            Some(Err(why)) => {
                self.note(
                    Some(name),
                    NoteKind::Unresolved,
                    format!("{launch} instances are wanted, but {why}"),
                );
                return false;
            }
            None => {
                let text = format!(
                    "{launch} instances are wanted, but what the worker type names in AWS is not known yet"
                );
                self.note(Some(name), NoteKind::Unresolved, text);
                return false;
            }
        };
        let interval = decide.settings.provisioner.interval;
        let next = options::next(
            &options::all(worker_type, resolved),
            &BTreeSet::new(),
            decide.memory,
            interval,
            now,
        );
        match next {
            Ok(_) => true,
            Err(why) => {
                self.note(
                    Some(name),
                    why.kind(),
                    format!("{launch} instances are wanted, but {why}"),
                );
                false
            }
        }
    }

    fn retired(&mut self, name: &WorkerTypeName, group: &Group) {
        let decide = self.decide;
        self.cancel(Some(name), &group.open, ReasonKind::Retired, |n| {
            format!("{n} open requests of worker type `{name}`, which is no longer configured")
        });
        self.stopped(Some(name), group);
        if self.demand_known() {
            let idle = group.machines.iter().filter(|machine| machine.positively_idle);
            self.end(Some(name), idle, ReasonKind::Retired, |n| {
                format!("{n} idle instances of worker type `{name}`, which is no longer configured")
            });
        }
        if let Some(lifetime) = decide.settings.retired_max_lifetime {
            let old = group
                .machines
                .iter()
                .filter(|machine| machine.may_be_ended())
                .filter(|machine| clock::after(machine.launched, lifetime) <= decide.now);
            self.end(Some(name), old, ReasonKind::MaxLifetime, |n| {
                format!(
                    "{n} instances of worker type `{name}`, which is no longer configured, past \
                     max-lifetime ({})",
                    clock::show(lifetime)
                )
            });
        }
    }

    fn strays(&mut self) {
        let decide = self.decide;
        let index = decide.index;
        let strays = &index.strays;
        let settings = &decide.settings.provisioner;
        if self.may_end_strays() {
            self.cancel(None, &strays.open, ReasonKind::Stray, |n| {
                format!("{n} open requests under our key-name carry none of our tags")
            });
            let known = strays.machines.iter().filter(|machine| machine.may_be_ended());
            self.end(None, known, ReasonKind::Stray, |n| {
                format!("{n} instances under our key-name carry none of our tags and come from no request of ours")
            });
        } else if !strays.machines.is_empty() || !strays.open.is_empty() {
            let why = if settings.strays == Strays::Keep {
                "strays = \"keep\""
            } else {
                "the key pair does not carry our tag, so others may use it (adopt-key-name = true if not)"
            };
            let text = format!(
                "{} instances and {} open requests under our key-name are not ours ({}); kept: {why}",
                strays.machines.len(),
                strays.open.len(),
                some_ids(&strays.machines)
            );
            self.note(None, NoteKind::StrayKept, text);
        }
        if !index.unresolved.is_empty() {
            let text = format!(
                "{} instances whose spot request is not visible yet are left alone for the visibility \
                 window ({})",
                index.unresolved.len(),
                some_ids(&index.unresolved)
            );
            self.note(None, NoteKind::UnresolvedInstance, text);
        }
        if !index.disputed.is_empty() {
            let text = format!(
                "{} instances under our key-name carry another key-name's tag; kept ({})",
                index.disputed.len(),
                some_ids(&index.disputed)
            );
            self.plan.notes.push(Note::new(None, NoteKind::StrayKept, text).about("disputed"));
        }
        for odd in &index.odd {
            let text =
                format!("EC2 says {odd}, which this version does not know; counted, not touched");
            self.plan.notes.push(Note::new(None, NoteKind::UnknownState, text).about(odd));
        }
    }

    /// Whether what carries none of our tags may be ended: the key pair is ours alone.
    fn may_end_strays(&self) -> bool {
        let settings = &self.decide.settings.provisioner;
        let ours = self.decide.index.key_pair == KeyPair::Ours || settings.adopt_key_name;
        ours && settings.strays == Strays::Terminate
    }

    /// `[limits]` that are exceeded already (they were lowered): shed as over a maximum.
    fn over_limits(&mut self) {
        let decide = self.decide;
        let index = decide.index;
        let room =
            Room::new(decide.settings, decide.index, decide.in_flight, decide.memory, decide.now);
        self.over_limits = room.is_exceeded();
        if !self.demand_known() {
            return;
        }
        let strays = self.may_end_strays().then_some(&index.strays);
        let ours = || index.types.values().chain(index.retired.values()).chain(strays);
        // What is not ours to end leaves less room for launches, but ours do not make way for it.
        let live = || {
            let machines = ours().flat_map(|group| &group.machines);
            machines.filter(|machine| machine.state != InstanceState::ShuttingDown)
        };
        if let Some((limit, over)) = room.instances_over() {
            let machines_over = (live().count() as u64).saturating_sub(limit);
            let shed = Shed::new(ours(), &self.cancelled, &self.ended);
            let (requests, machines) = shed.take(over, machines_over, |_| 1);
            let why = format!("over limits.max-instances ({limit}) by {over}");
            self.cancel(None, requests, ReasonKind::OverLimit, |n| {
                format!("{n} open requests, {why}")
            });
            self.end(None, machines, ReasonKind::OverLimit, |n| format!("{n} instances, {why}"));
        }
        if let Some((limit, over)) = room.usd_per_hour_over() {
            let weigh = |price: Option<UsdPerHour>| price.map_or(0, UsdPerHour::micros);
            let per_hour: u64 = live().map(|machine| weigh(machine.price)).sum();
            let machines_over = per_hour.saturating_sub(limit.micros());
            let shed = Shed::new(ours(), &self.cancelled, &self.ended);
            let (requests, machines) = shed.take(over.micros(), machines_over, weigh);
            let why = format!("over limits.max-usd-per-hour ({limit}) by {over} USD per hour");
            self.cancel(None, requests, ReasonKind::OverLimit, |n| {
                format!("{n} open requests, {why}")
            });
            self.end(None, machines, ReasonKind::OverLimit, |n| format!("{n} instances, {why}"));
        }
        if let Some((limit, over)) = room.usd_per_day_over() {
            let why = format!("over limits.max-usd-per-day ({limit}) by {over} USD");
            let shed = Shed::new(ours(), &self.cancelled, &self.ended);
            let (open, _) = shed.take(over.micros(), 0, |price| room.until_midnight(price));
            self.cancel(None, open, ReasonKind::OverLimit, |n| format!("{n} open requests, {why}"));
        }
    }

    /// Shares what `[limits]` leave among the launches, one instance at a time, so that a large
    /// worker type does not starve a small one.
    fn cut_to_limits(&mut self) {
        let decide = self.decide;
        let mut room =
            Room::new(decide.settings, decide.index, decide.in_flight, decide.memory, decide.now);
        if self.goals.is_empty() || room.is_unlimited() {
            return;
        }
        let goals = std::mem::take(&mut self.goals);
        if let Some(text) = room.unpriced() {
            for goal in goals {
                self.note(Some(&goal.worker_type), NoteKind::PriceUnknown, text.clone());
            }
            return;
        }
        let types: Vec<Option<&WorkerType>> =
            goals.iter().map(|goal| decide.settings.worker_types.get(&goal.worker_type)).collect();
        let shares = room.share(&goals, &types);
        for ((mut goal, share), worker_type) in goals.into_iter().zip(shares).zip(types) {
            if share < goal.remaining {
                if room.needs_price() && worker_type.is_some_and(|t| t.max_price.is_none()) {
                    let text = format!(
                        "{} instances are wanted, but a dollar limit is set and the worker type has no \
                         max-price: set worker-types.{}.max-price",
                        goal.remaining, goal.worker_type
                    );
                    self.note(Some(&goal.worker_type), NoteKind::PriceUnknown, text);
                } else {
                    let text = format!(
                        "{} more instances are wanted; [limits] leave room for {share} ({})",
                        goal.remaining,
                        room.describe()
                    );
                    self.note(Some(&goal.worker_type), NoteKind::AtLimit, text);
                }
            }
            goal.remaining = share;
            if share > 0 {
                self.goals.push(goal);
            }
        }
    }

    fn tags(&mut self) {
        let decide = self.decide;
        let groups = decide.index.types.iter().chain(&decide.index.retired);
        for (name, group) in groups.filter(|(_, group)| group.counts.untagged > 0) {
            let untagged: Vec<_> = group
                .machines
                .iter()
                .filter(|machine| {
                    !machine.tagged
                        && matches!(machine.state, InstanceState::Pending | InstanceState::Running)
                        && !self.ended.contains(&machine.id)
                        && decide
                            .tagged_lately
                            .get(&machine.id)
                            .is_none_or(|at| clock::after(*at, TAG_AGAIN_AFTER) <= decide.now)
                })
                .collect();
            // One call per intent: its tag differs.
            let mut by_intent: BTreeMap<_, Vec<InstanceId>> = BTreeMap::new();
            for machine in untagged {
                by_intent.entry(&machine.intent).or_default().push(machine.id.clone());
            }
            for ids in by_intent.into_values() {
                let text = format!("{} instances of our requests carry no tags yet", ids.len());
                self.plan.actions.push(Action {
                    kind: ActionKind::Tag(ids),
                    worker_type: Some(name.clone()),
                    reason: Reason { kind: ReasonKind::Untagged, text },
                });
            }
        }
    }

    /// Why a launch that is counted already must not be asked again: asking may be what makes it, and
    /// since it was decided a maximum was lowered, or others took the room.
    fn no_room_for(&self, name: &WorkerTypeName) -> Option<String> {
        let decide = self.decide;
        let Some(worker_type) = decide.settings.worker_types.get(name) else {
            return Some("because the worker type is no longer configured".to_owned());
        };
        let group = decide.index.types.get(name)?;
        let counts = &group.counts;
        let there = counts.live() + counts.leaving + group.open.len() as u64;
        let total = there + self.in_flight(name).count;
        if total > worker_type.max_instances {
            let max = worker_type.max_instances;
            return Some(format!("because with it there are {total}, over max-instances ({max})"));
        }
        self.over_limits.then(|| "because [limits] are exceeded with it".to_owned())
    }

    fn requests(&mut self) {
        let decide = self.decide;
        for (token, intent) in &decide.ledger.intents {
            if !is_repeated(intent, decide.now) {
                continue;
            }
            let name = &intent.call.worker_type;
            if let Some(why) = self.no_room_for(name) {
                let text = format!(
                    "a launch of {} whose answer is not known is not asked again, {why}; EC2's list of \
                     requests will tell",
                    intent.call.count
                );
                self.note(Some(name), NoteKind::Unanswered, text);
                continue;
            }
            let reason = Reason {
                kind: ReasonKind::UnansweredIntent,
                text: format!(
                    "the answer to a launch decided {} ago is not known; repeated with its token \
                     {token}",
                    clock::show(clock::age(intent.call.decided, decide.now))
                ),
            };
            self.repeats.push((token.clone(), reason.clone()));
            self.plan.actions.push(Action {
                kind: ActionKind::Request(u64::from(intent.call.count)),
                worker_type: Some(name.clone()),
                reason,
            });
        }
        for goal in &self.goals {
            self.plan.actions.push(Action {
                kind: ActionKind::Request(goal.remaining),
                worker_type: Some(goal.worker_type.clone()),
                reason: goal.reason.clone(),
            });
        }
    }
}

/// EC2 shows a new tag within seconds, mostly.
const TAG_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether the status says that this request cannot be filled where it is, for long enough.
fn is_unfillable(request: &OpenRequest, now: Timestamp) -> bool {
    classify(&request.status_code) == Some(RefusalClass::NoCapacity)
        && clock::after(request.status_since, UNFILLABLE_AFTER) <= now
}

fn oldest_is_past(group: &Group, lifetime: std::time::Duration, now: Timestamp) -> bool {
    group
        .machines
        .first()
        .is_some_and(|machine| clock::after(machine.launched, lifetime.saturating_mul(2)) <= now)
}

fn some_ids(machines: &[Machine]) -> String {
    const SHOWN: usize = 5;
    let mut ids: Vec<_> = machines.iter().take(SHOWN).map(|machine| machine.id.as_str()).collect();
    if machines.len() > SHOWN {
        ids.push("…");
    }
    ids.join(", ")
}
