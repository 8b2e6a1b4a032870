//! Complete observations, as the adapter assembles them from all pages of the describe calls.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::ids::SpotRequestId;
use provisioner::internal::domain::observed::{Instance, Observation, SpotRequestState};
use provisioner::internal::domain::refusal::Refusal;

use super::World;
use super::calls::refusal;
use super::throttle::Call;
use crate::deployment::key;
use crate::faults::Faults;

/// The maximum number of records per page of a describe call (EC2 API Reference, `DescribeInstances`).
pub(super) const PAGE: usize = 1000;

/// How far the time of a signature may be off (AWS General Reference, "Signature Version 4": within five minutes).
const SIGNATURE_HOLDS: Duration = Duration::from_mins(5);

impl World {
    /// Returns a complete observation, with the faults of describe calls.
    ///
    /// # Errors
    ///
    /// EC2 refuses a page, and so there is no complete observation.
    pub fn describe(&mut self, tracked: &BTreeSet<SpotRequestId>) -> Result<Observation, Refusal> {
        self.must_be_signed_in_time()?;
        self.is_blind()?;
        let as_of = self.shown_as_of();
        let mut observation = self.observe_as_of(tracked, as_of);
        let records = (observation.instances.len(), observation.spot_requests.len());
        self.read_pages(records)?;
        if self.network.percent(self.faults.shifted) {
            self.shift(&mut observation);
        }
        self.observed = as_of;
        self.tidy_requests();
        Ok(observation)
    }

    /// Refuses a call whose signature has expired, or begins later.
    pub(crate) fn must_be_signed_in_time(&self) -> Result<(), Refusal> {
        if self.checks_signatures && self.caller_ahead.unsigned_abs() > SIGNATURE_HOLDS {
            return Err(refusal("RequestExpired", "Request has expired."));
        }
        Ok(())
    }

    fn is_blind(&mut self) -> Result<(), Refusal> {
        if self.network.percent(self.faults.blind) {
            return Err(refusal("InternalError", "An internal error has occurred"));
        }
        Ok(())
    }

    /// Takes the tokens for reading so many instances and requests.
    fn read_pages(&mut self, (instances, requests): (usize, usize)) -> Result<(), Refusal> {
        let Some(throttle) = &mut self.throttle else { return Ok(()) };
        let pages = |records: usize| records.div_ceil(self.page.max(1)).max(1);
        let calls = pages(instances) + pages(requests);
        if (0..calls).all(|_| throttle.admits(Call::Describe, self.now)) {
            return Ok(());
        }
        Err(refusal("RequestLimitExceeded", "Request limit exceeded."))
    }

    /// Lets pages shift while they are read: a record appears twice. EC2 promises no order.
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

    /// Returns the time whose state a page shows, which is not always the present.
    pub(crate) fn shown_as_of(&mut self) -> Timestamp {
        let Faults { backwards, back, .. } = self.faults;
        if back.is_zero() || !self.network.percent(backwards) {
            return self.now;
        }
        let back = self.network.between(Duration::ZERO, back);
        self.now.checked_sub(back).unwrap_or(self.now)
    }

    /// Returns the earliest time whose state a page may still show.
    pub(super) fn oldest_shown(&self) -> Timestamp {
        self.now.checked_sub(self.faults.back).unwrap_or(self.now)
    }

    /// Returns everything under our key-name that describe calls show now, and the `tracked` requests.
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
        // Like the adapter: the requests of instances without a worker type in their tags.
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
