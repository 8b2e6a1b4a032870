//! What a decided round offers: which workers may ask, and how many idle machines may go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::demand::Demand;
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::observed::InstanceState;
use crate::engine::decide::Decide;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine};
use crate::engine::stop_consent::{Offer, Removability, StopConsent, Worker};
use crate::policy::CapacityTarget;
use crate::settings::WorkerType;

/// Replaces the offers by this round's. Work proportional to machines.
pub(in crate::engine) fn renew(decide: &Decide<'_>, consent: &mut StopConsent) {
    let index = decide.index;
    let mut workers: BTreeMap<InstanceId, Worker> = BTreeMap::new();
    let mut working = Vec::new();
    let configured = index.types.iter().map(|(name, group)| (name, group, Removability::IfOffered));
    let retired = index.retired.iter().map(|(name, group)| (name, group, Removability::Goes));
    for (name, group, if_idle) in configured.chain(retired) {
        for machine in &group.machines {
            let Some(launch) = machine.intent.clone() else { continue };
            let removability = removability(machine, if_idle);
            let (of, addresses) = (name.clone(), machine.addresses.clone());
            let worker = Worker { of, launch, addresses, removability };
            workers.insert(machine.id.clone(), worker);
            if machine.class == Class::Busy {
                working.push(&machine.id);
            }
        }
    }
    let offers = index.types.iter().filter_map(|(name, group)| {
        let worker_type = decide.settings.worker_types.get(name)?;
        let target = decide.targets.get(name)?;
        let pending = pending(decide.demand.ok()?, name);
        Some((name.clone(), offer(worker_type, group, target, pending)))
    });
    let offers = offers.collect();
    for id in working {
        consent.works(id);
    }
    consent.renew(workers, offers, decide.now);
    if decide.demand.is_err() {
        consent.close();
    }
}

fn removability(machine: &Machine, if_idle: Removability) -> Removability {
    if machine.state != InstanceState::Running {
        return Removability::Stays;
    }
    match machine.class {
        Class::Idle => if_idle,
        Class::Aged => Removability::Goes,
        Class::Booting | Class::Unknown | Class::Busy | Class::Overdue | Class::Stopping => {
            Removability::Stays
        }
    }
}

/// How many machines may go: as many as the policy lets go, but none that a pending task can use or that
/// keeps the minimum. Under a policy that has no opinion, workers go when their idle timeout is over.
fn offer(worker_type: &WorkerType, group: &Group, target: &CapacityTarget, pending: u64) -> Offer {
    let counts = group.counts;
    let (let_go, idle_for) = if worker_type.policy.lets_go() {
        (target.let_go, Duration::ZERO)
    } else {
        (counts.idle, worker_type.idle_timeout)
    };
    let per_instance = u64::from(worker_type.tasks_per_instance).max(1);
    let spare = counts.idle.saturating_sub(pending.div_ceil(per_instance));
    // A machine that boots may fail: it does not keep the minimum yet.
    let up = counts.idle + counts.busy + counts.unknown;
    let above_minimum = up.saturating_sub(worker_type.min_instances);
    Offer { places: let_go.min(spare).min(above_minimum), idle_for }
}

fn pending(demand: &Demand, name: &WorkerTypeName) -> u64 {
    demand.pending.get(name).map_or(0, |pending| pending.count)
}
