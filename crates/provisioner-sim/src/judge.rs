//! What must hold of every plan and every step, whatever the world does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::domain::clock;
use provisioner::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use provisioner::domain::ledger::Ledger;
use provisioner::domain::money::UsdPerHour;
use provisioner::domain::observed::{InstanceState, Observation};
use provisioner::engine::{
    Action, ActionKind, ActionOutcome, ActionResult, Effect, NoteKind, Outcome, Plan, ReasonKind,
    Report,
};
use provisioner::settings::Settings;

use crate::world::World;

/// Holds steps against what must hold. Its verdicts say what is broken; none is good.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Judge {}

/// No round takes longer.
const A_ROUND: Duration = Duration::from_mins(1);

/// How it was before an effect.
#[derive(Clone, Debug)]
pub struct Before {
    counts: BTreeMap<WorkerTypeName, u64>,
    total: u64,
    usd: UsdPerHour,
    /// Of a launching call: its token, how many it asks for, and when that was decided.
    asks: Option<(ClientToken, u32, Timestamp)>,
    verdicts: Vec<String>,
}

fn counts(world: &World, settings: &Settings) -> BTreeMap<WorkerTypeName, u64> {
    settings.worker_types.keys().map(|name| (name.clone(), world.count(name))).collect()
}

impl Judge {
    /// Looks at the world before an effect. A call must have its intent on disk.
    pub fn before(
        self,
        effect: &Effect,
        on_disk: Option<&Ledger>,
        world: &World,
        settings: &Settings,
    ) -> Before {
        let mut verdicts = Vec::new();
        let mut asks = None;
        if let Effect::Request(call) = effect {
            asks = Some((call.token.clone(), call.count, call.decided));
            let intent = on_disk.and_then(|ledger| ledger.intents.get(&call.token));
            if intent.is_none_or(|intent| intent.call != **call) {
                verdicts.push(format!("a call without an intent on disk: {}", call.token));
            }
        }
        let (total, usd) = world.total();
        Before { counts: counts(world, settings), total, usd, asks, verdicts }
    }

    /// No step may add anything over a maximum or a fence (a maximum that was lowered is passed until what
    /// is there has gone), and no launch is made twice.
    pub fn after(self, before: Before, world: &World, settings: &Settings) -> Vec<String> {
        let Before { counts: were, total: total_before, usd: usd_before, asks, mut verdicts } =
            before;
        if let Some((token, asked, _)) = &asks {
            let of_it = world.requests.iter().filter(|request| request.call.token == *token);
            let made = of_it.count();
            if made > *asked as usize {
                verdicts.push(format!("{made} requests of one launch of {asked}: {token}"));
            }
        }
        for (name, n) in counts(world, settings) {
            let most = settings.worker_types.get(&name).map_or(0, |it| it.max_instances);
            if n > most && n > were.get(&name).copied().unwrap_or(0) {
                verdicts.push(format!("{n} of `{name}`, at most {most}"));
            }
        }
        let (total, usd) = world.total();
        let limits = &settings.limits;
        if limits.max_instances.is_some_and(|most| total > most && total > total_before) {
            verdicts.push(format!("{total} instances in all, at most {:?}", limits.max_instances));
        }
        if limits.max_usd_per_hour.is_some_and(|most| usd > most && usd > usd_before) {
            verdicts.push(format!("{usd} USD per hour, at most {:?}", limits.max_usd_per_hour));
        }
        if let (Some(most), Some((.., decided))) = (limits.max_usd_per_day, asks)
            && usd > usd_before
            // It may belong to a round that began before midnight.
            && clock::age(clock::last_midnight(decided), decided) > A_ROUND
        {
            let day = world.cost_of_day(decided, settings);
            if day > most {
                verdicts.push(format!("{day} USD may be spent by midnight, at most {most}"));
            }
        }
        verdicts
    }

    /// Asked = granted + refused, in what the engine reports of each call.
    pub fn conserved(
        effect: &Effect,
        outcome: &Outcome,
        executed: &[ActionOutcome],
    ) -> Vec<String> {
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

    /// Planned = granted + refused, for each worker type over a whole round: nothing is launched that was
    /// not planned, and nothing planned is dropped without a word.
    pub fn accounted(report: &Report) -> Vec<String> {
        let mut verdicts = Vec::new();
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
                        // What a repeated call is not granted is asked for by the next round.
                        refused |= executed.action.reason.kind == ReasonKind::UnansweredIntent
                            && (ids.len() as u64) < of_it(&executed.action);
                    }
                    ActionResult::Unknown(_) => open += of_it(&executed.action),
                    ActionResult::Refused(_) => refused |= of_it(&executed.action) > 0,
                    ActionResult::Done(_) => {}
                }
            }
            if done + open > planned {
                verdicts.push(format!("{done} and {open} of {planned} `{name}` that were planned"));
            }
            let said = || {
                let mut notes = report.plan.notes.iter();
                notes.any(|note| note.worker_type.as_ref().is_none_or(|it| it == name))
            };
            if done + open < planned && !refused && !said() {
                verdicts.push(format!(
                    "{done} of {planned} `{name}` that were planned, and the rest was not refused"
                ));
            }
        }
        verdicts
    }

    /// What must hold of every plan.
    pub fn plan(
        self,
        plan: &Plan,
        observation: &Observation,
        world: &World,
        settings: &Settings,
    ) -> Vec<String> {
        let mut verdicts = Vec::new();
        for note in plan.notes.iter().filter(|note| note.kind == NoteKind::CheckFailed) {
            verdicts.push(format!("the check failed: {}", note.text));
        }
        verdicts.extend(names_what_was_seen(plan, observation));
        if !world.queue_answered {
            verdicts.extend(leaves_unknown_demand_alone(plan));
        }
        for action in &plan.actions {
            if let ActionKind::Terminate(ids) = &action.kind {
                let reason = action.reason.kind;
                verdicts.extend(ids.iter().filter_map(|id| wrongly_ended(id, reason, world)));
            }
        }
        verdicts.extend(has_one_direction(plan, settings));
        verdicts
    }
}

/// Every id was observed, and is in one action.
fn names_what_was_seen(plan: &Plan, observation: &Observation) -> Vec<String> {
    let mut verdicts = Vec::new();
    let instances: BTreeSet<_> = observation.instances.iter().map(|it| it.id.as_str()).collect();
    let requests: BTreeSet<_> = observation.spot_requests.iter().map(|it| it.id.as_str()).collect();
    let mut named = BTreeSet::new();
    for action in &plan.actions {
        for id in action.kind.ids() {
            if !named.insert(id.to_owned()) {
                verdicts.push(format!("{id} twice in one plan"));
            }
            let observed = match action.kind {
                ActionKind::Cancel(_) => requests.contains(id),
                ActionKind::Request(_) | ActionKind::Terminate(_) | ActionKind::Tag(_) => {
                    instances.contains(id)
                }
            };
            if !observed {
                verdicts.push(format!("{id} was not observed"));
            }
        }
    }
    verdicts
}

/// Nothing is launched, cancelled or ended on account of a demand that is not known.
fn leaves_unknown_demand_alone(plan: &Plan) -> Vec<String> {
    let mut verdicts = Vec::new();
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
            verdicts.push(format!("{reason} while the demand is unknown"));
        }
        if matches!(action.kind, ActionKind::Terminate(_))
            && matches!(reason, ReasonKind::OverMaximum | ReasonKind::OverLimit)
        {
            verdicts.push(format!("{reason} kills while the demand is unknown"));
        }
    }
    verdicts
}

fn wrongly_ended(id: &InstanceId, reason: ReasonKind, world: &World) -> Option<String> {
    // A task that it took after the queue had answered, nobody can know of.
    let busy = world.queue.busy_since(id).is_some_and(|since| since <= world.queue_read);
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

/// No worker type grows and shrinks for demand in one plan.
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
