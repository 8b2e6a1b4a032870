//! Bulk calls of a round: many ids in one call, and one bad id does not fail the rest.

use std::borrow::Borrow;
use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;

use super::{ActionOutcome, ActionResult, Round};
use crate::domain::bulk::{IDS_PER_CALL, split_around_bad_ids};
use crate::domain::clock;
use crate::domain::ids::{InstanceId, SpotRequestId, VolumeId};
use crate::domain::refusal::{Refusal, RefusalClass};
use crate::engine::act::effect::Outcome;
use crate::engine::decide::plan::{Action, ActionKind, Plan, ReasonKind};
use crate::engine::state::api_budget::CallClass;
use crate::engine::state::memory::Cancelling;

/// How often bulk calls are repeated without an id that failed them, in one round. EC2 may name one id
/// at a time; a batch must not become hundreds of calls.
const MAX_BULK_REPEATS: u32 = 20;

/// The ids of one bulk call, with the actions they belong to (places in the plan).
#[derive(Clone, Debug)]
pub(super) struct Batch<I> {
    pub(super) parts: Vec<(usize, Vec<I>)>,
}

impl<I: Clone + Borrow<str>> Batch<I> {
    /// Joins the ids of several actions into bulk calls.
    pub(super) fn bulk(actions: impl IntoIterator<Item = (usize, Vec<I>)>) -> VecDeque<Self> {
        let mut batches: VecDeque<Self> = VecDeque::new();
        let mut left = 0;
        for (action, ids) in actions {
            let mut ids = ids.as_slice();
            while !ids.is_empty() {
                if left == 0 {
                    batches.push_back(Self { parts: Vec::new() });
                    left = IDS_PER_CALL;
                }
                let (now, later) = ids.split_at(ids.len().min(left));
                left -= now.len();
                ids = later;
                if let Some(batch) = batches.back_mut() {
                    batch.parts.push((action, now.to_vec()));
                }
            }
        }
        batches
    }

    pub(super) fn ids(&self) -> Vec<I> {
        self.parts.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect()
    }

    /// Splits off the ids that EC2's message names: one bad id fails a whole call.
    pub(super) fn without_named(&self, refusal: &Refusal) -> Option<(Self, Self)> {
        let ids = |(action, ids): &(usize, Vec<I>)| {
            let action = *action;
            ids.iter().map(move |id| (action, id.clone())).collect::<Vec<_>>()
        };
        let items: Vec<(usize, I)> = self.parts.iter().flat_map(ids).collect();
        let split = split_around_bad_ids(&items, |(_, id)| id.borrow(), refusal)?;
        Some((Self::of(split.named), Self::of(split.others)))
    }

    /// Ids with the action of each, in the order of actions.
    fn of(items: Vec<(usize, I)>) -> Self {
        let mut parts: Vec<(usize, Vec<I>)> = Vec::new();
        for (action, id) in items {
            match parts.last_mut() {
                Some((last, ids)) if *last == action => ids.push(id),
                _ => parts.push((action, vec![id])),
            }
        }
        Self { parts }
    }
}

/// One bulk call.
#[derive(Clone, Debug)]
pub(super) enum Bulk {
    Cancel(Batch<SpotRequestId>),
    /// Cancels the requests of terminated instances: until then these hold spot quota.
    Close(Batch<SpotRequestId>),
    Terminate(Batch<InstanceId>),
    /// Tags instances with their volumes.
    Tag(Batch<InstanceId>),
    /// Tags instances alone, because EC2 refused the call for their volumes.
    TagInstances(Batch<InstanceId>),
}

impl Bulk {
    /// The class of its call.
    pub(super) fn class(&self) -> CallClass {
        match self {
            Self::Cancel(_) | Self::Close(_) => CallClass::Cancel,
            Self::Terminate(_) => CallClass::Terminate,
            Self::Tag(_) | Self::TagInstances(_) => CallClass::Tag,
        }
    }

    /// The calls that free money (first all that cancel, then all that terminate), and those that tag.
    pub(super) fn of(plan: &Plan) -> (VecDeque<Self>, VecDeque<Self>) {
        let mut cancels = Vec::new();
        let mut ends = Vec::new();
        let mut tags = VecDeque::new();
        for (i, action) in plan.actions.iter().enumerate() {
            match &action.kind {
                ActionKind::Cancel(ids) => cancels.push((i, ids.clone())),
                ActionKind::Terminate(ids) => ends.push((i, ids.clone())),
                // The tags of each action differ.
                ActionKind::Tag(ids) => {
                    tags.extend(Batch::bulk([(i, ids.clone())]).into_iter().map(Self::Tag));
                }
                ActionKind::Request(_) => {}
            }
        }
        let cancels = Batch::bulk(cancels).into_iter().map(Self::Cancel);
        let ends = Batch::bulk(ends).into_iter().map(Self::Terminate);
        (cancels.chain(ends).collect(), tags)
    }
}

impl Round<'_> {
    /// Takes in how a bulk call went.
    pub(super) fn bulk_outcome(&mut self, bulk: Bulk, outcome: Outcome, now: Timestamp) {
        match bulk {
            Bulk::Cancel(batch) => {
                if self.record_bulk(&batch, outcome, ActionKind::Cancel, Bulk::Cancel) {
                    self.cancelled(&batch, now);
                }
            }
            // Whether it succeeds or not, the instances end, and their requests with them.
            Bulk::Close(_) => {
                let throttled = matches!(&outcome, Outcome::Refused(refusal)
                    if refusal.class == RefusalClass::Throttled);
                self.throttled |= throttled;
            }
            Bulk::Terminate(batch) => {
                if self.record_bulk(&batch, outcome, ActionKind::Terminate, Bulk::Terminate) {
                    self.ended(&batch, now);
                }
            }
            Bulk::Tag(batch) => {
                // A policy may allow the tags of instances only: those matter more.
                let fails_volumes = matches!(&outcome, Outcome::Refused(refusal)
                    if refusal.class.is_definite() && refusal.class != RefusalClass::Throttled);
                if fails_volumes && !self.volumes_of(&batch).is_empty() {
                    self.tags.push_front(Bulk::TagInstances(batch));
                } else if self.record_bulk(&batch, outcome, ActionKind::Tag, Bulk::Tag) {
                    self.tagged(&batch, now);
                }
            }
            Bulk::TagInstances(batch) => {
                if self.record_bulk(&batch, outcome, ActionKind::Tag, Bulk::TagInstances) {
                    self.tagged(&batch, now);
                }
            }
        }
    }

    fn tagged(&mut self, batch: &Batch<InstanceId>, now: Timestamp) {
        let tagged = batch.ids().into_iter().map(|id| (id, now));
        self.engine.view.tagged_lately.extend(tagged);
    }

    /// The volumes of the instances in `batch`.
    pub(super) fn volumes_of(&self, batch: &Batch<InstanceId>) -> Vec<VolumeId> {
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        let index = &self.engine.view.index;
        let groups = index.types.values().chain(index.retired.values());
        let machines = groups.flat_map(|group| &group.machines);
        let tagged = machines.filter(|machine| ids.contains(&machine.id));
        tagged.flat_map(|machine| machine.volumes.iter().cloned()).collect()
    }

    /// Records the outcome of a bulk call. Returns whether it was done. If one id failed it, the rest is
    /// asked for again at once.
    fn record_bulk<I: Clone + Borrow<str>>(
        &mut self,
        batch: &Batch<I>,
        outcome: Outcome,
        kind: fn(Vec<I>) -> ActionKind,
        again: fn(Batch<I>) -> Bulk,
    ) -> bool {
        let refusal = match outcome {
            Outcome::Done | Outcome::Requested(_) => {
                self.record_batch(batch, &ActionResult::Done(Vec::new()), kind);
                return true;
            }
            Outcome::NotPersisted(_) => return false,
            Outcome::Refused(refusal) => refusal,
        };
        self.throttled |= refusal.class == RefusalClass::Throttled;
        // A policy may allow the call on some of the ids only.
        let one_bad_id = matches!(
            refusal.class,
            RefusalClass::NotFound | RefusalClass::Invalid | RefusalClass::Unauthorized
        );
        let may_repeat = one_bad_id && self.bulk_repeats < MAX_BULK_REPEATS;
        let split = if may_repeat { batch.without_named(&refusal) } else { None };
        let Some((bad, rest)) = split else {
            self.record_batch(batch, &ActionResult::of(refusal), kind);
            return false;
        };
        // An id that EC2 does not know is gone already, or will be seen in a later observation.
        let result = if refusal.class == RefusalClass::NotFound {
            ActionResult::Done(Vec::new())
        } else {
            ActionResult::of(refusal)
        };
        self.record_batch(&bad, &result, kind);
        if !rest.parts.is_empty() {
            self.bulk_repeats += 1;
            match again(rest) {
                tag @ (Bulk::Tag(_) | Bulk::TagInstances(_)) => self.tags.push_front(tag),
                frees => self.freeing.push_front(frees),
            }
        }
        false
    }

    fn record_batch<I: Clone>(
        &mut self,
        batch: &Batch<I>,
        result: &ActionResult,
        kind: fn(Vec<I>) -> ActionKind,
    ) {
        for (i, ids) in &batch.parts {
            let Some(action) = self.plan.actions.get(*i) else { continue };
            let action = Action { kind: kind(ids.clone()), ..action.clone() };
            self.executed.push(ActionOutcome { action, launch: None, result: result.clone() });
        }
    }

    fn cancelled(&mut self, batch: &Batch<SpotRequestId>, now: Timestamp) {
        for (i, ids) in &batch.parts {
            let Some(action) = self.plan.actions.get(*i) else { continue };
            let reason = action.reason.kind;
            let elsewhere = matches!(reason, ReasonKind::NoCapacity | ReasonKind::RequestTimeout);
            self.soon |= elsewhere;
            if reason == ReasonKind::NoDemand
                && let Some(name) = &action.worker_type
                && let Some(group) = self.engine.view.index.types.get(name)
                && let Some(memory) = self.engine.durable.memory.policies.get_mut(name)
            {
                let ids: BTreeSet<_> = ids.iter().collect();
                for request in group.open.iter().filter(|request| ids.contains(&request.id)) {
                    memory.record_cancelled_request(clock::age(request.asked, now));
                }
            }
            let name = action.worker_type.as_ref();
            let places = name.map_or(0, |name| self.places_of(name).len());
            let memory = &mut self.engine.durable.memory;
            let mut pools = BTreeSet::new();
            for id in ids {
                if let Some(open) = memory.open.get(id) {
                    pools.insert(open.pool.to_string());
                }
                memory.cancelling.insert(id.clone(), Cancelling { at: now });
            }
            if elsewhere {
                for name in pools {
                    let record = memory.pools.entry(name).or_default();
                    record.refused_after_wait(reason.as_str(), places, now);
                }
            }
        }
    }

    /// Cancels the spot requests of the instances in `batch`, which were terminated (EC2 User Guide, "Spot Instance
    /// limits": a request counts until it is closed).
    fn close_requests(&mut self, batch: &Batch<InstanceId>) {
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        let groups = self.engine.view.index.groups();
        let machines = groups.flat_map(|group| &group.machines);
        let ended = machines.filter(|machine| ids.contains(&machine.id));
        let requests: Vec<_> = ended.filter_map(|machine| machine.request.clone()).collect();
        if !requests.is_empty() {
            let batches = Batch::bulk([(usize::MAX, requests)]);
            self.freeing.extend(batches.into_iter().map(Bulk::Close));
        }
    }

    fn ended(&mut self, batch: &Batch<InstanceId>, now: Timestamp) {
        self.close_requests(batch);
        let memory = &mut self.engine.durable.memory;
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        memory.ended.extend(ids.iter().map(|id| (id.clone(), now)));
        // Machines that never work are a failure of the worker type: replaced for ever, they cost for ever.
        let actions = batch.parts.iter().filter_map(|(i, _)| self.plan.actions.get(*i));
        let idle = actions.filter(|action| action.reason.kind == ReasonKind::NeverClaimed);
        let idle_types: BTreeSet<_> =
            idle.filter_map(|action| action.worker_type.clone()).collect();
        for name in idle_types {
            let text = "its instances never claimed a task within boot-timeout";
            let Some(group) = self.engine.view.index.types.get(&name) else { continue };
            for machine in group.machines.iter().filter(|machine| ids.contains(&machine.id)) {
                memory.launch_failed(&name, machine.launched, text.to_owned(), now);
            }
        }
        for group in self.engine.view.index.groups_mut() {
            group.machines.retain(|machine| !ids.contains(&machine.id));
        }
    }
}
