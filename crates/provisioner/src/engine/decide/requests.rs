//! Open requests that are not worth waiting for: too late, not to be filled, or not needed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Draft;
use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::engine::decide::detail::{MachineNote, ReasonDetail};
use crate::engine::state::group::{Group, UNFILLABLE_AFTER};
use crate::engine::state::machine::OpenRequest;
use crate::engine::state::places;
use crate::policy::CapacityTarget;
use crate::settings::WorkerType;

impl<'a> Draft<'a> {
    pub(super) fn timed_out_requests(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &'a Group,
    ) {
        let now = self.decide.now;
        let timeout = worker_type.request_timeout;
        let late = group.open.iter().filter(|request| clock::after(request.asked, timeout) <= now);
        self.cancel(Some(name), late, |cancelled| ReasonDetail::RequestTimeout {
            cancelled,
            timeout,
        });
    }

    /// Cancels requests that cannot be filled where they are, if there is somewhere else.
    pub(super) fn unfillable_requests(&mut self, name: &WorkerTypeName, group: &'a Group) {
        let decide = self.decide;
        let now = decide.now;
        let unfillable: Vec<_> =
            group.open.iter().filter(|request| is_unfillable(request, now)).collect();
        if unfillable.is_empty() {
            return;
        }
        let placements = places::of(name, decide.settings, decide.resolved);
        let (movable, waiting): (Vec<_>, Vec<_>) = unfillable.into_iter().partition(|request| {
            placements.iter().any(|placement| {
                placement.pool() != request.pool && placement.is_open(name, decide.memory, now)
            })
        });
        let status_codes: BTreeSet<_> =
            movable.iter().map(|request| &request.status_code).collect();
        self.cancel(Some(name), movable, |cancelled| ReasonDetail::NoCapacity {
            cancelled,
            status_codes,
        });
        if let Some(request) = waiting.first() {
            let status_code = &request.status_code;
            let requests = waiting.len();
            self.note_about(name, &MachineNote::WaitingForCapacity { requests, status_code });
        }
    }

    /// Cancels the requests that no task needs: first those that cannot be filled, then the youngest.
    pub(super) fn unneeded_requests(
        &mut self,
        name: &WorkerTypeName,
        group: &'a Group,
        target: CapacityTarget,
    ) {
        let now = self.decide.now;
        let (mut open, going): (Vec<_>, Vec<_>) = group
            .open
            .iter()
            .partition(|request| !request.cancelled && !self.cancelled.contains(&request.id));
        open.retain(|request| request.touchable);
        open.sort_by_key(|request| (!is_unfillable(request, now), Reverse(request.asked)));
        // Requests cancelled for another reason, now or before, are part of the excess.
        let excess = self.coming(name, group).saturating_sub(target.coming);
        let excess = excess.saturating_sub(going.len() as u64);
        open.truncate(usize::try_from(excess).unwrap_or(usize::MAX));
        let pending = self.pending(name);
        let in_flight = self.in_flight(name).count;
        self.cancel(Some(name), open, |cancelled| ReasonDetail::NoDemand {
            cancelled,
            open: group.open.len() as u64,
            pending,
            free_slots: group.counts.free_slots,
            in_flight,
        });
    }
}

/// Whether the status has said for long enough that this request cannot be filled where it is.
fn is_unfillable(request: &OpenRequest, now: Timestamp) -> bool {
    request.unfillable_since.is_some_and(|since| clock::after(since, UNFILLABLE_AFTER) <= now)
}
