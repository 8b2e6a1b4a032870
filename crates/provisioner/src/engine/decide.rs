//! Decides a round: what to cancel, end, tag and ask for, and what not, and why.
//!
//! Pure: it reads the index, the ledger and the memory and changes none of them. Its work is
//! proportional to worker types and to actions, not to machines.

pub(super) mod budget;
mod fences;
mod launches;
pub(super) mod offers;
pub(super) mod placement;
pub(super) mod plan;
pub(super) mod removal_order;
mod strays;
pub(super) mod targets;
mod unexplained_waiting;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::{Demand, Running};
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::launch::ResolvedWorkerType;
use crate::domain::ledger::Ledger;
use crate::domain::observed::InstanceState;
use crate::domain::plural;
use crate::domain::refusal::{RefusalClass, classify};
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::decide::plan::{
    Action, ActionKind, Note, NoteKind, Plan, Reason, ReasonKind, WorkerTypeStatus,
};
use crate::engine::state::group::{Group, UNFILLABLE_AFTER};
use crate::engine::state::in_flight::InFlight;
use crate::engine::state::index::Index;
use crate::engine::state::machine::{Class, Machine, OpenRequest};
use crate::engine::state::memory::Memory;
use crate::policy::Wish;
use crate::settings::{Settings, WorkerType};

/// Everything a decision depends on.
pub(super) struct Decide<'a> {
    pub(super) settings: &'a Settings,
    pub(super) index: &'a Index,
    pub(super) ledger: &'a Ledger,
    pub(super) memory: &'a Memory,
    pub(super) in_flight: &'a BTreeMap<Option<WorkerTypeName>, InFlight>,
    pub(super) demand: Result<&'a Demand, &'a str>,
    /// What the policies wish.
    pub(super) wishes: &'a BTreeMap<WorkerTypeName, Wish>,
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
    pub(super) goals: Vec<LaunchGoal>,
    /// The launches whose answer is not known that are asked again.
    pub(super) repeats: Vec<(ClientToken, Reason)>,
}

/// A round being decided.
struct Draft<'a> {
    decide: &'a Decide<'a>,
    plan: Plan,
    goals: Vec<LaunchGoal>,
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
                "{} of the queue's answer could not be read and {} over 1 MiB; skipped",
                plural::count(skipped.malformed, "element"),
                if skipped.oversized == 1 {
                    "1 was".to_owned()
                } else {
                    format!("{} were", skipped.oversized)
                }
            );
            self.note(None, NoteKind::MalformedTasks, text);
        }
        for (name, tasks) in &skipped.unknown_worker_types {
            let tasks = plural::count(*tasks, "pending task");
            let text = format!("{tasks} of worker type `{name}`, which is not configured");
            self.plan.notes.push(Note::new(None, NoteKind::UnknownWorkerType, text).about(name));
        }
        if skipped.unknown_rest > 0 {
            let rest = plural::count(skipped.unknown_rest, "pending task");
            let text = format!("{rest} of further worker types that are not configured");
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
        let Some(wish) = decide.wishes.get(name).copied() else { return };
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
                    "{n} of {} not needed: {}, room for {} on instances up or booting, {} in flight",
                    plural::are(open, "open request"),
                    plural::count(pending.count, "pending task"),
                    counts.free_slots,
                    plural::count(in_flight, "launch")
                )
            });
        }
        if self.demand_known() {
            self.over_maximum(name, worker_type, group, coming);
            self.launch(name, worker_type, wish, group, coming, pending.count);
        }
        if counts.overdue > 0 {
            let text = format!(
                "{} up longer than boot-timeout ({}) without a task seen there; no longer counted as \
                 capacity",
                plural::are(counts.overdue, "instance"),
                clock::show(worker_type.boot_timeout)
            );
            self.note(Some(name), NoteKind::BootTimeout, text);
        }
        if counts.unknown > 0 && matches!(self.running(), Some(Running::Unknown)) {
            let text = format!(
                "{} up longer than boot-timeout ({}) and the queue does not tell what runs; no longer \
                 counted as free",
                plural::are(counts.unknown, "instance"),
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
                "{} open for longer than request-timeout ({}); asked for elsewhere once seen cancelled",
                plural::are(n, "request"),
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
            Some(Ok(resolved)) => placement::all(worker_type, resolved),
            Some(Err(_)) | None => Vec::new(),
        };
        let (movable, waiting): (Vec<_>, Vec<_>) = stuck.into_iter().partition(|request| {
            options.iter().any(|option| {
                let pool = option.pool();
                pool != request.pool && placement::is_open(option, decide.memory, now)
            })
        });
        let codes: BTreeSet<_> =
            movable.iter().map(|request| request.status_code.clone()).collect();
        self.cancel(Some(name), movable, ReasonKind::NoCapacity, |n| {
            let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
            let n = plural::count(n, "request");
            format!("{n} cannot be filled there ({codes}); the next type or zone is tried")
        });
        for request in waiting.iter().take(1) {
            let text = format!(
                "{} waiting ({}), and every other type and zone refused lately or none is configured",
                plural::are(waiting.len(), "request"),
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
            self.agreed(name, group);
        }
        if counts.overdue > 0 && self.demand_known() {
            let dead = group
                .machines
                .iter()
                .filter(|machine| machine.class == Class::Overdue && machine.positively_idle);
            self.end(Some(name), dead, ReasonKind::NeverClaimed, |n| {
                format!(
                    "{} never claimed a task within boot-timeout ({})",
                    plural::count(n, "instance"),
                    clock::show(worker_type.boot_timeout)
                )
            });
        }
        let Some(lifetime) = worker_type.max_lifetime else { return };
        let n_doubly_old = group.n_past(lifetime.saturating_mul(2), now);
        if counts.aged == 0 && n_doubly_old == 0 {
            return;
        }
        let known = self.demand_known();
        let old = group.machines.iter().enumerate().filter(|(place, machine)| {
            let idle = known && machine.class == Class::Aged && machine.positively_idle;
            (idle || *place < n_doubly_old) && machine.may_be_ended()
        });
        self.end(Some(name), old.map(|(_, machine)| machine), ReasonKind::MaxLifetime, |n| {
            format!(
                "{} past max-lifetime ({}) and idle, or past twice that",
                plural::are(n, "instance"),
                clock::show(lifetime)
            )
        });
    }

    fn stopped(&mut self, name: Option<&WorkerTypeName>, group: &Group) {
        let stopped =
            group.machines.iter().filter(|machine| machine.state == InstanceState::Stopped);
        self.end(name, stopped, ReasonKind::Stopped, |n| {
            let n = plural::are(n, "instance");
            format!("{n} stopped, which serves nobody and counts to the maximum")
        });
    }

    /// Machines whose workers are stopping, as they were told. What they were told so for is a demand, so
    /// while that is not known they wait.
    fn agreed(&mut self, name: &WorkerTypeName, group: &Group) {
        if !self.demand_known() {
            return;
        }
        let agreed = group.machines.iter().filter(|machine| machine.agreed);
        let why = match self.decide.wishes.get(name) {
            Some(wish) => format!("{} wanted", plural::are(wish.wanted, "instance")),
            None => "the worker type is no longer configured".to_owned(),
        };
        self.end(Some(name), agreed, ReasonKind::WorkerAgreed, |n| {
            format!(
                "{} stopping, as told when asking whether to: {why}",
                plural::are(n, "idle worker")
            )
        });
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
                let n = plural::count(ids.len(), "instance");
                let text = format!("{n} of our requests without tags yet");
                self.plan.actions.push(Action {
                    kind: ActionKind::Tag(ids),
                    worker_type: Some(name.clone()),
                    reason: Reason { kind: ReasonKind::Untagged, text },
                });
            }
        }
    }
}

/// EC2 shows a new tag within seconds, mostly.
const TAG_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether the status says that this request cannot be filled where it is, for long enough.
fn is_unfillable(request: &OpenRequest, now: Timestamp) -> bool {
    classify(request.status_code.as_str()) == Some(RefusalClass::NoCapacity)
        && clock::after(request.status_since, UNFILLABLE_AFTER) <= now
}
