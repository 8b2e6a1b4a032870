//! The calls that change something: `RequestSpotInstances`,
//! `CancelSpotInstanceRequests`, `TerminateInstances` and `CreateTags`, with everything that can go wrong on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{InstanceId, InstanceType, SpotRequestId, VolumeId};
use provisioner::internal::domain::launch::LaunchCall;
use provisioner::internal::domain::observed::{KeyPair, OwnTags, SpotRequestState};
use provisioner::internal::domain::refusal::{Refusal, RefusalClass, classify_answer};
use provisioner::internal::engine::{Effect, GrantedRequest, Outcome};

use super::throttle::Call;
use super::{AnsweredLaunch, World};
use crate::deployment::key;

/// Returns a refusal with `code`, classified like the adapter does.
pub(crate) fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    let message = message.into();
    let class = classify_answer(code, &message).unwrap_or(RefusalClass::Transient);
    Refusal { class, code: code.to_owned(), message, request_id: None }
}

/// Returns EC2's message about an unknown instance profile.
pub fn unknown_profile(name: &str) -> String {
    format!(
        "Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    )
}

fn refused(code: &str, message: impl Into<String>) -> Outcome {
    Outcome::Refused(refusal(code, message))
}

impl World {
    /// Carries out an effect, with the faults of the network and of EC2. The driver writes the ledger itself.
    pub fn execute(&mut self, effect: &Effect) -> Outcome {
        if self.network.percent(self.faults.lost_before) {
            return refused("RequestTimeout", "no answer");
        }
        if let Err(refusal) = self.must_be_signed_in_time() {
            return Outcome::Refused(refusal);
        }
        if self.network.percent(self.faults.throttled) || !self.admits(effect) {
            return refused("RequestLimitExceeded", "Request limit exceeded.");
        }
        let mut outcome = self.obey(effect);
        if self.network.percent(self.faults.duplicated) {
            outcome = self.obey(effect);
        }
        if !self.faults.slow.is_zero() {
            let slow = self.network.between(Duration::ZERO, self.faults.slow);
            self.advance(clock::after(self.now, slow));
        }
        if self.network.percent(self.faults.lost_after) {
            return refused("RequestTimeout", "the answer was lost");
        }
        outcome
    }

    fn admits(&mut self, effect: &Effect) -> bool {
        let call = match effect {
            Effect::PersistLedger(_) => return true,
            Effect::Request(_) => Call::Request,
            Effect::Cancel(_) => Call::Cancel,
            Effect::Terminate(_) => Call::Terminate,
            Effect::Tag { .. } => Call::Tag,
        };
        self.throttle.as_mut().is_none_or(|throttle| throttle.admits(call, self.now))
    }

    /// Carries out a call that has reached EC2.
    pub fn obey(&mut self, effect: &Effect) -> Outcome {
        match effect {
            Effect::PersistLedger(_) => Outcome::Done,
            Effect::Request(call) => {
                let outcome = self.request(call);
                let answer = match &outcome {
                    Outcome::Requested(granted) => format!("{} granted", granted.len()),
                    Outcome::Refused(refusal) => refusal.code.clone(),
                    other => format!("{other:?}"),
                };
                if call.key_name == key() {
                    self.calls.push(AnsweredLaunch {
                        at: self.now,
                        pool: call.pool(),
                        worker_type: call.worker_type.clone(),
                        count: call.count,
                        answer,
                    });
                }
                outcome
            }
            Effect::Cancel(ids) => self.cancel(ids),
            Effect::Terminate(ids) => self.terminate(ids),
            Effect::Tag { instances, volumes, tags } => self.tag(instances, volumes, tags),
        }
    }

    fn must_be_ours(&mut self, id: &InstanceId, does: &str) {
        let Some(machine) = self.machines.get(id) else {
            return self.violations.push(format!("{does} {id}, which does not exist"));
        };
        let truth = machine.truth();
        let disputed = truth.tags.key_name.as_ref().is_some_and(|name| *name != key());
        let stray = machine.worker_type.is_none();
        let forbidden = stray && self.key_pair != KeyPair::Ours;
        if machine.key != key() || disputed || forbidden {
            let text = format!("{does} {id}, which is not ours: {truth:?}");
            self.violations.push(text);
        }
    }

    fn request(&mut self, call: &LaunchCall) -> Outcome {
        if let Some((first, numbers)) = self.tokens.get(&call.token) {
            if first != call {
                return refused("IdempotentParameterMismatch", "another call had this token");
            }
            return self.answer(numbers);
        }
        let of_type = self.refused_types.get(&call.instance_type);
        if let Some(code) = self.refused.get(&call.worker_type).or(of_type) {
            return refused(code, "it is broken");
        }
        if call.valid_until <= self.now {
            return refused("InvalidParameterValue", "ValidUntil is in the past");
        }
        let profile = call.iam_instance_profile.as_ref();
        if let Some(profile) = profile.filter(|profile| self.unknown_profiles.contains(*profile)) {
            return refused("InvalidParameterValue", unknown_profile(profile));
        }
        let group = call.instance_type.as_str().chars().next().unwrap_or(' ');
        if let Some(most) = self.quotas.get(&group) {
            let of_group = |t: &InstanceType| t.as_str().starts_with(group);
            let used = self.open().filter(|r| of_group(&r.instance_type)).count()
                + self.live().filter(|(_, m)| of_group(&m.truth().instance_type)).count();
            if used as u64 + u64::from(call.count) > *most {
                return refused("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded");
            }
        }
        if let Some(id) = &call.subnet
            && let Some(subnet) = self.subnets.get(id)
            && subnet.free < u64::from(call.count)
        {
            let message = format!(
                "There are not enough free addresses in subnet '{id}' to satisfy the requested number of instances."
            );
            return refused("InsufficientFreeAddressesInSubnet", message);
        }
        let mut count = u64::from(call.count);
        if self.network.percent(self.faults.partial) {
            count = 1 + self.network.below(count);
        }
        let shared = Arc::new(call.clone());
        let numbers: Vec<_> = (0..count).map(|_| self.make_request(&shared)).collect();
        self.tokens.insert(call.token.clone(), (call.clone(), numbers.clone()));
        // Some requests are fulfilled at once.
        self.advance(self.now);
        self.answer(&numbers)
    }

    fn answer(&self, numbers: &[usize]) -> Outcome {
        let granted = |no: &usize| {
            let request = self.requests.at(*no).truth();
            GrantedRequest { id: request.id.clone(), state: request.state.clone() }
        };
        Outcome::Requested(numbers.iter().map(granted).collect())
    }

    /// Returns a refusal if one id is unknown to EC2, which may fail the complete call.
    fn one_bad_id<'i, T: std::fmt::Display>(
        &mut self,
        ids: &'i [T],
        known: impl Fn(&Self, &'i T) -> bool,
        code: &str,
    ) -> Option<Outcome> {
        let bad = ids.iter().find(|id| !known(self, id))?;
        let message = format!("The ID '{bad}' does not exist");
        let fails = self.network.percent(self.faults.bulk_not_found);
        fails.then(|| refused(code, message))
    }

    fn cancel(&mut self, ids: &[SpotRequestId]) -> Outcome {
        let open = |world: &Self, id: &SpotRequestId| {
            let request = world.requests.get(id);
            request.is_some_and(|request| request.truth().state == SpotRequestState::Open)
        };
        let code = "InvalidSpotInstanceRequestID.NotFound";
        if let Some(refused) = self.one_bad_id(ids, open, code) {
            return refused;
        }
        for id in ids {
            let Some(no) = self.requests.number(id) else {
                self.violations.push(format!("cancels {id}, which does not exist"));
                continue;
            };
            let request = self.requests.at(no);
            let disputed =
                request.truth().tags.key_name.as_ref().is_some_and(|key_name| *key_name != key());
            if request.key != key() || disputed {
                self.violations.push(format!("cancels {id}, which is not ours"));
            }
            let code = match self.requests.at(no).truth().state {
                SpotRequestState::Open => "canceled-before-fulfillment",
                SpotRequestState::Active => "request-canceled-and-instance-running",
                SpotRequestState::Disabled
                | SpotRequestState::Closed
                | SpotRequestState::Cancelled
                | SpotRequestState::Failed
                | SpotRequestState::Unrecognised(_) => continue,
            };
            self.change_request(no, |request| {
                request.state = SpotRequestState::Cancelled;
                request.status_code = code.into();
            });
        }
        Outcome::Done
    }

    fn terminate(&mut self, ids: &[InstanceId]) -> Outcome {
        let lives = |world: &Self, id: &InstanceId| {
            world.machines.get(id).is_some_and(|machine| machine.truth().state.is_live())
        };
        if let Some(refused) = self.one_bad_id(ids, lives, "InvalidInstanceID.NotFound") {
            return refused;
        }
        for id in ids {
            self.must_be_ours(id, "terminates");
            self.end(id, "instance-terminated-by-user");
        }
        Outcome::Done
    }

    fn tag(
        &mut self,
        ids: &[InstanceId],
        volumes: &[VolumeId],
        tags: &BTreeMap<String, String>,
    ) -> Outcome {
        for id in volumes {
            if let Some(volume) = self.volumes.get_mut(id) {
                volume.tags.extend(tags.clone());
            }
            if let Some(machine) = self.machines.with_volume(id) {
                self.machines.at_mut(machine).volume_tags.extend(tags.clone());
            }
        }
        for id in ids {
            self.must_be_ours(id, "tags");
            if let Some(no) = self.machines.number(id) {
                let all = &mut self.machines.at_mut(no).tags;
                all.extend(tags.clone());
                let own = OwnTags::of(all);
                self.change_machine(no, |instance| {
                    instance.tags = own;
                    // Like the adapter: the volumes of tagged instances are not needed.
                    instance.volumes.clear();
                });
            }
        }
        Outcome::Done
    }
}
