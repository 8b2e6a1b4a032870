//! Decides a round: what to cancel, terminate, tag and request, what not, and why.
//!
//! # How a round is decided
//!
//! The policies have said how many instances each worker type should have ([`targets`]). From that,
//! from the observation (index and in-flight launches) and from the memory of earlier rounds, a
//! [`Draft`] is filled, in this order, in which a later step sees what the earlier ones remove:
//!
//! 1. What the queue's answer leaves out is noted.
//! 2. For every configured worker type: requests that waited too long are cancelled, machines that
//!    serve nobody are terminated; then requests that cannot be filled or that no task needs are
//!    cancelled, what exceeds `max-instances` is removed in the [`removal_order`], and the launch
//!    that is missing becomes a [`LaunchGoal`], unless something holds it back ([`launches`]).
//! 3. Worker types that are no longer configured, and strays ([`strays`]), are removed.
//! 4. What exceeds `[limits]` is removed, and the goals share what the limits leave ([`fences`],
//!    [`budget`]).
//! 5. Instances without our tags are tagged.
//! 6. Launches whose answer is not known are repeated, and the goals become actions. The pool of a
//!    launch is chosen only when it is made ([`placement`]), because a refusal changes the choice.
//!
//! # What may never happen
//!
//! * A demand that is not known launches, cancels and terminates nothing on its account.
//! * For lack of demand only requests are cancelled. A machine is terminated when its own worker agreed
//!   to stop, or when it serves nobody (stopped, never claimed, too old, retired). A machine that runs
//!   a task is terminated only over a maximum, as the last, or at twice `max-lifetime`.
//! * Nothing is touched that is not ours, or whose state is not known.
//!
//! [`check`](super::check) holds every plan against these rules and the limits.
//!
//! Deciding is pure: it changes neither the index nor the ledger nor the memory, and its work is
//! proportional to worker types and to actions, not to machines. Reasons and notes are data here
//! ([`detail`]); their sentences are in [`wording`].

pub(super) mod budget;
pub(super) mod detail;
mod fences;
mod kinds;
mod launches;
mod machines;
pub(super) mod offers;
pub(super) mod placement;
pub(super) mod plan;
pub(super) mod removal_order;
mod requests;
mod strays;
pub(super) mod targets;
mod unexplained_waiting;
mod wording;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::demand::Demand;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::launch::ResolvedWorkerType;
use crate::domain::ledger::{Ledger, LedgerId};
use crate::engine::decide::detail::{DemandNote, LedgerNote, NoteDetail, ReasonDetail};
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::decide::plan::{Action, ActionKind, Note, Plan, Reason, WorkerTypeStatus};
use crate::engine::state::group::Group;
use crate::engine::state::in_flight::InFlight;
use crate::engine::state::index::Index;
use crate::engine::state::machine::{Machine, OpenRequest};
use crate::engine::state::memory::Memory;
use crate::engine::state::other_ledgers::OtherDaemon;
use crate::policy::CapacityTarget;
use crate::settings::{Settings, WorkerType};

/// Everything a decision depends on.
pub(super) struct Decide<'a> {
    pub(super) settings: &'a Settings,
    pub(super) index: &'a Index,
    pub(super) ledger: &'a Ledger,
    pub(super) memory: &'a Memory,
    /// How many requests of each unanswered launch the observation showed.
    pub(super) seen_by_intent: &'a BTreeMap<ClientToken, u32>,
    pub(super) in_flight: &'a BTreeMap<Option<WorkerTypeName>, InFlight>,
    pub(super) demand: Result<&'a Demand, &'a str>,
    /// The capacity that the policies want.
    pub(super) targets: &'a BTreeMap<WorkerTypeName, CapacityTarget>,
    pub(super) resolved: &'a BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    /// Instances tagged in the last minute; EC2 may not show their tags yet.
    pub(super) tagged_lately: &'a BTreeMap<InstanceId, Timestamp>,
    /// Another daemon that launches under our key-name.
    pub(super) other_daemon: Option<&'a OtherDaemon>,
    /// What ledgers before ours launched, and how much of it is left.
    pub(super) earlier_ledgers: &'a BTreeMap<LedgerId, u64>,
    pub(super) now: Timestamp,
}

/// A decided round.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    pub(super) plan: Plan,
    /// The launches. Each finds its pool only when it is made.
    pub(super) goals: Vec<LaunchGoal>,
    /// The unanswered launches that are repeated.
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
        draft.note_ledgers();
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
        draft.repeats();
        draft.goals();
        Decided { plan: draft.plan, goals: draft.goals, repeats: draft.repeats }
    }
}

impl<'a> Draft<'a> {
    fn note(&mut self, detail: &impl NoteDetail) {
        self.plan.notes.push(Note::general(detail));
    }

    fn note_about(&mut self, worker_type: &WorkerTypeName, detail: &impl NoteDetail) {
        self.plan.notes.push(Note::about(worker_type, detail));
    }

    fn act<'d>(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        kind: ActionKind,
        reason: impl Into<Reason> + 'd,
    ) {
        let reason = reason.into();
        self.plan.actions.push(Action { kind, worker_type: worker_type.cloned(), reason });
    }

    /// Cancels `requests`, except those cancelled already and those whose state is not known.
    /// `reason` is given how many remain.
    fn cancel<'r>(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        requests: impl IntoIterator<Item = &'r OpenRequest>,
        reason: impl FnOnce(usize) -> ReasonDetail<'r>,
    ) {
        let ids: Vec<_> = requests
            .into_iter()
            .filter(|request| request.touchable && !request.cancelled)
            .filter(|request| self.cancelled.insert(request.id.clone()))
            .map(|request| request.id.clone())
            .collect();
        if !ids.is_empty() {
            let reason = reason(ids.len());
            self.act(worker_type, ActionKind::Cancel(ids), reason);
        }
    }

    /// Terminates `machines`, except those terminated already. `reason` is given how many remain.
    fn end<'m>(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        machines: impl IntoIterator<Item = &'m Machine>,
        reason: impl FnOnce(usize) -> ReasonDetail<'m>,
    ) {
        let ids: Vec<_> = machines
            .into_iter()
            .filter(|machine| self.ended.insert(machine.id.clone()))
            .map(|machine| machine.id.clone())
            .collect();
        if !ids.is_empty() {
            let reason = reason(ids.len());
            self.act(worker_type, ActionKind::Terminate(ids), reason);
        }
    }

    fn note_demand(&mut self) {
        let demand = match self.decide.demand {
            Ok(demand) => demand,
            Err(why) => return self.note(&DemandNote::Unknown { why }),
        };
        let skipped = &demand.skipped;
        for (field, unread) in &skipped.malformed_fields {
            self.note(&DemandNote::Malformed { field, unread });
        }
        // Another source may not say which field it was.
        let explained = skipped.malformed_fields.values().map(|field| field.count).sum();
        let tasks = skipped.malformed.saturating_sub(explained);
        if tasks > 0 {
            self.note(&DemandNote::NotRead { tasks });
        }
        if skipped.oversized > 0 {
            self.note(&DemandNote::Oversized { tasks: skipped.oversized });
        }
        for (field, unread) in &skipped.unread_fields {
            self.note(&DemandNote::UnreadField { field, unread });
        }
        for (worker_type, &tasks) in &skipped.unknown_worker_types {
            self.note(&DemandNote::UnknownWorkerType { tasks, worker_type });
        }
        if skipped.unknown_rest > 0 {
            let tasks = skipped.unknown_rest;
            self.note(&DemandNote::FurtherUnknownWorkerTypes { tasks });
        }
        if skipped.running_ignored {
            self.note(&DemandNote::RunningIgnored);
        }
    }

    /// Notes what other ledgers launched, and what is not known of our own spending.
    fn note_ledgers(&mut self) {
        let decide = self.decide;
        if let Some(OtherDaemon { ledger, until }) = decide.other_daemon {
            self.note(&LedgerNote::OtherDaemon { ledger, until: *until });
        }
        for (ledger, &launched) in decide.earlier_ledgers {
            self.note(&LedgerNote::EarlierLedger { ledger, launched });
        }
        let spending = &decide.ledger.spending;
        if decide.settings.limits.max_usd_per_day.is_some() && spending.is_lower_bound(decide.now) {
            let usd = spending.on_day_of(decide.now);
            self.note(&LedgerNote::SpendingLowerBound { usd });
        }
    }

    fn in_flight(&self, name: &WorkerTypeName) -> InFlight {
        self.decide.in_flight.get(&Some(name.clone())).copied().unwrap_or_default()
    }

    fn demand_known(&self) -> bool {
        self.decide.demand.is_ok()
    }

    fn pending(&self, name: &WorkerTypeName) -> u64 {
        let demand = self.decide.demand.ok();
        demand.and_then(|demand| demand.pending.get(name)).map_or(0, |pending| pending.count)
    }

    fn worker_type(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &'a WorkerType,
        group: &'a Group,
    ) {
        let Some(target) = self.decide.targets.get(name).copied() else { return };
        let status = self.status(name, worker_type, group, target);
        self.plan.worker_types.push(status);

        self.timed_out_requests(name, worker_type, group);
        self.worn_out_machines(name, worker_type, group);
        if self.demand_known() {
            self.unfillable_requests(name, group);
            self.unneeded_requests(name, group, target);
            self.over_maximum(name, worker_type, group);
            self.launch(name, worker_type, group, target);
        }
        self.note_boot_timeout(name, worker_type, group);
    }

    fn status(
        &self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
        target: CapacityTarget,
    ) -> WorkerTypeStatus {
        let demand = self.decide.demand.ok();
        let counts = group.counts;
        WorkerTypeStatus {
            name: name.to_string(),
            pending: self.pending(name),
            running: demand.and_then(|demand| demand.running.tasks(name)),
            open_requests: self.coming(name, group),
            booting: counts.booting + counts.overdue,
            idle: counts.idle,
            busy: counts.busy + counts.unknown + counts.aged,
            stopping: counts.stopping + counts.leaving,
            wanted: target.wanted.min(worker_type.max_instances),
            oldest_pending: demand
                .and_then(|demand| demand.pending.get(name))
                .and_then(|pending| pending.oldest),
        }
    }

    /// How many open requests and launches in flight there are.
    fn coming(&self, name: &WorkerTypeName, group: &Group) -> u64 {
        group.open.len() as u64 + self.in_flight(name).count
    }
}
