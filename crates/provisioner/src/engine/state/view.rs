//! What the last observation showed, and the little that is carried from one to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::clock;
use crate::domain::demand::{Demand, PendingTasks};
use crate::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use crate::engine::state::durable::moved;
use crate::engine::state::index::Index;
use crate::engine::state::other_ledgers::OtherLedgers;

/// EC2 shows a new tag within seconds, mostly: an instance is tagged again only after this long.
pub(in crate::engine) const TAG_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What is in sight.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct View {
    /// Everything under the key-name, by owner.
    pub(in crate::engine) index: Index,
    /// The requests that the last observation showed, per unanswered intent.
    pub(in crate::engine) seen_by_intent: BTreeMap<ClientToken, u32>,
    /// Worker types for which tasks were pending in the round before.
    pub(in crate::engine) waited: BTreeSet<WorkerTypeName>,
    /// The pending tasks of the last known demand.
    pending: BTreeMap<WorkerTypeName, PendingTasks>,
    /// Worker types of which a task left PENDING since the demand before: something took it.
    pub(in crate::engine) left_pending: BTreeSet<WorkerTypeName>,
    /// Launches of other ledgers under our key-name.
    pub(in crate::engine) other_ledgers: OtherLedgers,
    /// Instances tagged in the last minute, whose tags EC2 may not show yet.
    pub(in crate::engine) tagged_lately: BTreeMap<InstanceId, Timestamp>,
}

impl View {
    /// What a process that starts now has in sight: nothing.
    pub(in crate::engine) fn new(now: Timestamp) -> Self {
        Self { other_ledgers: OtherLedgers::since(now), ..Self::default() }
    }

    /// Remembers which worker types have pending tasks, which had in the round before, and of which a task was
    /// taken since: fewer wait, or the oldest is another one.
    pub(in crate::engine) fn note_demand(&mut self, demand: Option<&Demand>) {
        self.left_pending.clear();
        self.waited.clear();
        let Some(demand) = demand else { return };
        for (name, before) in &self.pending {
            let now = demand.pending.get(name).copied().unwrap_or_default();
            let is_another = match (before.oldest, now.oldest) {
                (Some(before), Some(now)) => now > before,
                _ => false,
            };
            if now.count < before.count || is_another {
                self.left_pending.insert(name.clone());
            }
            self.waited.insert(name.clone());
        }
        self.pending.clone_from(&demand.pending);
    }

    /// Follows the clock, as all that is remembered does.
    pub(in crate::engine) fn follow_clock(&mut self, step: SignedDuration, now: Timestamp) {
        self.other_ledgers.follow_clock(step, now);
        for at in self.tagged_lately.values_mut() {
            *at = moved(*at, step).min(now);
        }
    }

    /// Forgets the instances whose new tags must be visible by now.
    pub(in crate::engine) fn forget_old_tags(&mut self, now: Timestamp) {
        self.tagged_lately.retain(|_, at| clock::age(*at, now) < TAG_AGAIN_AFTER);
    }
}
