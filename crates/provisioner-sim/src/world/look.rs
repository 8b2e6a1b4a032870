//! What describe calls show: one complete look, as the adapter makes of all their pages.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::domain::ids::SpotRequestId;
use provisioner::domain::observed::{Instance, Observation, SpotRequestState};
use provisioner::domain::refusal::Refusal;

use super::World;
use super::calls::refusal;
use super::throttle::Call;
use crate::deployment::key;
use crate::faults::Faults;

/// Records per page of a describe call, at most (EC2 API Reference, `DescribeInstances`).
pub(super) const PAGE: usize = 1000;

impl World {
    /// Looks, as a driver does: some looks fail.
    ///
    /// # Errors
    ///
    /// EC2 refuses a page; then there is no look at all.
    pub fn look(&mut self, tracked: &BTreeSet<SpotRequestId>) -> Result<Observation, Refusal> {
        self.is_blind()?;
        let as_of = self.shown_as_of();
        let mut observation = self.observe_as_of(tracked, as_of);
        let records = (observation.instances.len(), observation.spot_requests.len());
        self.read_pages(records)?;
        if self.network.percent(self.faults.shifted) {
            self.shift(&mut observation);
        }
        self.looked = as_of;
        self.tidy_requests();
        Ok(observation)
    }

    fn is_blind(&mut self) -> Result<(), Refusal> {
        if self.network.percent(self.faults.blind) {
            return Err(refusal("InternalError", "An internal error has occurred"));
        }
        Ok(())
    }

    /// Reads so many instances and requests, if the token bucket has it.
    fn read_pages(&mut self, (instances, requests): (usize, usize)) -> Result<(), Refusal> {
        let Some(throttle) = &mut self.throttle else { return Ok(()) };
        let pages = |records: usize| records.div_ceil(self.page.max(1)).max(1);
        let calls = pages(instances) + pages(requests);
        if (0..calls).all(|_| throttle.admits(Call::Describe, self.now)) {
            return Ok(());
        }
        Err(refusal("RequestLimitExceeded", "Request limit exceeded."))
    }

    /// Pages that shift while they are read show a record twice, and no order is promised.
    fn shift(&mut self, observation: &mut Observation) {
        if let Some(twice) = self.network.pick(&observation.instances).cloned() {
            observation.instances.push(twice);
        }
        if let Some(twice) = self.network.pick(&observation.spot_requests).cloned() {
            observation.spot_requests.push(twice);
        }
        observation.instances.reverse();
        observation.spot_requests.reverse();
    }

    /// As of when a page shows what it shows: not always the present.
    pub(crate) fn shown_as_of(&mut self) -> Timestamp {
        let Faults { backwards, back, .. } = self.faults;
        if back.is_zero() || !self.network.percent(backwards) {
            return self.now;
        }
        let back = self.network.between(Duration::ZERO, back);
        self.now.checked_sub(back).unwrap_or(self.now)
    }

    /// The earliest that any page may still show.
    pub(super) fn oldest_shown(&self) -> Timestamp {
        self.now.checked_sub(self.faults.back).unwrap_or(self.now)
    }

    /// Everything under our key-name that describe calls show now, and the `tracked` requests.
    pub fn observe(&self, tracked: &BTreeSet<SpotRequestId>) -> Observation {
        self.observe_as_of(tracked, self.now)
    }

    fn observe_as_of(&self, tracked: &BTreeSet<SpotRequestId>, as_of: Timestamp) -> Observation {
        let ours = key();
        let instances: Vec<Instance> = self
            .machines
            .iter()
            .filter(|(_, machine)| machine.key == ours)
            .filter_map(|(_, machine)| machine.record.seen(as_of).cloned())
            .collect();
        // As the adapter does: the requests of instances that do not say themselves what they are.
        let untagged = instances
            .iter()
            .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
            .filter_map(|instance| instance.spot_request.as_ref());
        let mut numbers: BTreeSet<usize> =
            untagged.chain(tracked).filter_map(|id| self.requests.number(id)).collect();
        let by_id = numbers.clone();
        numbers.extend(&self.requests.current);
        let spot_requests = numbers
            .into_iter()
            .map(|no| (no, self.requests.at(no)))
            .filter(|(_, request)| request.key == ours)
            .filter_map(|(no, request)| {
                let request = request.record.seen(as_of)?;
                let on_the_pages =
                    matches!(request.state, SpotRequestState::Open | SpotRequestState::Active);
                (on_the_pages || by_id.contains(&no)).then(|| request.clone())
            })
            .collect();
        Observation { instances, spot_requests, key_pair: self.key_pair }
    }
}
