//! Reconciles the in-flight ledger with an observation: granted requests, and unanswered launches.
//!
//! What leaves the ledger is no longer counted as in flight. So it stays until its instance or its
//! request has been visible for `visibility-window`, or must have been and was not.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Reconcile, Reconciled};
use crate::domain::clock;
use crate::domain::ids::SpotRequestId;
use crate::domain::launch::LaunchCall;
use crate::domain::ledger::{Granted, Intent, LEAST_LOOKS};
use crate::domain::observed::{SpotRequest, SpotRequestState};
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;

/// An unanswered call is repeated with its token while younger than this; EC2 keeps tokens longer
/// (EC2 API Reference, "Ensuring idempotency").
const REPEAT_FOR: Duration = Duration::from_mins(30);

/// Whether the call of `intent` is to be made again. An older one is settled by describe alone.
pub(in crate::engine) fn is_repeated(intent: &Intent, now: Timestamp) -> bool {
    intent.accepted.is_none()
        && intent.withdrawn.is_none()
        && now < clock::after(intent.call.decided, REPEAT_FOR)
}

/// What becomes of a granted request in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantedFate {
    /// It stays, counted as its visible instance.
    Arrived,
    /// It stays: an open request, an instance on its way, or a page that may lag.
    Stays,
    /// It is accounted for: an instance, or a request that ended.
    Leaves,
    /// It was never seen, although it must be visible by now.
    NeverSeen,
}

impl Reconcile<'_> {
    /// Drops the granted requests that are accounted for.
    pub(super) fn reconcile_granted(&mut self, join: &Join<'_>, reconciled: &mut Reconciled) {
        if self.ledger.granted.is_empty() {
            return;
        }
        let now = self.now;
        let before = self.ledger.granted.len();
        let mut newly_missed = false;
        let untagged = untagged_requests(join);
        let mut granted = std::mem::take(&mut self.ledger.granted);
        granted.retain(|id, granted| {
            let missed = granted.missed;
            let fate = self.granted_fate(id, granted, join, &untagged);
            newly_missed |= granted.missed > missed;
            match fate {
                GrantedFate::Arrived => {
                    reconciled.index.arrived.insert(id.clone());
                    true
                }
                GrantedFate::Stays => true,
                GrantedFate::Leaves => false,
                GrantedFate::NeverSeen => {
                    let age = clock::age(granted.at, now);
                    let note = MachineNote::GrantNeverSeen { request: id, age };
                    reconciled.notes.push(Note::about(&granted.worker_type, &note));
                    false
                }
            }
        });
        reconciled.ledger_changed |= newly_missed || before != granted.len();
        self.ledger.granted = granted;
    }

    /// Notes in `granted` what is seen of it, and returns what becomes of it.
    fn granted_fate(
        &self,
        id: &SpotRequestId,
        granted: &mut Granted,
        join: &Join<'_>,
        untagged: &BTreeSet<&SpotRequestId>,
    ) -> GrantedFate {
        let window = self.settings.provisioner.visibility_window;
        let stays = |stays: bool| if stays { GrantedFate::Stays } else { GrantedFate::Leaves };
        let request = join.request(id);
        let instance = join.instance_of(id);
        if instance.is_some() {
            granted.arrived.get_or_insert(self.now);
        }
        // For some time after an instance was seen, the next page may not show it again.
        let may_hide =
            granted.may_hide(window, self.now) && request.is_none_or(SpotRequest::may_run);
        if instance.is_some() {
            // An untagged instance whose request is not visible has its owner's name from here alone.
            let names_owner = request.is_none() && untagged.contains(id);
            return if may_hide || names_owner {
                GrantedFate::Arrived
            } else {
                GrantedFate::Leaves
            };
        }
        if let Some(request) = request {
            granted.last_seen = Some(self.now);
            granted.missed = 0;
            let open =
                matches!(request.state, SpotRequestState::Open | SpotRequestState::Unrecognised(_));
            return stays(open || may_hide || self.memory.fulfilled.contains_key(id));
        }
        if granted.arrived.is_some() {
            return stays(may_hide);
        }
        granted.missed = granted.missed.saturating_add(1).min(LEAST_LOOKS);
        let known = granted.last_seen.map_or(granted.at, |seen| seen.max(granted.at));
        if self.now < clock::after(known, window) || granted.missed < LEAST_LOOKS {
            GrantedFate::Stays
        } else {
            GrantedFate::NeverSeen
        }
    }

    /// Counts the requests that unanswered launches made, and drops the launches that are accounted for.
    pub(super) fn reconcile_intents(&mut self, join: &Join<'_>, reconciled: &mut Reconciled) {
        if self.ledger.intents.is_empty() {
            return;
        }
        self.find_intents(join, reconciled);
        let now = self.now;
        let window = self.settings.provisioner.visibility_window;
        let seen = &reconciled.seen_by_intent;
        let before = self.ledger.intents.len();
        let mut changed = false;
        let mut intents = std::mem::take(&mut self.ledger.intents);
        intents.retain(|token, intent| {
            let found = seen.get(token).copied().unwrap_or(0);
            // The last repetition may have been the one that was heard: it shows within the window.
            let too_old = now >= clock::after(intent.call.decided, REPEAT_FOR + window);
            if intent.withdrawn.is_none() && self.is_withdrawn(&intent.call) {
                intent.withdrawn = Some(now);
                changed = true;
            }
            // It is not made again, so what it made shows within the window.
            let not_repeated = intent.accepted.into_iter().chain(intent.withdrawn).min();
            let looked_long = not_repeated.is_some_and(|at| now >= clock::after(at, window));
            changed |= intent.looks < LEAST_LOOKS;
            intent.looks = intent.looks.saturating_add(1).min(LEAST_LOOKS);
            let looked_enough = intent.looks >= LEAST_LOOKS && (too_old || looked_long);
            let accounted_for = found >= intent.call.count || looked_enough;
            // Each request that was seen is counted by itself. The rest never came.
            if accounted_for && found < intent.call.count {
                let age = clock::age(intent.call.decided, now);
                let asked = intent.call.count;
                let note = MachineNote::LaunchNeverSeen { token, asked, found, age };
                reconciled.notes.push(Note::about(&intent.call.worker_type, &note));
            }
            !accounted_for
        });
        reconciled.ledger_changed |= changed || before != intents.len();
        self.ledger.intents = intents;
        reconciled.seen_by_intent.retain(|token, _| self.ledger.intents.contains_key(token));
    }

    /// Whether the configuration has no longer the image, the instance type or the price of a call. What is
    /// not known, such as an image that could not be looked up, has not been withdrawn yet.
    fn is_withdrawn(&self, call: &LaunchCall) -> bool {
        let Some(worker_type) = self.settings.worker_types.get(&call.worker_type) else {
            return false;
        };
        let is_dearer = match (call.max_price, worker_type.max_price) {
            (Some(asked), Some(most)) => asked > most,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let resolved = self.resolved.get(&call.worker_type);
        let is_another_image = matches!(resolved, Some(Ok(now)) if now.image_id != call.image_id);
        is_dearer || is_another_image || !worker_type.instance_types.contains(&call.instance_type)
    }

    /// Finds the requests that carry the token of an unanswered launch.
    fn find_intents(&mut self, join: &Join<'_>, reconciled: &mut Reconciled) {
        for &(request, instance) in &join.requests {
            let Some(token) = request.tags.intent.as_ref() else { continue };
            let Some((token, intent)) = self.ledger.intents.get_key_value(token) else { continue };
            *reconciled.seen_by_intent.entry(token.clone()).or_default() += 1;
            // A request that waits is in the ledger already.
            let shows = instance.is_some() && request.may_run();
            if !shows && request.state != SpotRequestState::Active {
                continue;
            }
            // As if its answer had come: the next page may not show it again.
            self.ledger.granted.entry(request.id.clone()).or_insert_with(|| Granted {
                worker_type: intent.call.worker_type.clone(),
                token: token.clone(),
                pool: intent.call.pool(),
                at: intent.call.decided,
                last_seen: Some(self.now),
                missed: 0,
                arrived: instance.map(|_| self.now),
                max_price: intent.call.max_price,
            });
            if instance.is_some() {
                reconciled.index.arrived.insert(request.id.clone());
            }
        }
    }
}

/// The requests named by live instances that carry no worker type's tag.
fn untagged_requests<'o>(join: &Join<'o>) -> BTreeSet<&'o SpotRequestId> {
    join.instances
        .iter()
        .map(|(instance, _)| instance)
        .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
        .filter_map(|instance| instance.spot_request.as_ref())
        .collect()
}
