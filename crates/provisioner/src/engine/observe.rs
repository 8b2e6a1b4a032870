//! Evaluates one complete observation.
//!
//! EC2 is eventually consistent: a request that was granted may not be visible yet, one that is fulfilled
//! between two describe calls shows as open beside its own instance, and the next page may be answered by
//! a replica that has not heard of either. So everything is joined by id first ([`join`]), and what was
//! seen once is remembered until it must be visible everywhere.
//!
//! In this order, since each step uses what the one before found:
//!
//! 1. [`requests`]: the fate of every request, and what it says about its pool and its worker type.
//! 2. [`machines`]: what the live instances have cost since the last observation.
//! 3. [`sort`]: every instance by its owner, into the [`Index`]. The ledger names the owner of an instance
//!    whose request is not visible yet, so this comes before the ledger forgets anything.
//! 4. [`ledger`]: granted requests and unanswered launches that are now accounted for, or never came.
//! 5. [`launch_health`], called by [`machines`]: which machines are new, which are gone, and which of these
//!    are failed launches.
//!
//! [`count`] then classes the machines by what is known of their tasks.

pub(super) mod count;
pub(super) mod join;
mod launch_health;
pub(super) mod ledger;
mod machines;
mod other_ledgers;
mod owners;
mod requests;
mod sort;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, KeyName, WorkerTypeName};
use crate::domain::ledger::Ledger;
use crate::domain::observed::{KeyPair, Observation};
use crate::domain::refusal::{RefusalClass, classify};
use crate::engine::Resolved;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::durable::{Durable, moved};
use crate::engine::state::group::Group;
use crate::engine::state::index::Index;
use crate::engine::state::memory::Memory;
use crate::engine::state::other_ledgers::OtherLedgers;
use crate::engine::state::view::View;
use crate::settings::Settings;

/// Takes in one complete observation, which began at `now`: it holds all that was visible by then.
/// Work proportional to what it holds. Returns what the user should know.
pub(super) fn observe(
    settings: &Settings,
    resolved: &Resolved,
    key_name: &KeyName,
    durable: &mut Durable,
    view: &mut View,
    observation: &Observation,
    now: Timestamp,
) -> Vec<Note> {
    // The old index goes first: it need not be held in memory beside the new one.
    let key_pair = std::mem::take(&mut view.index).key_pair;
    let Durable { ledger, memory, ahead, .. } = durable;
    memory.forget_old(now);
    let ahead = *ahead;
    let reconcile = Reconcile { settings, resolved, key_name, ledger, memory, ahead, now };
    let reconciled = reconcile.run(observation, key_pair, &mut view.other_ledgers);
    durable.ledger_dirty |= reconciled.ledger_changed;
    durable.keep_spending(now);
    view.index = reconciled.index;
    view.seen_by_intent = reconciled.seen_by_intent;
    view.forget_old_tags(now);
    reconciled.notes
}

/// An observation is reconciled against these.
struct Reconcile<'a> {
    settings: &'a Settings,
    resolved: &'a Resolved,
    key_name: &'a KeyName,
    ledger: &'a mut Ledger,
    memory: &'a mut Memory,
    /// How far our clock was set ahead since the process began.
    ahead: SignedDuration,
    now: Timestamp,
}

/// The result of it.
struct Reconciled {
    index: Index,
    /// Requests seen per unanswered intent.
    seen_by_intent: BTreeMap<ClientToken, u32>,
    /// Whether the ledger changed and should be written with the next effect.
    ledger_changed: bool,
    notes: Vec<Note>,
}

impl Reconcile<'_> {
    fn run(
        mut self,
        observation: &Observation,
        key_pair_before: KeyPair,
        others: &mut OtherLedgers,
    ) -> Reconciled {
        let key_pair = match observation.key_pair {
            KeyPair::Unknown => key_pair_before,
            seen => seen,
        };
        let groups = self.settings.worker_types.keys().map(|name| (name.clone(), Group::default()));
        let index = Index { key_pair, types: groups.collect(), ..Index::default() };
        let join = Join::new(observation);
        let mut reconciled = Reconciled {
            index,
            seen_by_intent: BTreeMap::new(),
            ledger_changed: false,
            notes: Vec::new(),
        };
        self.find_other_ledgers(&join, others);
        self.reconcile_requests(&join, &mut reconciled);
        let ended_by_us = self.forget_ended(&join);
        let counted_from = self.count_spending(&join);
        self.sort_instances(&join, &mut reconciled);
        self.reconcile_granted(&join, &mut reconciled);
        self.reconcile_intents(&join, &mut reconciled);
        reconciled.index.groups_mut().for_each(Group::finish);
        reconciled.notes.sort_by(|a, b| (&a.worker_type, &a.text).cmp(&(&b.worker_type, &b.text)));
        self.remember_machines(&join, &ended_by_us, counted_from, &mut reconciled);
        reconciled
    }

    /// An instant of EC2's clock by ours, as it was set since the process began.
    fn by_our_clock(&self, at: Timestamp) -> Timestamp {
        moved(at, self.ahead)
    }

    /// Forgets the instances that we ended and that are gone by now. Returns all that we had ended.
    fn forget_ended(&mut self, join: &Join<'_>) -> BTreeSet<InstanceId> {
        let window = self.settings.provisioner.visibility_window;
        let now = self.now;
        let ended_by_us = self.memory.ended.keys().cloned().collect();
        self.memory.ended.retain(|id, at| {
            now < clock::after(*at, window)
                && join.instance(id).is_none_or(|instance| instance.state.is_live())
        });
        ended_by_us
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
