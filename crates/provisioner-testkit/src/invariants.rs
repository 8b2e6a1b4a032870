//! What must hold of every plan and every call, whatever the world does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use provisioner::internal::domain::launch::LaunchCall;
use provisioner::internal::domain::ledger::{Intent, Ledger};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{InstanceState, Observation};
use provisioner::internal::engine::{
    Action, ActionKind, ActionOutcome, ActionResult, Effect, NoteKind, Outcome, Plan, ReasonKind,
    Report,
};
use provisioner::internal::settings::Settings;

use provisioner_sim::world::World;

/// No round takes longer in the simulated world.
const LONGEST_ROUND: Duration = Duration::from_mins(1);

/// No clock is further off in the random worlds.
const CLOCK_OFF: Duration = Duration::from_mins(5);

/// The state of the world before a call.
#[derive(Clone, Debug)]
pub struct BeforeCall {
    counts: BTreeMap<WorkerTypeName, u64>,
    total: u64,
    usd: UsdPerHour,
    /// A launching call's token, count and time of decision.
    launch: Option<(ClientToken, u32, Timestamp)>,
    violations: Vec<String>,
}

fn counts(world: &World, settings: &Settings) -> BTreeMap<WorkerTypeName, u64> {
    settings.worker_types.keys().map(|name| (name.clone(), world.count(name))).collect()
}

/// Records the state of the world before a call, and checks that a launching call has its intent on disk.
pub fn before_call(
    effect: &Effect,
    on_disk: Option<&Ledger>,
    world: &World,
    settings: &Settings,
) -> BeforeCall {
    let mut violations = Vec::new();
    let mut launch = None;
    if let Effect::Request(call) = effect {
        launch = Some((call.token.clone(), call.count, call.decided));
        let intent = on_disk.and_then(|ledger| ledger.intents.get(&call.token));
        // When it was decided is not sent, and follows a clock that is set.
        let is_it =
            |intent: &Intent| LaunchCall { decided: call.decided, ..intent.call.clone() } == **call;
        if !intent.is_some_and(is_it) {
            violations.push(format!("a call without an intent on disk: {}", call.token));
        }
    }
    let (total, usd) = world.total();
    BeforeCall { counts: counts(world, settings), total, usd, launch, violations }
}

/// Checks that a call exceeded no maximum or limit, and that no launch was made twice. Instances that exist
/// when a maximum is lowered may exceed it until they are gone, but no call may add to them.
pub fn after_call(before: BeforeCall, world: &World, settings: &Settings) -> Vec<String> {
    let BeforeCall {
        counts: counts_before,
        total: total_before,
        usd: usd_before,
        launch,
        mut violations,
    } = before;
    if let Some((token, asked, _)) = &launch {
        let of_it = world.requests.iter().filter(|request| request.call.token == *token);
        let made = of_it.count();
        if made > *asked as usize {
            violations.push(format!("{made} requests of one launch of {asked}: {token}"));
        }
    }
    for (name, n) in counts(world, settings) {
        let most =
            settings.worker_types.get(&name).map_or(0, |worker_type| worker_type.max_instances);
        if n > most && n > counts_before.get(&name).copied().unwrap_or(0) {
            violations.push(format!("{n} of `{name}`, at most {most}"));
        }
    }
    let (total, usd) = world.total();
    let limits = &settings.limits;
    if limits.max_instances.is_some_and(|most| total > most && total > total_before) {
        violations.push(format!("{total} instances in all, at most {:?}", limits.max_instances));
    }
    if limits.max_usd_per_hour.is_some_and(|most| usd > most && usd > usd_before) {
        violations.push(format!("{usd} USD per hour, at most {:?}", limits.max_usd_per_hour));
    }
    if let (Some(most), Some((.., decided))) = (limits.max_usd_per_day, launch)
        && usd > usd_before
        // The call may belong to a round that began before midnight.
        && clock::age(clock::last_midnight(decided), decided) > LONGEST_ROUND
    {
        let day = world.cost_of_day(decided, settings);
        if day > most {
            violations.push(format!("{day} USD may be spent by midnight, at most {most}"));
        }
    }
    violations
}

/// Checks that the engine reports as many launches as EC2 granted, and no more than were requested.
pub fn of_outcome(effect: &Effect, outcome: &Outcome, executed: &[ActionOutcome]) -> Vec<String> {
    let (Effect::Request(call), Outcome::Requested(granted)) = (effect, outcome) else {
        return Vec::new();
    };
    let done = executed.iter().find_map(|one| match &one.result {
        ActionResult::Done(ids) => Some(ids.len()),
        ActionResult::Refused(_) | ActionResult::Unknown(_) => None,
    });
    if done == Some(granted.len()) && granted.len() <= call.count as usize {
        return Vec::new();
    }
    vec![format!("granted {} of {}, reported {done:?}", granted.len(), call.count)]
}

/// Checks that planned = granted + refused, per worker type over a round: nothing is launched that was not
/// planned, and no planned launch is dropped without a note.
pub fn of_report(report: &Report) -> Vec<String> {
    let mut violations = Vec::new();
    let names: BTreeSet<_> =
        report.plan.actions.iter().filter_map(|action| action.worker_type.as_ref()).collect();
    for name in names {
        let of_it = |action: &Action| match action.kind {
            ActionKind::Request(n) if action.worker_type.as_ref() == Some(name) => n,
            _ => 0,
        };
        let planned: u64 = report.plan.actions.iter().map(of_it).sum();
        let (mut done, mut open, mut refused) = (0, 0, false);
        for executed in &report.executed {
            match &executed.result {
                ActionResult::Done(ids) if of_it(&executed.action) > 0 => {
                    done += ids.len() as u64;
                    // The next round requests what a repeated call is not granted.
                    refused |= executed.action.reason.kind == ReasonKind::UnansweredIntent
                        && (ids.len() as u64) < of_it(&executed.action);
                }
                ActionResult::Unknown(_) => open += of_it(&executed.action),
                ActionResult::Refused(_) => refused |= of_it(&executed.action) > 0,
                ActionResult::Done(_) => {}
            }
        }
        if done + open > planned {
            violations.push(format!("{done} and {open} of {planned} `{name}` that were planned"));
        }
        let said = || {
            let mut notes = report.plan.notes.iter();
            notes.any(|note| note.worker_type.as_ref().is_none_or(|noted| noted == name))
        };
        if done + open < planned && !refused && !said() {
            violations.push(format!(
                "{done} of {planned} `{name}` that were planned, and the rest was not refused"
            ));
        }
    }
    violations
}

/// Checks a plan that was made from `observation`.
pub fn of_plan(
    plan: &Plan,
    observation: &Observation,
    world: &World,
    settings: &Settings,
) -> Vec<String> {
    let mut violations = Vec::new();
    for note in plan.notes.iter().filter(|note| note.kind == NoteKind::CheckFailed) {
        violations.push(format!("the check failed: {}", note.text));
    }
    violations.extend(names_only_observed_ids(plan, observation));
    if !world.queue_answered {
        violations.extend(leaves_unknown_demand_alone(plan));
    }
    for action in &plan.actions {
        if let ActionKind::Terminate(ids) = &action.kind {
            let reason = action.reason.kind;
            violations
                .extend(ids.iter().filter_map(|id| wrongly_ended(id, reason, world, settings)));
        }
    }
    violations.extend(has_one_direction(plan, settings));
    violations
}

/// Checks that every id was observed and occurs in one action only.
fn names_only_observed_ids(plan: &Plan, observation: &Observation) -> Vec<String> {
    let mut violations = Vec::new();
    let instances: BTreeSet<_> =
        observation.instances.iter().map(|instance| instance.id.as_str()).collect();
    let requests: BTreeSet<_> =
        observation.spot_requests.iter().map(|request| request.id.as_str()).collect();
    let mut named = BTreeSet::new();
    for action in &plan.actions {
        for id in action.kind.ids() {
            if !named.insert(id.to_owned()) {
                violations.push(format!("{id} twice in one plan"));
            }
            let observed = match action.kind {
                ActionKind::Cancel(_) => requests.contains(id),
                ActionKind::Request(_) | ActionKind::Terminate(_) | ActionKind::Tag(_) => {
                    instances.contains(id)
                }
            };
            if !observed {
                violations.push(format!("{id} was not observed"));
            }
        }
    }
    violations
}

/// Checks that nothing is launched, cancelled or ended because of a demand that is not known.
fn leaves_unknown_demand_alone(plan: &Plan) -> Vec<String> {
    let mut violations = Vec::new();
    for action in &plan.actions {
        let reason = action.reason.kind;
        let retired_request =
            reason == ReasonKind::Retired && matches!(action.kind, ActionKind::Cancel(_));
        let of_demand = matches!(
            reason,
            ReasonKind::NoDemand
                | ReasonKind::PendingTasks
                | ReasonKind::Spare
                | ReasonKind::BelowMinimum
                | ReasonKind::NeverClaimed
                | ReasonKind::WorkerAgreed
                | ReasonKind::Retired
        );
        if of_demand && !retired_request {
            violations.push(format!("{reason} while the demand is unknown"));
        }
        if matches!(action.kind, ActionKind::Terminate(_))
            && matches!(reason, ReasonKind::OverMaximum | ReasonKind::OverLimit)
        {
            violations.push(format!("{reason} kills while the demand is unknown"));
        }
    }
    violations
}

/// Checks that an instance is ended for a reason that holds.
fn wrongly_ended(
    id: &InstanceId,
    reason: ReasonKind,
    world: &World,
    settings: &Settings,
) -> Option<String> {
    // The engine cannot know of a task that the worker took after the queue had answered.
    let busy = world.queue.busy_since(id).is_some_and(|since| since <= world.queue_read);
    if busy && reason == ReasonKind::MaxLifetime && !is_doubly_old(id, world, settings) {
        return Some(format!("{id} is busy and ended, younger than twice its max-lifetime"));
    }
    let for_want_of_demand = matches!(
        reason,
        ReasonKind::NoDemand | ReasonKind::Spare | ReasonKind::NeverClaimed | ReasonKind::Retired
    );
    if busy && for_want_of_demand {
        return Some(format!("{id} is busy and ended: {reason}"));
    }
    if reason == ReasonKind::WorkerAgreed && (busy || !world.has_agreed(id)) {
        return Some(format!("{id} is ended as one that agreed; busy: {busy}"));
    }
    let runs = world
        .state(id)
        .is_some_and(|state| matches!(state, InstanceState::Running | InstanceState::Pending));
    (reason == ReasonKind::Stopped && runs).then(|| format!("{id} is ended as stopped and is not"))
}

/// Whether an instance is old enough to be ended although it is busy, by a clock that may be off.
fn is_doubly_old(id: &InstanceId, world: &World, settings: &Settings) -> bool {
    let Some(machine) = world.machines.get(id) else { return false };
    let worker_type = machine.worker_type.as_ref().and_then(|name| settings.worker_types.get(name));
    let lifetime = match worker_type {
        Some(worker_type) => worker_type.max_lifetime,
        None => settings.retired_max_lifetime,
    };
    let age = clock::age(machine.truth().launch_time, world.now);
    lifetime.is_some_and(|lifetime| age + CLOCK_OFF >= 2 * lifetime)
        // One of no configured worker type is ended at the longest lifetime of all.
        || worker_type.is_none()
}

/// Checks that no worker type grows and shrinks because of demand in one plan.
fn has_one_direction(plan: &Plan, settings: &Settings) -> Vec<String> {
    let has = |name: &WorkerTypeName, kinds: &[ReasonKind]| {
        plan.actions.iter().any(|action| {
            action.worker_type.as_ref() == Some(name) && kinds.contains(&action.reason.kind)
        })
    };
    settings
        .worker_types
        .keys()
        .filter(|name| {
            has(name, &[ReasonKind::PendingTasks, ReasonKind::BelowMinimum])
                && has(name, &[ReasonKind::NoDemand])
        })
        .map(|name| format!("`{name}` grows and shrinks in one plan"))
        .collect()
}
