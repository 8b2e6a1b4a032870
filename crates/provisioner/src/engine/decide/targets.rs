//! Asks the policy of every worker type how much capacity there should be.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::demand::Demand;
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::group::Group;
use crate::engine::state::in_flight::InFlight;
use crate::engine::state::index::Index;
use crate::engine::state::memory::Memory;
use crate::engine::stop_consent::StopConsent;
use crate::policy::{CapacityTarget, Policy, PolicyMemory, Rule, Situation};
use crate::settings::{Settings, WorkerType};

/// The circumstances that all policies share.
pub(in crate::engine) struct Terms<'a> {
    /// Whether calls are not throttled.
    pub(in crate::engine) calls_pass: bool,
    /// Tells whether idle workers of a type stop when they are told to.
    pub(in crate::engine) consent: &'a StopConsent,
    pub(in crate::engine) now: Timestamp,
}

/// Returns the capacity that each policy wants. This is to be called once per round, because policies
/// learn from it. They learn nothing from an unknown demand; the result then is only shown.
pub(in crate::engine) fn ask(
    settings: &Settings,
    index: &Index,
    in_flight: &BTreeMap<Option<WorkerTypeName>, InFlight>,
    demand: Option<&Demand>,
    terms: &Terms<'_>,
    memory: &mut Memory,
) -> BTreeMap<WorkerTypeName, CapacityTarget> {
    let Terms { calls_pass, consent, now } = terms;
    let now = *now;
    // Requests in excess take calls and quota that other worker types may need.
    let quotas_left = memory.breakers.values().all(|breaker| breaker.until() <= now);
    let may_hedge = *calls_pass && quotas_left;
    let memories = &mut memory.policies;
    memories.retain(|name, _| settings.worker_types.contains_key(name));
    let mut targets = BTreeMap::new();
    for (name, group) in &index.types {
        let Some(worker_type) = settings.worker_types.get(name) else { continue };
        let in_flight = in_flight.get(&Some(name.clone())).copied().unwrap_or_default();
        let situation = situation(worker_type, name, group, in_flight, demand, now);
        let workers_consent = consent.asks(name, now);
        // If the queue does not report running tasks, infer them from the workers: one that does not ask
        // to stop is busy.
        let inferred = workers_consent && demand.is_some() && situation.unknown == 0;
        let counted = situation.busy.saturating_mul(situation.tasks_per_instance);
        let running = situation.running.or(inferred.then_some(counted));
        let situation = Situation { running, may_hedge, workers_consent, ..situation };
        let target = match (&worker_type.policy, demand) {
            (policy, Some(_)) if policy.learns() => {
                if !memories.contains_key(name) {
                    memories.insert(name.clone(), PolicyMemory::default());
                }
                memories.get_mut(name).map(|memory| policy.target(&situation, memory))
            }
            (policy, Some(_)) => Some(policy.target(&situation, &mut PolicyMemory::default())),
            (_, None) => Some(Policy::BASIC.target(&situation, &mut PolicyMemory::default())),
        };
        let cancels = !matches!(worker_type.policy.rule, Rule::WorkerManager(_));
        targets.extend(target.map(|target| {
            // worker-manager's model never takes back a request. Here, one that no task needs is cancelled.
            let most = if cancels { target.coming } else { target.needed };
            (name.clone(), CapacityTarget { coming: target.coming.min(most), ..target })
        }));
    }
    targets
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
