//! Checks a finished plan against the fences, whatever the policy said.
//!
//! Written apart from the code that makes plans, on purpose: a violation is a bug of ours, and a plan
//! that has one is not executed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use crate::domain::clock;
use crate::domain::ids::InstanceId;
use crate::domain::observed::{InstanceState, KeyPair};
use crate::domain::plural;
use crate::engine::decide::budget::Budget;
use crate::engine::decide::plan::{ActionKind, ReasonKind};
use crate::engine::decide::{Decide, Decided};
use crate::engine::state::group::Group;
use crate::engine::state::machine::Machine;
use crate::settings::Strays;

/// A fence that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns every fence that `decided` breaks.
pub(super) fn check(decide: &Decide<'_>, decided: &Decided) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut say = |text: String| violations.push(Violation(text));
    let plan = &decided.plan;
    let index = decide.index;
    let demand_known = decide.demand.is_ok();

    let ends: HashSet<&str> = plan.actions.iter().flat_map(|action| action.kind.ids()).collect();
    let mut machines: BTreeMap<&InstanceId, (&Machine, Kept)> = BTreeMap::new();
    let mut requests: BTreeMap<&str, Kept> = BTreeMap::new();
    if !ends.is_empty() {
        let kept = index.types.values().map(|group| (group, Kept::Configured));
        let kept = kept.chain(index.retired.values().map(|group| (group, Kept::Retired)));
        for (group, kept) in kept.chain([(&index.strays, Kept::Stray)]) {
            let named = group.machines.iter().filter(|machine| ends.contains(machine.id.as_str()));
            machines.extend(named.map(|machine| (&machine.id, (machine, kept))));
            let open = group.open.iter().filter(|request| request.touchable);
            requests.extend(open.map(|request| (request.id.as_str(), kept)));
        }
    }

    let mut seen = BTreeSet::new();
    for action in &plan.actions {
        let reason = action.reason.kind;
        match &action.kind {
            ActionKind::Cancel(ids) => {
                for id in ids {
                    match requests.get(id.as_str()) {
                        None => say(format!("cancels {id}, which is no open request of ours")),
                        Some(Kept::Stray) if !strays_are_ours(decide) => {
                            say(format!("cancels {id}, which may be somebody else's"));
                        }
                        Some(_) => {}
                    }
                    if !seen.insert(id.as_str()) {
                        say(format!("cancels {id} twice"));
                    }
                }
                if !demand_known && reason == ReasonKind::NoDemand {
                    say("cancels for lack of a demand that is not known".to_owned());
                }
            }
            ActionKind::Terminate(ids) => {
                for id in ids {
                    if !seen.insert(id.as_str()) {
                        say(format!("terminates {id} twice"));
                    }
                    match machines.get(id) {
                        None => say(format!("terminates {id}, which is not ours")),
                        Some((machine, kept)) => {
                            if let Some(why) = forbids_ending(decide, machine, *kept, reason) {
                                say(format!("terminates {id} ({reason}): {why}"));
                            }
                        }
                    }
                }
            }
            ActionKind::Tag(ids) => {
                for id in ids {
                    if machines.get(id).is_none_or(|(_, kept)| *kept == Kept::Stray) {
                        say(format!("tags {id}, which is not ours"));
                    }
                }
            }
            ActionKind::Request(_) => {
                if reason != ReasonKind::UnansweredIntent && !demand_known {
                    say("launches for a demand that is not known".to_owned());
                }
            }
        }
    }

    for goal in &decided.goals {
        let name = &goal.worker_type;
        let (Some(worker_type), Some(group)) =
            (decide.settings.worker_types.get(name), index.types.get(name))
        else {
            say(format!("launches `{name}`, which is not configured"));
            continue;
        };
        let in_flight =
            decide.in_flight.get(&Some(name.clone())).map_or(0, |in_flight| in_flight.count);
        let total =
            group.machines.len() as u64 + group.open.len() as u64 + in_flight + goal.remaining;
        if total > worker_type.max_instances {
            say(format!(
                "brings `{name}` to {}, over max-instances ({})",
                plural::count(total, "instance"),
                worker_type.max_instances
            ));
        }
        if decide.ledger.hold_until.is_some_and(|until| decide.now < until) {
            say(format!("launches `{name}` while the ledger is lost"));
        }
    }
    for (token, _) in &decided.repeats {
        let Some(intent) = decide.ledger.intents.get(token) else { continue };
        let name = &intent.call.worker_type;
        let max = decide.settings.worker_types.get(name).map_or(0, |it| it.max_instances);
        let group = index.types.get(name);
        let there = group.map_or(0, |group| group.machines.len() as u64 + group.open.len() as u64);
        let in_flight =
            decide.in_flight.get(&Some(name.clone())).map_or(0, |in_flight| in_flight.count);
        if there + in_flight > max {
            say(format!("repeats a launch of `{name}` over max-instances ({max})"));
        }
    }
    limits(decide, decided, &mut say);
    overdue_lifetimes(decide, &ends, &mut say);
    violations
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Configured,
    Retired,
    Stray,
}

/// Why `machine` may not be ended for `reason`.
fn forbids_ending(
    decide: &Decide<'_>,
    machine: &Machine,
    kept: Kept,
    reason: ReasonKind,
) -> Option<&'static str> {
    let demand_known = decide.demand.is_ok();
    if !machine.may_be_ended() {
        return Some("its state is not known, or it is going already");
    }
    match reason {
        ReasonKind::Stopped => {
            (machine.state != InstanceState::Stopped).then_some("it is not stopped")
        }
        ReasonKind::NeverClaimed | ReasonKind::Retired => {
            (!demand_known || !machine.positively_idle).then_some("it is not known to be idle")
        }
        ReasonKind::WorkerAgreed => (!demand_known || !machine.agreed)
            .then_some("its worker did not say that it is stopping"),
        ReasonKind::MaxLifetime => None,
        ReasonKind::OverMaximum | ReasonKind::OverLimit if !demand_known => {
            Some("no maximum is enforced while the demand is unknown")
        }
        ReasonKind::OverMaximum | ReasonKind::OverLimit => {
            (kept == Kept::Stray && !strays_are_ours(decide)).then_some("it may be somebody else's")
        }
        ReasonKind::Stray => {
            (kept != Kept::Stray || !strays_are_ours(decide)).then_some("it may be somebody else's")
        }
        ReasonKind::PendingTasks
        | ReasonKind::Spare
        | ReasonKind::BelowMinimum
        | ReasonKind::UnansweredIntent
        | ReasonKind::NoDemand
        | ReasonKind::RequestTimeout
        | ReasonKind::NoCapacity
        | ReasonKind::Untagged => Some("that is no reason to end an instance"),
    }
}

/// Whether what carries none of our tags may be touched.
fn strays_are_ours(decide: &Decide<'_>) -> bool {
    let settings = &decide.settings.provisioner;
    let key_pair_is_ours = decide.index.key_pair == KeyPair::Ours || settings.adopt_key_name;
    key_pair_is_ours && settings.strays == Strays::Terminate
}

fn limits(decide: &Decide<'_>, decided: &Decided, say: &mut impl FnMut(String)) {
    if decided.goals.is_empty() && decided.repeats.is_empty() {
        return;
    }
    let mut room =
        Budget::new(decide.settings, decide.index, decide.in_flight, decide.memory, decide.now);
    if !decided.repeats.is_empty() && room.is_exceeded() {
        say(format!("repeats a launch over [limits]: {}", room.usage()));
    }
    if decided.goals.is_empty() {
        return;
    }
    if room.is_unlimited() {
        return;
    }
    if let Some(unpriced) = room.unpriced() {
        say(format!("launches under a dollar limit, while {unpriced} have no known price"));
    }
    let types: Vec<_> = decided
        .goals
        .iter()
        .map(|goal| decide.settings.worker_types.get(&goal.worker_type))
        .collect();
    let shares = room.share(&decided.goals, &types);
    if shares.iter().zip(&decided.goals).any(|(share, goal)| *share < goal.remaining) {
        say(format!("launches more than [limits] leave: {}", room.usage()));
    }
}

/// `max-lifetime` is a fence: at twice that an instance is ended, busy or not.
fn overdue_lifetimes(decide: &Decide<'_>, ends: &HashSet<&str>, say: &mut impl FnMut(String)) {
    for (name, worker_type) in &decide.settings.worker_types {
        let Some(lifetime) = worker_type.max_lifetime else { continue };
        let end_at = |machine: &Machine| clock::after(machine.launched, lifetime.saturating_mul(2));
        let machines =
            decide.index.types.get(name).map_or(&[][..], |group: &Group| &group.machines);
        // The oldest come first.
        for machine in machines.iter().take_while(|machine| end_at(machine) <= decide.now) {
            if machine.may_be_ended() && !ends.contains(machine.id.as_str()) {
                say(format!("leaves {} running past twice max-lifetime", machine.id));
            }
        }
    }
}
