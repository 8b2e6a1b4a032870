//! A launch under way in a round, and the choice of the place where it is asked for next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::cool_down::CoolDown;
use crate::domain::ids::{SubnetId, WorkerTypeName};
use crate::engine::decide::detail::NoPlacement;
use crate::engine::decide::plan::Reason;
use crate::engine::state::memory::Memory;
use crate::engine::state::places::{Placement, breaker, profile_held_until};
use crate::settings::WorkerType;

/// A launch under way in a round.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LaunchGoal {
    pub(in crate::engine) worker_type: WorkerTypeName,
    /// Instances still to ask for.
    pub(in crate::engine) remaining: u64,
    /// How many of them no task waits for: they are asked for in excess or in advance.
    pub(in crate::engine) extra: u64,
    pub(in crate::engine) reason: Reason,
    pub(in crate::engine) tries: Tries,
}

/// What the places have answered to a goal in this round.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Tries {
    /// The places and pools that refused. Each is asked once.
    pub(in crate::engine) refused: BTreeSet<String>,
    /// How many instances each place granted.
    pub(in crate::engine) granted: BTreeMap<String, u64>,
    /// After a quota refused, the most that is asked for at once.
    pub(in crate::engine) at_most: u64,
    /// After a subnet refused for want of addresses, the most that it is asked for at once.
    pub(in crate::engine) at_most_in: BTreeMap<String, u64>,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            refused: BTreeSet::new(),
            granted: BTreeMap::new(),
            at_most: u64::MAX,
            at_most_in: BTreeMap::new(),
        }
    }
}

impl Tries {
    /// The most that a place may be asked for at once.
    fn at_most(&self, placement: &Placement) -> u64 {
        let in_place = self.at_most_in.get(&placement.name()).copied().unwrap_or(u64::MAX);
        self.at_most.min(in_place)
    }
}

impl LaunchGoal {
    pub(in crate::engine) fn new(
        worker_type: WorkerTypeName,
        remaining: u64,
        extra: u64,
        reason: Reason,
    ) -> Self {
        Self { worker_type, remaining, extra, reason, tries: Tries::default() }
    }

    /// How many of [`remaining`](Self::remaining) tasks or the minimum need.
    pub(in crate::engine) fn needed(&self) -> u64 {
        self.remaining.saturating_sub(self.extra)
    }
}

/// Where a goal is asked for next, and for how many instances at most.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Choice {
    pub(in crate::engine) placement: Placement,
    pub(in crate::engine) at_most: u64,
}

impl Choice {
    fn of(placement: &Placement, at_most: u64) -> Self {
        Self { placement: placement.clone(), at_most }
    }
}

/// What the choice of a place depends on besides the places and what they have answered.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Circumstances<'a> {
    pub(in crate::engine) worker_type: &'a WorkerTypeName,
    pub(in crate::engine) memory: &'a Memory,
    /// How many addresses launches took in each subnet since it was last looked up.
    pub(in crate::engine) addresses_taken: &'a BTreeMap<SubnetId, u64>,
    pub(in crate::engine) interval: Duration,
    pub(in crate::engine) now: Timestamp,
}

/// Where so many places or more are open, no place takes more than half of a goal: a place whose capacity
/// cannot be told would keep all of its tasks waiting.
const SPREAD_FROM: usize = 3;

/// Returns why nothing is launched with the worker type's instance profile now, if so.
pub(in crate::engine) fn held_profile(
    worker_type: &WorkerType,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Option<NoPlacement> {
    let (profile, until) = profile_held_until(worker_type, memory, interval, now)?;
    Some(NoPlacement::UnknownProfile { until, profile: profile.clone() })
}

/// Returns the place to ask next for the `remaining` instances of a goal.
///
/// A place that refused lately is passed over as long as another place is open. Otherwise it is tried in spite of
/// its penalty, at growing pauses: a penalty must never starve the only option.
pub(in crate::engine) fn next(
    placements: &[Placement],
    remaining: u64,
    tries: &Tries,
    circumstances: Circumstances<'_>,
) -> Result<Choice, NoPlacement> {
    let Circumstances { worker_type, memory, interval, now, .. } = circumstances;
    if placements.is_empty() {
        return Err(NoPlacement::NotOffered);
    }
    let mut obstacle = NoPlacement::AllTried;
    let mut cooling: Option<(Timestamp, Timestamp, &Placement, &CoolDown)> = None;
    let mut open = Vec::new();
    let mut full = None;
    for placement in placements {
        if placement.names().any(|name| tries.refused.contains(&name)) {
            continue;
        }
        if let Some((quota, breaker)) = breaker(&placement.instance_type, memory, now) {
            obstacle = NoPlacement::Quota { until: breaker.until(), quota: quota.clone() };
            continue;
        }
        let Some(penalty) = placement.penalty(worker_type, memory, now) else {
            match addresses_left(placement, circumstances) {
                Some(0) => full = full.or(Some(placement)),
                left => open.push((placement, left)),
            }
            continue;
        };
        let at = penalty.only_option_at(interval);
        let is_first =
            cooling.is_none_or(|(before, until, ..)| (at, penalty.until()) < (before, until));
        if is_first {
            cooling = Some((at, penalty.until(), placement, penalty));
        }
    }
    let (trials, sure): (Vec<_>, Vec<_>) =
        open.iter().copied().partition(|(placement, _)| is_on_trial(placement, memory));
    let trial = trials.into_iter().find(|(placement, _)| may_be_tried(placement, tries, memory));
    // A place that is on trial takes one instance, while there are others for the rest.
    if let Some((placement, _)) = trial.filter(|_| !sure.is_empty()) {
        return Ok(Choice::of(placement, tries.at_most(placement).min(1)));
    }
    let candidates = if sure.is_empty() { &open } else { &sure };
    if let Some(choice) = choose(candidates, remaining, tries) {
        return Ok(choice);
    }
    match (full, cooling) {
        // The look-up may be old: its answer does not keep a task waiting.
        (Some(placement), _) => Ok(Choice::of(placement, tries.at_most(placement).min(1))),
        (None, Some((at, _, placement, _))) if at <= now && tries.refused.is_empty() => {
            Ok(Choice::of(placement, tries.at_most(placement)))
        }
        (None, Some((at, _, _, penalty))) => {
            Err(NoPlacement::Cooling { until: at, code: penalty.code.clone() })
        }
        (None, None) => Err(obstacle),
    }
}

/// Whether the place has not launched since its last refusal, whose penalty is over.
fn is_on_trial(placement: &Placement, memory: &Memory) -> bool {
    placement.names().any(|name| memory.pools.get(&name).is_some_and(|it| it.penalty().is_some()))
}

/// Whether nothing is on trial there already: neither from this goal nor from an earlier round.
fn may_be_tried(placement: &Placement, tries: &Tries, memory: &Memory) -> bool {
    let pool = placement.pool();
    !tries.granted.contains_key(&placement.name())
        && !memory.open.values().any(|open| open.pool == pool)
}

/// The first of the open places, in order of preference, that has not taken its share of the goal yet.
fn choose(open: &[(&Placement, Option<u64>)], remaining: u64, tries: &Tries) -> Option<Choice> {
    let total = remaining + tries.granted.values().sum::<u64>();
    let share = if open.len() < SPREAD_FROM { u64::MAX } else { (total / 2).max(1) };
    let within = |&(placement, left): &(&Placement, Option<u64>), share: u64| {
        let at_most = share.min(left.unwrap_or(u64::MAX)).min(tries.at_most(placement));
        Choice::of(placement, at_most)
    };
    let with_room = open.iter().map(|place| {
        let granted = tries.granted.get(&place.0.name()).copied().unwrap_or(0);
        within(place, share.saturating_sub(granted))
    });
    // Where all have taken their share, any may take what others did not grant.
    let any = || open.first().map(|place| within(place, u64::MAX));
    with_room.into_iter().find(|choice| choice.at_most > 0).or_else(any)
}

/// How many free addresses the subnet still has, as far as that is known.
fn addresses_left(placement: &Placement, circumstances: Circumstances<'_>) -> Option<u64> {
    let free = placement.placement.free_addresses?;
    let subnet = placement.placement.subnet.as_ref()?;
    let taken = circumstances.addresses_taken.get(subnet).copied().unwrap_or(0);
    Some(free.saturating_sub(taken))
}
