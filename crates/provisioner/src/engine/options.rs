//! Where a worker type may launch, and which of these comes next.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::memory::{CoolDown, Memory, quota};
use crate::engine::plan::{NoteKind, Reason};
use crate::ids::{InstanceType, WorkerTypeName};
use crate::launch::{LaunchCall, Pool, ResolvedPlacement, ResolvedWorkerType};
use crate::settings::WorkerType;

/// An instance type in a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) instance_type: InstanceType,
    pub(super) placement: ResolvedPlacement,
}

impl Place {
    /// Whether `call` asks for this.
    pub(super) fn is_of(&self, call: &LaunchCall) -> bool {
        self.instance_type == call.instance_type
            && self.placement.zone == call.zone
            && self.placement.subnet == call.subnet
    }

    pub(super) fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.clone(), zone: self.placement.zone.clone() }
    }
}

/// A launch under way in a round.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    pub(super) worker_type: WorkerTypeName,
    /// Instances still to ask for.
    pub(super) remaining: u64,
    pub(super) reason: Reason,
    /// Pools that refused in this round: each is asked once.
    pub(super) tried: BTreeSet<Pool>,
    /// After a quota refused, ask for no more than this at once.
    pub(super) at_most: u64,
}

impl Goal {
    pub(super) fn new(worker_type: WorkerTypeName, remaining: u64, reason: Reason) -> Self {
        Self { worker_type, remaining, reason, tried: BTreeSet::new(), at_most: u64::MAX }
    }
}

/// Why there is nowhere to launch now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Nowhere {
    /// Every pool left refused lately.
    Cooling { until: Timestamp, code: String },
    /// The quotas of every type left are used up.
    Quota { until: Timestamp, quota: String },
    /// Every pool was tried in this round.
    AllTried,
}

impl Nowhere {
    pub(super) fn kind(&self) -> NoteKind {
        match self {
            Self::Cooling { .. } | Self::AllTried => NoteKind::CoolingDown,
            Self::Quota { .. } => NoteKind::QuotaExceeded,
        }
    }
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooling { until, code } => {
                write!(f, "every type and zone refused lately ({code}); tried again at {until}")
            }
            Self::Quota { until, quota } => {
                write!(f, "the account's quota is used up: {quota}; tried again at {until}")
            }
            Self::AllTried => f.write_str("every type and zone refused in this round"),
        }
    }
}

/// All places of a worker type, in order of preference: types first, then zones.
pub(super) fn all(worker_type: &WorkerType, resolved: &ResolvedWorkerType) -> Vec<Place> {
    let place = |instance_type: &InstanceType, placement: &ResolvedPlacement| Place {
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

/// Whether `pool` refused so lately that others come first.
pub(super) fn is_cooling(pool: &Pool, memory: &Memory, now: Timestamp) -> bool {
    memory.cool_downs.get(&pool.to_string()).is_some_and(|penalty| now < penalty.until())
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
pub(super) fn next(
    places: &[Place],
    tried: &BTreeSet<Pool>,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Result<Place, Nowhere> {
    let mut nowhere = Nowhere::AllTried;
    let mut cooling: Option<(Timestamp, Timestamp, &Place, &CoolDown)> = None;
    for place in places {
        let pool = place.pool();
        if tried.contains(&pool) {
            continue;
        }
        if let Some((quota, breaker)) = breaker(&place.instance_type, memory, now) {
            nowhere = Nowhere::Quota { until: breaker.until(), quota: quota.clone() };
            continue;
        }
        match memory.cool_downs.get(&pool.to_string()).filter(|penalty| now < penalty.until()) {
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
            Err(Nowhere::Cooling { until: at, code: penalty.code.clone() })
        }
        None => Err(nowhere),
    }
}
