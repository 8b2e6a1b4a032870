//! Checks a finished plan against the fences, whatever the policy wanted.
//!
//! A violation is a bug of ours, and a plan that has one is not executed. For that to help, the check
//! must not repeat the bug: it shares no computation with [`decide`](super::decide). It reads what a
//! decision depends on, adds everything up for itself ([`sums`]), and states each rule again.

mod sums;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Display, Formatter};

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::observed::{InstanceState, KeyPair};
use crate::domain::plural;
use crate::engine::decide::detail::LimitsUsage;
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::decide::plan::{ActionKind, Reason, ReasonKind};
use crate::engine::decide::{Decide, Decided};
use crate::engine::state::group::Group;
use crate::engine::state::machine::Machine;
use crate::settings::Strays;
use sums::Sums;

/// A fence that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    CancelsUnknownRequest(SpotRequestId),
    CancelsStray(SpotRequestId),
    CancelsTwice(SpotRequestId),
    CancelsWithoutDemand,
    TerminatesUnknownInstance(InstanceId),
    TerminatesTwice(InstanceId),
    TerminatesWrongly { id: InstanceId, reason: ReasonKind, why: Protection },
    TagsUnknownInstance(InstanceId),
    LaunchesWithoutDemand,
    LaunchesUnconfigured(WorkerTypeName),
    LaunchesWithoutLedger(WorkerTypeName),
    LaunchesBesideAnotherDaemon(WorkerTypeName),
    LaunchesOverMaximum { worker_type: WorkerTypeName, total: u64, max: u64 },
    LaunchesWithUnknownPrices { unpriced: u64 },
    LaunchesOverLimits(LimitsUsage),
    RepeatsOverMaximum { worker_type: WorkerTypeName, max: u64 },
    RepeatsOverLimits(LimitsUsage),
    LeavesTooOld(InstanceId),
}

/// Why a machine must not be terminated for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    StateUnknownOrLeaving,
    NotStopped,
    NotKnownIdle,
    WorkerDidNotAgree,
    DemandUnknown,
    MayBeForeign,
    NoReasonToTerminate,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::CancelsUnknownRequest(id) => {
                write!(f, "cancels {id}, which is no open request of ours")
            }
            Self::CancelsStray(id) => write!(f, "cancels {id}, which may be somebody else's"),
            Self::CancelsTwice(id) => write!(f, "cancels {id} twice"),
            Self::CancelsWithoutDemand => {
                f.write_str("cancels for lack of a demand that is not known")
            }
            Self::TerminatesUnknownInstance(id) => write!(f, "terminates {id}, which is not ours"),
            Self::TerminatesTwice(id) => write!(f, "terminates {id} twice"),
            Self::TerminatesWrongly { id, reason, why } => {
                write!(f, "terminates {id} ({reason}): {why}")
            }
            Self::TagsUnknownInstance(id) => write!(f, "tags {id}, which is not ours"),
            Self::LaunchesWithoutDemand => f.write_str("launches for a demand that is not known"),
            Self::LaunchesUnconfigured(name) => {
                write!(f, "launches `{name}`, which is not configured")
            }
            Self::LaunchesWithoutLedger(name) => {
                write!(f, "launches `{name}` while the ledger is lost")
            }
            Self::LaunchesBesideAnotherDaemon(name) => {
                write!(f, "launches `{name}` while another daemon launches under the same key-name")
            }
            Self::LaunchesOverMaximum { worker_type, total, max } => {
                let total = plural::count(*total, "instance");
                write!(f, "brings `{worker_type}` to {total}, over max-instances ({max})")
            }
            Self::LaunchesWithUnknownPrices { unpriced } => write!(
                f,
                "launches under a dollar limit while the highest possible price of {unpriced} of what \
                 runs or is asked for is not known"
            ),
            Self::LaunchesOverLimits(usage) => {
                write!(f, "launches more than [limits] leave: {usage}")
            }
            Self::RepeatsOverMaximum { worker_type, max } => {
                write!(f, "repeats a launch of `{worker_type}` over max-instances ({max})")
            }
            Self::RepeatsOverLimits(usage) => {
                write!(f, "repeats a launch over [limits]: {usage}")
            }
            Self::LeavesTooOld(id) => write!(f, "leaves {id} running past twice max-lifetime"),
        }
    }
}

impl Display for Protection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StateUnknownOrLeaving => "its state is not known, or it is going already",
            Self::NotStopped => "it is not stopped",
            Self::NotKnownIdle => "it is not known to be idle",
            Self::WorkerDidNotAgree => "its worker did not say that it is stopping",
            Self::DemandUnknown => "no maximum is enforced while the demand is unknown",
            Self::MayBeForeign => "it may be somebody else's",
            Self::NoReasonToTerminate => "that is no reason to end an instance",
        })
    }
}

/// Returns every fence that `decided` breaks.
pub(super) fn check<'a>(decide: &'a Decide<'a>, decided: &'a Decided) -> Vec<Violation> {
    let mut check = Check::new(decide, decided);
    for action in &decided.plan.actions {
        let reason = action.reason.kind;
        match &action.kind {
            ActionKind::Cancel(ids) => check.cancel(ids, reason),
            ActionKind::Terminate(ids) => check.terminate(ids, reason),
            ActionKind::Tag(ids) => check.tag(ids),
            ActionKind::Request(_) => check.request(reason),
        }
    }
    if !decided.goals.is_empty() || !decided.repeats.is_empty() {
        let mut sums = Sums::new(decide);
        check.repeats(&decided.repeats, &sums);
        check.goals(&decided.goals, &mut sums);
    }
    check.too_old();
    check.violations
}

/// Whose a machine or request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    WorkerType,
    Nobody,
}

struct Check<'a> {
    decide: &'a Decide<'a>,
    /// The machines that the plan names, as far as they may be touched at all.
    machines: BTreeMap<&'a InstanceId, (&'a Machine, Owner)>,
    /// Every open request whose state is known, if the plan names any.
    requests: BTreeMap<&'a SpotRequestId, Owner>,
    cancelled: BTreeSet<&'a SpotRequestId>,
    terminated: HashSet<&'a InstanceId>,
    violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn new(decide: &'a Decide<'a>, decided: &Decided) -> Self {
        let mut check = Self {
            decide,
            machines: BTreeMap::new(),
            requests: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            terminated: HashSet::new(),
            violations: Vec::new(),
        };
        let actions = &decided.plan.actions;
        let named: HashSet<&str> = actions.iter().flat_map(|action| action.kind.ids()).collect();
        if named.is_empty() {
            return check;
        }
        let index = decide.index;
        let owned = index.types.values().chain(index.retired.values());
        let owned = owned.map(|group| (group, Owner::WorkerType));
        for (group, owner) in owned.chain([(&index.strays, Owner::Nobody)]) {
            let Group { machines, open, .. } = group;
            let machines = machines.iter().filter(|machine| named.contains(machine.id.as_str()));
            check.machines.extend(machines.map(|machine| (&machine.id, (machine, owner))));
            let open = open.iter().filter(|request| request.touchable);
            check.requests.extend(open.map(|request| (&request.id, owner)));
        }
        check
    }

    fn demand_known(&self) -> bool {
        self.decide.demand.is_ok()
    }

    fn found(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    fn cancel(&mut self, ids: &'a [SpotRequestId], reason: ReasonKind) {
        for id in ids {
            match self.requests.get(id) {
                None => self.found(Violation::CancelsUnknownRequest(id.clone())),
                Some(Owner::Nobody) if !self.strays_are_ours() => {
                    self.found(Violation::CancelsStray(id.clone()));
                }
                Some(_) => {}
            }
            if !self.cancelled.insert(id) {
                self.found(Violation::CancelsTwice(id.clone()));
            }
        }
        if !self.demand_known() && reason == ReasonKind::NoDemand {
            self.found(Violation::CancelsWithoutDemand);
        }
    }

    fn terminate(&mut self, ids: &'a [InstanceId], reason: ReasonKind) {
        for id in ids {
            if !self.terminated.insert(id) {
                self.found(Violation::TerminatesTwice(id.clone()));
            }
            match self.machines.get(id) {
                None => self.found(Violation::TerminatesUnknownInstance(id.clone())),
                Some(&(machine, owner)) => {
                    if let Some(why) = self.protection(machine, owner, reason) {
                        let id = id.clone();
                        self.found(Violation::TerminatesWrongly { id, reason, why });
                    }
                }
            }
        }
    }

    fn tag(&mut self, ids: &[InstanceId]) {
        for id in ids {
            if self.machines.get(id).is_none_or(|(_, owner)| *owner == Owner::Nobody) {
                self.found(Violation::TagsUnknownInstance(id.clone()));
            }
        }
    }

    fn request(&mut self, reason: ReasonKind) {
        if reason != ReasonKind::UnansweredIntent && !self.demand_known() {
            self.found(Violation::LaunchesWithoutDemand);
        }
    }

    /// A repeated launch is among those in flight already, so it adds nothing.
    fn repeats(&mut self, repeats: &[(ClientToken, Reason)], sums: &Sums<'_>) {
        let settings = self.decide.settings;
        let calls = repeats.iter().filter_map(|(token, _)| self.decide.ledger.intents.get(token));
        for name in calls.map(|intent| &intent.call.worker_type) {
            let worker_type = settings.worker_types.get(name);
            let max = worker_type.map_or(0, |worker_type| worker_type.max_instances);
            if sums.instances_of(name) > max {
                let worker_type = name.clone();
                self.found(Violation::RepeatsOverMaximum { worker_type, max });
            }
        }
        let usage = sums.usage();
        if !repeats.is_empty() && sums::exceeds(&usage) {
            self.found(Violation::RepeatsOverLimits(usage));
        }
    }

    fn goals(&mut self, goals: &'a [LaunchGoal], sums: &mut Sums<'a>) {
        let decide = self.decide;
        for goal in goals {
            let name = &goal.worker_type;
            let Some(worker_type) = decide.settings.worker_types.get(name) else {
                self.found(Violation::LaunchesUnconfigured(name.clone()));
                continue;
            };
            sums.launch(name, goal.remaining, worker_type.max_price);
            let total = sums.instances_of(name);
            let max = worker_type.max_instances;
            if total > max {
                let worker_type = name.clone();
                self.found(Violation::LaunchesOverMaximum { worker_type, total, max });
            }
            if decide.ledger.hold_until.is_some_and(|until| decide.now < until) {
                self.found(Violation::LaunchesWithoutLedger(name.clone()));
            }
            if decide.other_daemon.is_some() {
                self.found(Violation::LaunchesBesideAnotherDaemon(name.clone()));
            }
        }
        if goals.is_empty() {
            return;
        }
        let limits = &decide.settings.limits;
        let has_dollar_limit =
            limits.max_usd_per_hour.is_some() || limits.max_usd_per_day.is_some();
        let unpriced = sums.unpriced();
        if has_dollar_limit && unpriced > 0 {
            self.found(Violation::LaunchesWithUnknownPrices { unpriced });
        }
        let usage = sums.usage();
        if sums::exceeds(&usage) {
            self.found(Violation::LaunchesOverLimits(usage));
        }
    }

    /// `max-lifetime` is a fence: at twice that, an instance is terminated even if it is busy.
    fn too_old(&mut self) {
        let decide = self.decide;
        for (name, worker_type) in &decide.settings.worker_types {
            let Some(lifetime) = worker_type.max_lifetime else { continue };
            let Some(group) = decide.index.types.get(name) else { continue };
            let born_before = clock::before(decide.now, lifetime.saturating_mul(2));
            // The oldest machines come first.
            let too_old =
                group.machines.iter().take_while(|machine| machine.launched <= born_before);
            for machine in too_old {
                if machine.may_be_ended() && !self.terminated.contains(&machine.id) {
                    self.found(Violation::LeavesTooOld(machine.id.clone()));
                }
            }
        }
    }

    /// Returns why `machine` must not be terminated for `reason`, if so.
    fn protection(
        &self,
        machine: &Machine,
        owner: Owner,
        reason: ReasonKind,
    ) -> Option<Protection> {
        if matches!(machine.state, InstanceState::Unrecognised(_) | InstanceState::ShuttingDown) {
            return Some(Protection::StateUnknownOrLeaving);
        }
        let unless = |allowed: bool, why: Protection| (!allowed).then_some(why);
        let known = self.demand_known();
        let may_be_foreign = owner == Owner::Nobody && !self.strays_are_ours();
        match reason {
            ReasonKind::Stopped => {
                unless(machine.state == InstanceState::Stopped, Protection::NotStopped)
            }
            ReasonKind::NeverClaimed | ReasonKind::Retired => {
                unless(known && machine.positively_idle, Protection::NotKnownIdle)
            }
            ReasonKind::WorkerAgreed => {
                unless(known && machine.agreed, Protection::WorkerDidNotAgree)
            }
            ReasonKind::MaxLifetime => None,
            ReasonKind::OverMaximum | ReasonKind::OverLimit => {
                unless(known, Protection::DemandUnknown)
                    .or_else(|| unless(!may_be_foreign, Protection::MayBeForeign))
            }
            ReasonKind::Stray => {
                unless(owner == Owner::Nobody && self.strays_are_ours(), Protection::MayBeForeign)
            }
            ReasonKind::PendingTasks
            | ReasonKind::Spare
            | ReasonKind::BelowMinimum
            | ReasonKind::UnansweredIntent
            | ReasonKind::NoDemand
            | ReasonKind::RequestTimeout
            | ReasonKind::NoCapacity
            | ReasonKind::Untagged => Some(Protection::NoReasonToTerminate),
        }
    }

    /// Whether what carries none of our tags may be touched.
    fn strays_are_ours(&self) -> bool {
        let settings = &self.decide.settings.provisioner;
        let key_pair_is_ours =
            self.decide.index.key_pair == KeyPair::Ours || settings.adopt_key_name;
        key_pair_is_ours && settings.strays == Strays::Terminate
    }
}
