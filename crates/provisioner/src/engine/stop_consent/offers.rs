//! What a decided round offers at the [`Desk`](super::Desk): who may ask, and how many may go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::demand::Demand;
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::observed::InstanceState;
use crate::engine::decide::Decide;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine};
use crate::engine::stop_consent::{Book, Offer, Standing, Worker};
use crate::policy::Wish;
use crate::settings::{Settings, WorkerType};

/// Hands the round's offers to the desk. Work proportional to machines.
pub(in crate::engine) fn renew(decide: &Decide<'_>, book: &mut Book) {
    let index = decide.index;
    let mut workers: BTreeMap<InstanceId, Worker> = BTreeMap::new();
    let mut working = Vec::new();
    let configured = index.types.iter().map(|(name, group)| (name, group, Standing::Idle));
    let retired = index.retired.iter().map(|(name, group)| (name, group, Standing::Goes));
    for (name, group, if_idle) in configured.chain(retired) {
        for machine in &group.machines {
            let Some(launch) = machine.intent.clone() else { continue };
            let standing = standing(machine, if_idle);
            workers.insert(machine.id.clone(), Worker { of: name.clone(), launch, standing });
            if machine.class == Class::Busy {
                working.push(&machine.id);
            }
        }
    }
    let offers = index.types.iter().filter_map(|(name, group)| {
        let worker_type = decide.settings.worker_types.get(name)?;
        let wish = decide.wishes.get(name)?;
        let pending = pending(decide.demand.ok()?, name);
        Some((name.clone(), offer(worker_type, group, wish, pending)))
    });
    let offers = offers.collect();
    for id in working {
        book.works(id);
    }
    book.renew(workers, offers, decide.now);
    if decide.demand.is_err() {
        book.close();
    }
}

fn standing(machine: &Machine, if_idle: Standing) -> Standing {
    if machine.state != InstanceState::Running {
        return Standing::Stays;
    }
    match machine.class {
        Class::Idle => if_idle,
        Class::Aged => Standing::Goes,
        Class::Booting | Class::Unknown | Class::Busy | Class::Overdue | Class::Stopping => {
            Standing::Stays
        }
    }
}

/// How many may go: as many as the policy wishes, but none that a waiting task can have or that keeps the
/// minimum. Under a policy that does not say, workers go when they would by themselves.
fn offer(worker_type: &WorkerType, group: &Group, wish: &Wish, pending: u64) -> Offer {
    let counts = group.counts;
    let (wished, idle_for) = if worker_type.policy.lets_go() {
        (wish.let_go, Duration::ZERO)
    } else {
        (counts.idle, worker_type.idle_timeout)
    };
    let per_instance = u64::from(worker_type.tasks_per_instance).max(1);
    let spare = counts.idle.saturating_sub(pending.div_ceil(per_instance));
    // What boots may fail: it keeps no minimum yet.
    let up = counts.idle + counts.busy + counts.unknown;
    let above_minimum = up.saturating_sub(worker_type.min_instances);
    Offer { places: wished.min(spare).min(above_minimum), idle_for }
}

/// Whether more tasks wait than idle machines can take, or fewer are up than the minimum.
pub(in crate::engine) fn is_short(
    demand: &Demand,
    name: &WorkerTypeName,
    group: &Group,
    settings: &Settings,
) -> bool {
    let Some(worker_type) = settings.worker_types.get(name) else { return false };
    let counts = group.counts;
    let room = counts.idle.saturating_mul(worker_type.tasks_per_instance.into());
    let up = counts.idle + counts.busy + counts.unknown;
    pending(demand, name) > room || up < worker_type.min_instances
}

fn pending(demand: &Demand, name: &WorkerTypeName) -> u64 {
    demand.pending.get(name).map_or(0, |pending| pending.count)
}
