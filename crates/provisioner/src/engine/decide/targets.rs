//! Asks the policy of every worker type what it wishes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::demand::Demand;
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::group::Group;
use crate::engine::state::in_flight::InFlight;
use crate::engine::state::index::Index;
use crate::engine::state::memory::Memory;
use crate::engine::stop_consent::StopConsent;
use crate::policy::{Policy, PolicyMemory, Rule, Situation, Wish};
use crate::settings::{Settings, WorkerType};

/// What the policies are asked under.
pub(in crate::engine) struct Terms<'a> {
    /// Calls are not throttled.
    pub(in crate::engine) calls_pass: bool,
    /// Tells whether idle workers of a type stop when they are told to.
    pub(in crate::engine) consent: &'a StopConsent,
    pub(in crate::engine) now: Timestamp,
}

/// What the policies wish, once per round: they learn from it. Of an unknown demand nothing is learned,
/// and what is wished then is for show.
pub(in crate::engine) fn ask(
    settings: &Settings,
    index: &Index,
    in_flight: &BTreeMap<Option<WorkerTypeName>, InFlight>,
    demand: Option<&Demand>,
    terms: &Terms<'_>,
    memory: &mut Memory,
) -> BTreeMap<WorkerTypeName, Wish> {
    let Terms { calls_pass, consent, now } = terms;
    let now = *now;
    // What is asked for in excess takes calls and quota that others may need.
    let quotas_left = memory.breakers.values().all(|breaker| breaker.until() <= now);
    let may_hedge = *calls_pass && quotas_left;
    let memories = &mut memory.policies;
    memories.retain(|name, _| settings.worker_types.contains_key(name));
    let mut wishes = BTreeMap::new();
    for (name, group) in &index.types {
        let Some(worker_type) = settings.worker_types.get(name) else { continue };
        let in_flight = in_flight.get(&Some(name.clone())).copied().unwrap_or_default();
        let situation = situation(worker_type, name, group, in_flight, demand, now);
        let workers_consent = consent.asks(name, now);
        // What the queue does not tell, workers do: who does not ask works.
        let told = workers_consent && demand.is_some() && situation.unknown == 0;
        let counted = situation.busy.saturating_mul(situation.tasks_per_instance);
        let running = situation.running.or(told.then_some(counted));
        let situation = Situation { running, may_hedge, workers_consent, ..situation };
        let wish = match (&worker_type.policy, demand) {
            (policy, Some(_)) if policy.learns() => {
                if !memories.contains_key(name) {
                    memories.insert(name.clone(), PolicyMemory::default());
                }
                memories.get_mut(name).map(|memory| policy.wish(&situation, memory))
            }
            (policy, Some(_)) => Some(policy.wish(&situation, &mut PolicyMemory::default())),
            (_, None) => Some(Policy::BASIC.wish(&situation, &mut PolicyMemory::default())),
        };
        let cancels = !matches!(worker_type.policy.rule, Rule::WorkerManager(_));
        wishes.extend(wish.map(|wish| {
            // Its model never takes back what was asked for. Here no request stays that no task needs.
            let most = if cancels { wish.coming } else { wish.needed };
            (name.clone(), Wish { coming: wish.coming.min(most), ..wish })
        }));
    }
    wishes
}

fn situation(
    worker_type: &WorkerType,
    name: &WorkerTypeName,
    group: &Group,
    in_flight: InFlight,
    demand: Option<&Demand>,
    now: Timestamp,
) -> Situation {
    let counts = group.counts;
    let pending = demand.and_then(|demand| demand.pending.get(name));
    Situation {
        now,
        pending: pending.map_or(0, |pending| pending.count),
        running: demand.and_then(|demand| demand.running.tasks(name)),
        requested: group.open.len() as u64 + in_flight.count,
        booting: counts.booting,
        idle: counts.idle,
        busy: counts.busy,
        unknown: counts.unknown,
        stopping: counts.stopping + counts.leaving,
        free_slots: counts.free_slots,
        min: worker_type.min_instances,
        max: worker_type.max_instances,
        tasks_per_instance: u64::from(worker_type.tasks_per_instance),
        idle_timeout: worker_type.idle_timeout,
        may_hedge: false,
        workers_consent: false,
    }
}
