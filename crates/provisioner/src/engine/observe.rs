//! Takes an observation in: settles the ledger and the memory by it, and sorts it into an index.
//!
//! Everything is joined by id, so that the order of EC2's answers cannot count anything twice: a
//! request that is fulfilled between two describe calls is one machine, however it shows.

pub(super) mod join;
mod machines;
mod owners;
pub(super) mod recount;
mod requests;
mod sort;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, KeyName, SpotRequestId, WorkerTypeName};
use crate::domain::ledger::{Granted, Intent, Ledger};
use crate::domain::observed::{KeyPair, Observation, SpotRequest, SpotRequestState};
use crate::domain::refusal::{RefusalClass, classify};
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::group::Group;
use crate::engine::state::index::Index;
use crate::engine::state::memory::Memory;
use crate::settings::Settings;

/// An unanswered call is repeated with its token while younger than this; EC2 keeps tokens longer
/// (EC2 API Reference, "Ensuring idempotency").
pub(super) const REPEAT_FOR: Duration = Duration::from_mins(30);

/// Whether the call of `intent` is to be made again. An older one is settled by describe alone.
pub(super) fn is_repeated(intent: &Intent, now: Timestamp) -> bool {
    intent.accepted.is_none() && now < clock::after(intent.call.decided, REPEAT_FOR)
}

/// What an observation is settled against.
pub(super) struct Settle<'a> {
    pub(super) settings: &'a Settings,
    pub(super) key_name: &'a KeyName,
    pub(super) ledger: &'a mut Ledger,
    pub(super) memory: &'a mut Memory,
    pub(super) now: Timestamp,
}

/// What came of it.
pub(super) struct Settled {
    pub(super) index: Index,
    /// Requests seen per unanswered intent.
    pub(super) seen_by_intent: BTreeMap<ClientToken, u32>,
    /// Whether the ledger changed and should be written with the next effect.
    pub(super) ledger_changed: bool,
    /// Worker types of which an instance was seen running for the first time.
    pub(super) came_up: BTreeSet<WorkerTypeName>,
    pub(super) notes: Vec<Note>,
}

impl Settle<'_> {
    /// Takes one complete observation in.
    pub(super) fn run(mut self, observation: &Observation, key_pair_before: KeyPair) -> Settled {
        let mut index = Index { key_pair: key_pair_before, ..Index::default() };
        for name in self.settings.worker_types.keys() {
            index.types.insert(name.clone(), Group::default());
        }
        if observation.key_pair != KeyPair::Unknown {
            index.key_pair = observation.key_pair;
        }
        let join = Join::new(observation);
        let mut settled = Settled {
            index,
            seen_by_intent: BTreeMap::new(),
            ledger_changed: false,
            came_up: BTreeSet::new(),
            notes: Vec::new(),
        };
        self.settle_requests(&join, &mut settled);
        let counted_to = self.memory.spent.counted_to;
        let now = self.now;
        let window = self.settings.provisioner.visibility_window;
        let ended_by_us: BTreeSet<InstanceId> = self.memory.ended.keys().cloned().collect();
        self.memory.ended.retain(|id, at| {
            now < clock::after(*at, window)
                && join.instance(id).is_none_or(|instance| instance.state.is_live())
        });
        self.count_spending(&join);
        // The ledger names the owner of an instance whose request is not visible yet.
        self.sort_instances(&join, &mut settled);
        self.settle_ledger(&join, &mut settled);
        settled.index.groups_mut().for_each(Group::finish);
        settled.notes.sort_by(|a, b| (&a.worker_type, &a.text).cmp(&(&b.worker_type, &b.text)));
        self.remember_machines(&join, &ended_by_us, counted_to, &mut settled);
        settled
    }

    fn settle_ledger(&mut self, join: &Join<'_>, settled: &mut Settled) {
        let window = self.settings.provisioner.visibility_window;
        let now = self.now;
        let before = self.ledger.granted.len();
        let fulfilled = &self.memory.fulfilled;
        let looked_at = if before == 0 { &[] } else { join.instances.as_slice() };
        let untagged: BTreeSet<&SpotRequestId> = looked_at
            .iter()
            .map(|(instance, _)| instance)
            .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
            .filter_map(|instance| instance.spot_request.as_ref())
            .collect();
        let arrived = &mut settled.index.arrived;
        let notes = &mut settled.notes;
        self.ledger.granted.retain(|id, granted| {
            let (request, instance) = (join.request(id), join.instance_of(id));
            if instance.is_some() {
                granted.arrived.get_or_insert(now);
            }
            // Its instance is counted as that. For some time the next page may not show it again.
            let may_hide =
                granted.may_hide(window, now) && request.is_none_or(SpotRequest::may_run);
            if instance.is_some() {
                // The request alone says whose the instance is, and EC2 does not show it yet.
                let stays = may_hide || request.is_none() && untagged.contains(id);
                if stays {
                    arrived.insert(id.clone());
                }
                return stays;
            }
            if let Some(request) = request {
                granted.last_seen = Some(now);
                let open = matches!(
                    request.state,
                    SpotRequestState::Open | SpotRequestState::Unrecognised(_)
                );
                return open || may_hide || fulfilled.contains_key(id);
            }
            if granted.arrived.is_some() {
                return may_hide;
            }
            let known = granted.last_seen.map_or(granted.at, |seen| seen.max(granted.at));
            if now < clock::after(known, window) {
                return true;
            }
            let age = clock::age(granted.at, now);
            let note = MachineNote::GrantNeverSeen { request: id, age };
            notes.push(Note::about(&granted.worker_type, &note));
            false
        });
        settled.ledger_changed |= before != self.ledger.granted.len();

        if !self.ledger.intents.is_empty() {
            for &(request, instance) in &join.requests {
                let Some((token, intent)) = request
                    .tags
                    .intent
                    .as_ref()
                    .and_then(|token| self.ledger.intents.get_key_value(token))
                else {
                    continue;
                };
                *settled.seen_by_intent.entry(token.clone()).or_default() += 1;
                // One that waits is in the ledger already.
                let shows = instance.is_some() && request.may_run();
                if shows || request.state == SpotRequestState::Active {
                    // As if its answer had come: the next page may not show it again.
                    let granted = self.ledger.granted.entry(request.id.clone());
                    granted.or_insert_with(|| Granted {
                        worker_type: intent.call.worker_type.clone(),
                        token: token.clone(),
                        pool: intent.call.pool(),
                        at: intent.call.decided,
                        last_seen: Some(now),
                        arrived: instance.map(|_| now),
                        max_price: intent.call.max_price,
                    });
                    if instance.is_some() {
                        settled.index.arrived.insert(request.id.clone());
                    }
                }
            }
        }
        let seen = &settled.seen_by_intent;
        let before = self.ledger.intents.len();
        self.ledger.intents.retain(|token, intent| {
            let found = seen.get(token).copied().unwrap_or(0);
            // The last repetition may have been the one that was heard: it shows within the window.
            let too_old = now >= clock::after(intent.call.decided, REPEAT_FOR + window);
            let looked_long = intent.accepted.is_some_and(|at| now >= clock::after(at, window));
            if found >= intent.call.count || too_old || looked_long {
                // What was seen is counted by itself. The rest never came.
                if found < intent.call.count {
                    let age = clock::age(intent.call.decided, now);
                    let asked = intent.call.count;
                    let note = MachineNote::LaunchNeverSeen { token, asked, found, age };
                    settled.notes.push(Note::about(&intent.call.worker_type, &note));
                }
                return false;
            }
            true
        });
        settled.ledger_changed |= before != self.ledger.intents.len();
        settled.seen_by_intent.retain(|token, _| self.ledger.intents.contains_key(token));
    }
}

/// The instance profile that the worker type has now.
fn profile_of<'s>(settings: &'s Settings, name: &WorkerTypeName) -> Option<&'s str> {
    settings.worker_types.get(name)?.iam_instance_profile.as_deref()
}

/// Whether EC2 took the instance back, or somebody ended it: no fault of the worker type.
fn is_no_fault(status_code: &str) -> bool {
    classify(status_code) == Some(RefusalClass::NoCapacity)
        || status_code == "marked-for-termination"
        || status_code == "instance-terminated-by-user"
}
