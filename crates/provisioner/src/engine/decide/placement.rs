//! Where a worker type may launch, and which of these comes next.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{InstanceType, SubnetId, WorkerTypeName};
use crate::domain::launch::{LaunchCall, Pool, ResolvedPlacement, ResolvedWorkerType};
use crate::engine::decide::plan::{NoteKind, Reason};
use crate::engine::state::memory::{CoolDown, Memory, quota};
use crate::settings::WorkerType;

/// An instance type in a place.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Placement {
    pub(in crate::engine) instance_type: InstanceType,
    pub(in crate::engine) placement: ResolvedPlacement,
}

impl Placement {
    /// The names that refusals there go by: the pool, and the pool seen from the subnet.
    fn names(&self) -> Vec<String> {
        let pool = self.pool();
        let subnet = self.placement.subnet.as_ref().map(|subnet| in_subnet(&pool, subnet));
        std::iter::once(pool.to_string()).chain(subnet).collect()
    }

    /// Whether `call` asks for this.
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
    /// How many of these no task waits for: asked for in excess or in advance.
    pub(in crate::engine) extra: u64,
    pub(in crate::engine) reason: Reason,
    /// Pools that refused in this round: each is asked once.
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

/// Why there is nowhere to launch now.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) enum NoPlacement {
    /// Every pool left refused lately.
    Cooling { until: Timestamp, code: String },
    /// The quotas of every type left are used up.
    Quota { until: Timestamp, quota: String },
    /// EC2 does not know the instance profile yet.
    UnknownProfile { until: Timestamp, profile: String },
    /// Every pool was tried in this round.
    AllTried,
}

impl NoPlacement {
    pub(in crate::engine) fn kind(&self) -> NoteKind {
        match self {
            Self::Cooling { .. } | Self::AllTried => NoteKind::CoolingDown,
            Self::Quota { .. } => NoteKind::QuotaExceeded,
            Self::UnknownProfile { .. } => NoteKind::ProfileNotVisible,
        }
    }
}

impl fmt::Display for NoPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooling { until, code } => {
                write!(f, "every type and zone refused lately ({code}); tried again at {until}")
            }
            Self::Quota { until, quota } => {
                write!(f, "the account's quota is used up: {quota}; tried again at {until}")
            }
            Self::UnknownProfile { until, profile } => {
                write!(
                    f,
                    "EC2 does not know the instance profile `{profile}` yet (what IAM makes reaches it within \
                     minutes); tried again at {until}"
                )
            }
            Self::AllTried => f.write_str("every type and zone refused in this round"),
        }
    }
}

/// All places of a worker type, in order of preference: types first, then zones.
pub(in crate::engine) fn all(
    worker_type: &WorkerType,
    resolved: &ResolvedWorkerType,
) -> Vec<Placement> {
    let place = |instance_type: &InstanceType, placement: &ResolvedPlacement| Placement {
        instance_type: instance_type.clone(),
        placement: placement.clone(),
    };
    worker_type
        .instance_types
        .iter()
        .flat_map(|instance_type| {
            resolved.placements.iter().map(move |placement| place(instance_type, placement))
        })
        .collect()
}

/// Why nothing is launched with the worker type's instance profile now, if so.
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

/// Whether nothing speaks against asking there: no late refusal, and a quota with room.
pub(in crate::engine) fn is_open(place: &Placement, memory: &Memory, now: Timestamp) -> bool {
    breaker(&place.instance_type, memory, now).is_none()
        && place
            .names()
            .iter()
            .filter_map(|name| memory.cool_downs.get(name))
            .all(|it| it.until() <= now)
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

/// The place to ask next.
///
/// A pool that refused lately is passed over while there is another. If there is none, it is tried
/// all the same, at growing pauses: a penalty must never starve the only option.
pub(in crate::engine) fn next(
    places: &[Placement],
    tried: &BTreeSet<String>,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Result<Placement, NoPlacement> {
    let mut nowhere = NoPlacement::AllTried;
    let mut cooling: Option<(Timestamp, Timestamp, &Placement, &CoolDown)> = None;
    for place in places {
        let names = place.names();
        if names.iter().any(|name| tried.contains(name)) {
            continue;
        }
        if let Some((quota, breaker)) = breaker(&place.instance_type, memory, now) {
            nowhere = NoPlacement::Quota { until: breaker.until(), quota: quota.clone() };
            continue;
        }
        let penalties = names.iter().filter_map(|name| memory.cool_downs.get(name));
        match penalties.filter(|it| now < it.until()).max_by_key(|it| it.until()) {
            None => return Ok(place.clone()),
            Some(penalty) => {
                let at = penalty.only_option_at(interval);
                let first = cooling
                    .is_none_or(|(before, until, ..)| (at, penalty.until()) < (before, until));
                if first {
                    cooling = Some((at, penalty.until(), place, penalty));
                }
            }
        }
    }
    match cooling {
        Some((at, _, place, _)) if at <= now && tried.is_empty() => Ok(place.clone()),
        Some((at, _, _, penalty)) => {
            Err(NoPlacement::Cooling { until: at, code: penalty.code.clone() })
        }
        None => Err(nowhere),
    }
}
