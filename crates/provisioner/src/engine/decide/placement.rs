//! The placements in which a worker type may launch, and the choice of the next one.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::cool_down::CoolDown;
use crate::domain::ids::{InstanceType, SubnetId, WorkerTypeName};
use crate::domain::launch::{LaunchCall, Pool, ResolvedPlacement, ResolvedWorkerType};
use crate::engine::decide::detail::NoPlacement;
use crate::engine::decide::plan::Reason;
use crate::engine::state::memory::{Memory, quota};
use crate::settings::WorkerType;

/// An instance type in a zone or subnet.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Placement {
    pub(in crate::engine) instance_type: InstanceType,
    pub(in crate::engine) placement: ResolvedPlacement,
}

impl Placement {
    /// The names under which refusals are remembered: the pool, and the pool seen from the subnet.
    fn names(&self) -> Vec<String> {
        let pool = self.pool();
        let subnet = self.placement.subnet.as_ref().map(|subnet| in_subnet(&pool, subnet));
        std::iter::once(pool.to_string()).chain(subnet).collect()
    }

    /// Whether `call` launches here.
    pub(in crate::engine) fn is_of(&self, call: &LaunchCall) -> bool {
        self.instance_type == call.instance_type
            && self.placement.zone == call.zone
            && self.placement.subnet == call.subnet
    }

    pub(in crate::engine) fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.clone(), zone: self.placement.zone.clone() }
    }
}

/// A launch under way in a round.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LaunchGoal {
    pub(in crate::engine) worker_type: WorkerTypeName,
    /// Instances still to ask for.
    pub(in crate::engine) remaining: u64,
    /// How many of them no task waits for: they are asked for in excess or in advance.
    pub(in crate::engine) extra: u64,
    pub(in crate::engine) reason: Reason,
    /// Pools that refused in this round. Each pool is asked once.
    pub(in crate::engine) tried: BTreeSet<String>,
    /// After a quota refused, ask for no more than this at once.
    pub(in crate::engine) at_most: u64,
}

impl LaunchGoal {
    pub(in crate::engine) fn new(
        worker_type: WorkerTypeName,
        remaining: u64,
        extra: u64,
        reason: Reason,
    ) -> Self {
        Self { worker_type, remaining, extra, reason, tried: BTreeSet::new(), at_most: u64::MAX }
    }

    /// How many of [`remaining`](Self::remaining) tasks or the minimum need.
    pub(in crate::engine) fn needed(&self) -> u64 {
        self.remaining.saturating_sub(self.extra)
    }
}

/// Returns all placements of a worker type in order of preference: by type first, then by zone.
pub(in crate::engine) fn all(
    worker_type: &WorkerType,
    resolved: &ResolvedWorkerType,
) -> Vec<Placement> {
    let in_placement = |instance_type: &InstanceType, placement: &ResolvedPlacement| Placement {
        instance_type: instance_type.clone(),
        placement: placement.clone(),
    };
    worker_type
        .instance_types
        .iter()
        .flat_map(|instance_type| {
            resolved.placements.iter().map(move |placement| in_placement(instance_type, placement))
        })
        .collect()
}

/// Returns why nothing is launched with the worker type's instance profile now, if so.
pub(in crate::engine) fn held_profile(
    worker_type: &WorkerType,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Option<NoPlacement> {
    let profile = worker_type.iam_instance_profile.as_ref()?;
    let until = memory.unknown_profiles.get(profile)?.held_until(interval, now)?;
    Some(NoPlacement::UnknownProfile { until, profile: profile.clone() })
}

/// Whether nothing speaks against launching in `placement`: it did not refuse lately, and its quota is
/// not used up.
pub(in crate::engine) fn is_open(placement: &Placement, memory: &Memory, now: Timestamp) -> bool {
    breaker(&placement.instance_type, memory, now).is_none()
        && placement
            .names()
            .iter()
            .filter_map(|name| memory.cool_downs.get(name))
            .all(|cool_down| cool_down.until() <= now)
}

/// The name of a pool seen from one subnet, for refusals that concern the subnet alone.
pub(in crate::engine) fn in_subnet(pool: &Pool, subnet: &SubnetId) -> String {
    format!("{pool}, {subnet}")
}

fn breaker<'m>(
    instance_type: &InstanceType,
    memory: &'m Memory,
    now: Timestamp,
) -> Option<(&'m String, &'m CoolDown)> {
    memory.breakers.iter().find(|(name, breaker)| {
        now < breaker.until() && **name == quota(&breaker.code, instance_type)
    })
}

/// Returns the placement to ask next.
///
/// A pool that refused lately is passed over while there is another one. If there is none, it is tried
/// all the same, at growing pauses: a penalty must never starve the only option.
pub(in crate::engine) fn next(
    placements: &[Placement],
    tried: &BTreeSet<String>,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Result<Placement, NoPlacement> {
    let mut obstacle = NoPlacement::AllTried;
    let mut cooling: Option<(Timestamp, Timestamp, &Placement, &CoolDown)> = None;
    for placement in placements {
        let names = placement.names();
        if names.iter().any(|name| tried.contains(name)) {
            continue;
        }
        if let Some((quota, breaker)) = breaker(&placement.instance_type, memory, now) {
            obstacle = NoPlacement::Quota { until: breaker.until(), quota: quota.clone() };
            continue;
        }
        let penalties = names.iter().filter_map(|name| memory.cool_downs.get(name));
        let penalties = penalties.filter(|penalty| now < penalty.until());
        let Some(penalty) = penalties.max_by_key(|penalty| penalty.until()) else {
            return Ok(placement.clone());
        };
        let at = penalty.only_option_at(interval);
        let is_first =
            cooling.is_none_or(|(before, until, ..)| (at, penalty.until()) < (before, until));
        if is_first {
            cooling = Some((at, penalty.until(), placement, penalty));
        }
    }
    match cooling {
        Some((at, _, placement, _)) if at <= now && tried.is_empty() => Ok(placement.clone()),
        Some((at, _, _, penalty)) => {
            Err(NoPlacement::Cooling { until: at, code: penalty.code.clone() })
        }
        None => Err(obstacle),
    }
}
