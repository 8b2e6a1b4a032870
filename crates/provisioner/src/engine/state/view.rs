//! What the last observation showed, and the little that is carried from one to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Demand;
use crate::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use crate::engine::state::index::Index;

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
    /// Worker types for which tasks are pending in this one.
    waits: BTreeSet<WorkerTypeName>,
    /// Worker types of which an instance came up since the demand was last known.
    pub(in crate::engine) came_up: BTreeSet<WorkerTypeName>,
    /// Instances tagged in the last minute, whose tags EC2 may not show yet.
    pub(in crate::engine) tagged_lately: BTreeMap<InstanceId, Timestamp>,
}

impl View {
    /// Remembers which worker types have pending tasks, and which had in the round before.
    pub(in crate::engine) fn note_demand(&mut self, demand: Option<&Demand>) {
        let waits = demand.map(|demand| demand.pending.keys().cloned().collect());
        self.waited = std::mem::replace(&mut self.waits, waits.unwrap_or_default());
    }

    /// Forgets the instances whose new tags must be visible by now.
    pub(in crate::engine) fn forget_old_tags(&mut self, now: Timestamp) {
        self.tagged_lately.retain(|_, at| clock::age(*at, now) < TAG_AGAIN_AFTER);
    }
}
