//! A decided round on its way: which effect comes next, and what each outcome means.
//!
//! What frees money comes first (cancel, terminate), then launches whose answer is not known, then new
//! ones, then tags. Of a launch, the intent is on disk before the call is made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock;
use crate::engine::effect::{Effect, GrantedRequest, Outcome};
use crate::engine::memory::{Cancelling, quota};
use crate::engine::options::{self, Goal, Nowhere, Place};
use crate::engine::plan::{Action, ActionKind, Note, NoteKind, Plan, Reason, ReasonKind};
use crate::engine::settle::{fail, strike};
use crate::engine::{Decided, Engine, LONGEST_FAILURE_PAUSE, LONGEST_QUEUE_PAUSE};
use crate::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::launch::{LaunchCall, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE};
use crate::ledger::{Granted, Intent};
use crate::refusal::{Refusal, RefusalClass};

/// How many ids go into one cancelling, terminating or tagging call. EC2 recommends at most 1000
/// instances in one `TerminateInstances` (API Reference).
const BULK: usize = 1000;

/// How often bulk calls are repeated without an id that failed them, in one round. EC2 may name one id
/// at a time; a batch must not become hundreds of calls.
const MAX_BULK_REPEATS: u32 = 20;

/// A request outlives its timeout by this much at EC2, so that a dead daemon buys nothing later
/// (interface 6).
const VALID_BEYOND_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(2);

/// A round under way.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts about a round, none of which excludes another"
)]
pub(super) struct Round {
    pub(super) plan: Plan,
    started: Timestamp,
    cancels: VecDeque<Batch<SpotRequestId>>,
    ends: VecDeque<Batch<InstanceId>>,
    repeats: VecDeque<(ClientToken, Reason)>,
    goals: VecDeque<Goal>,
    tags: VecDeque<Batch<InstanceId>>,
    /// The next launches, one per worker type, whose intents are in the ledger.
    prepared: VecDeque<(ClientToken, Goal)>,
    /// Not all of these intents are on disk yet.
    unsaved: bool,
    current: Option<Current>,
    executed: Vec<Executed>,
    notes: Vec<Note>,
    /// A refusal or a cancel frees the way for something else: the next round comes soon.
    soon: bool,
    throttled: bool,
    /// Launching calls were.
    launches_throttled: bool,
    /// Bulk calls repeated without an id that failed them.
    bulk_repeats: u32,
    /// The ledger could not be written: no launches in this round.
    ledger_broken: bool,
}

/// The ids of one bulk call, with the actions they belong to.
#[derive(Clone, Debug)]
struct Batch<I> {
    parts: Vec<(usize, Vec<I>)>,
}

/// What a driver is doing.
#[derive(Debug)]
enum Current {
    Persist,
    Cancel(Batch<SpotRequestId>),
    End(Batch<InstanceId>),
    Repeat(ClientToken, Reason),
    Launch(ClientToken, Goal),
    Tag(Batch<InstanceId>),
}

/// One action as it was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// What, for whom and why. A launch tells the count of this one call.
    pub action: Action,
    /// The capacity pool a launch asked, and its token.
    pub launch: Option<(Pool, ClientToken)>,
    /// How it went.
    pub result: Result,
}

/// How an action went.
#[derive(Clone, Debug, PartialEq)]
pub enum Result {
    /// Done. For a launch, the requests EC2 made.
    Done(Vec<SpotRequestId>),
    /// EC2 said no.
    Refused(Refusal),
    /// No answer: whether it was done is not known.
    Unknown(Refusal),
}

impl Result {
    fn of(refusal: Refusal) -> Self {
        if refusal.class.is_definite() { Self::Refused(refusal) } else { Self::Unknown(refusal) }
    }
}

/// A finished round.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What was decided.
    pub plan: Plan,
    /// What was done.
    pub executed: Vec<Executed>,
    /// When the next round is due.
    pub wake: Timestamp,
    /// Whether something wanted was withheld, or failed and was not made good in the round.
    pub incomplete: bool,
    /// Whether the demand was known.
    pub demand_known: bool,
    /// Whether EC2 refused calls for being too many: then nothing makes the next round come sooner.
    pub throttled: bool,
}

impl<I: Clone + Ord + fmt::Display> Batch<I> {
    /// Joins the ids of several actions into bulk calls.
    fn bulk(actions: impl IntoIterator<Item = (usize, Vec<I>)>) -> VecDeque<Self> {
        let mut batches: VecDeque<Self> = VecDeque::new();
        let mut room = 0;
        for (action, ids) in actions {
            let mut ids = ids.as_slice();
            while !ids.is_empty() {
                if room == 0 {
                    batches.push_back(Self { parts: Vec::new() });
                    room = BULK;
                }
                let (now, later) = ids.split_at(ids.len().min(room));
                room -= now.len();
                ids = later;
                if let Some(batch) = batches.back_mut() {
                    batch.parts.push((action, now.to_vec()));
                }
            }
        }
        batches
    }

    fn ids(&self) -> Vec<I> {
        self.parts.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect()
    }

    /// Splits off the ids that EC2's message names: one bad id fails a whole call.
    fn without_named(&self, message: &str) -> Option<(Self, Self)> {
        let named: BTreeSet<I> = words(message)
            .filter_map(|word| {
                self.parts.iter().flat_map(|(_, ids)| ids).find(|id| id.to_string() == word)
            })
            .cloned()
            .collect();
        if named.is_empty() {
            return None;
        }
        let pick = |keep: bool| Self {
            parts: self
                .parts
                .iter()
                .map(|(action, ids)| {
                    let ids = ids.iter().filter(|id| named.contains(*id) == keep).cloned();
                    (*action, ids.collect::<Vec<_>>())
                })
                .filter(|(_, ids)| !ids.is_empty())
                .collect(),
        };
        Some((pick(true), pick(false)))
    }
}

fn words(message: &str) -> impl Iterator<Item = &str> {
    message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| !word.is_empty())
}

impl Round {
    pub(super) fn new(decided: Decided, now: Timestamp) -> Self {
        let Decided { plan, goals, repeats } = decided;
        let mut cancels = Vec::new();
        let mut ends = Vec::new();
        let mut tags = VecDeque::new();
        for (i, action) in plan.actions.iter().enumerate() {
            match &action.kind {
                ActionKind::Cancel(ids) => cancels.push((i, ids.clone())),
                ActionKind::Terminate(ids) => ends.push((i, ids.clone())),
                // Each has tags of its own.
                ActionKind::Tag(ids) => tags.extend(Batch::bulk([(i, ids.clone())])),
                ActionKind::Request(_) => {}
            }
        }
        Self {
            started: now,
            cancels: Batch::bulk(cancels),
            ends: Batch::bulk(ends),
            repeats: repeats.into(),
            goals: goals.into(),
            tags,
            prepared: VecDeque::new(),
            unsaved: false,
            current: None,
            executed: Vec::new(),
            notes: Vec::new(),
            soon: false,
            throttled: false,
            launches_throttled: false,
            bulk_repeats: 0,
            ledger_broken: false,
            plan,
        }
    }
}

impl Engine {
    /// The next thing to do, or `None`: the round is over. One effect at a time: its
    /// [`outcome`](Self::outcome) first, then the next.
    pub fn next_effect(&mut self, now: Timestamp) -> Option<Effect> {
        loop {
            let round = self.round.as_mut()?;
            if let Some(batch) = round.cancels.pop_front() {
                let ids = batch.ids();
                round.current = Some(Current::Cancel(batch));
                return Some(Effect::Cancel(ids));
            }
            if let Some(batch) = round.ends.pop_front() {
                let ids = batch.ids();
                round.current = Some(Current::End(batch));
                return Some(Effect::Terminate(ids));
            }
            if let Some((token, reason)) = round.repeats.pop_front() {
                let Some(intent) = self.ledger.intents.get(&token) else { continue };
                let call = Box::new(intent.call.clone());
                round.current = Some(Current::Repeat(token, reason));
                return Some(Effect::Request(call));
            }
            if round.launches_throttled {
                self.withdraw_throttled();
            } else if round.prepared.is_empty() && !round.ledger_broken {
                self.prepare(now);
            }
            let round = self.round.as_mut()?;
            // Before a call its intent is on disk. What the answers changed is written before the next
            // calls, or at the end: until then the intents say it too.
            let all_done = round.prepared.is_empty() && round.tags.is_empty();
            if !round.ledger_broken && (round.unsaved || (self.ledger_dirty && all_done)) {
                round.current = Some(Current::Persist);
                return Some(Effect::PersistLedger(Arc::new(self.ledger.clone())));
            }
            if let Some((token, goal)) = round.prepared.pop_front() {
                let Some(intent) = self.ledger.intents.get(&token) else { continue };
                if self.place_of(&goal, now).is_ok_and(|place| place.is_of(&intent.call)) {
                    let call = Box::new(intent.call.clone());
                    self.round.as_mut()?.current = Some(Current::Launch(token, goal));
                    return Some(Effect::Request(call));
                }
                // Another worker type was refused there a moment ago: this one is decided anew.
                self.withdraw(&token);
                self.round.as_mut()?.goals.push_back(goal);
                continue;
            }
            if let Some(batch) = round.tags.pop_front() {
                let instances = batch.ids();
                let tags = self.tags_of(&batch);
                self.round.as_mut()?.current = Some(Current::Tag(batch));
                return Some(Effect::Tag { instances, tags });
            }
            return None;
        }
    }

    /// Where `goal` is to be asked for next.
    fn place_of(&self, goal: &Goal, now: Timestamp) -> std::result::Result<Place, Nowhere> {
        let name = &goal.worker_type;
        let (Some(worker_type), Some(Ok(resolved))) =
            (self.settings.worker_types.get(name), self.resolved.get(name))
        else {
            return Err(Nowhere::AllTried);
        };
        let places = options::all(worker_type, resolved);
        let interval = self.settings.provisioner.interval;
        options::next(&places, &goal.tried, &self.memory, interval, now)
    }

    /// Puts the intents of the next launches into the ledger, one per worker type: together, so that
    /// writing it costs the same for one worker type and for a thousand.
    fn prepare(&mut self, now: Timestamp) {
        let Some(round) = self.round.as_mut() else { return };
        for goal in std::mem::take(&mut round.goals) {
            if goal.remaining == 0 {
                continue;
            }
            match self.place_of(&goal, now) {
                Ok(place) => {
                    let count = u32::try_from(goal.remaining.min(goal.at_most)).unwrap_or(u32::MAX);
                    let call = self.render(&goal.worker_type, &place, count, now);
                    let token = call.token.clone();
                    self.ledger.intents.insert(token.clone(), Intent { call, accepted: None });
                    self.ledger_dirty = true;
                    let Some(round) = self.round.as_mut() else { return };
                    round.unsaved = true;
                    round.prepared.push_back((token, goal));
                }
                Err(why) => {
                    let text = format!("{} instances are still wanted, but {why}", goal.remaining);
                    let Some(round) = self.round.as_mut() else { return };
                    round.notes.push(Note::new(Some(&goal.worker_type), why.kind(), text));
                }
            }
        }
    }

    /// Takes back the intent of a call that was not made.
    fn withdraw(&mut self, token: &ClientToken) {
        self.ledger.intents.remove(token);
        self.ledger_dirty = true;
    }

    /// Gives up the launches of this round that were not made, because EC2 wants fewer launching calls.
    /// Other calls have budgets of their own (EC2 API Reference, "Request throttling").
    fn withdraw_throttled(&mut self) {
        let Some(round) = self.round.as_mut() else { return };
        for goal in round.goals.iter().chain(round.prepared.iter().map(|(_, goal)| goal)) {
            let text = format!(
                "{} instances are still wanted, but EC2 throttles launching calls; asked again after a \
                 pause",
                goal.remaining
            );
            round.notes.push(Note::new(Some(&goal.worker_type), NoteKind::Throttled, text));
        }
        self.withdraw_all();
    }

    /// Gives up the launches of this round that were not made.
    fn withdraw_all(&mut self) {
        let Some(round) = self.round.as_mut() else { return };
        round.goals.clear();
        round.unsaved = false;
        for (token, _) in std::mem::take(&mut round.prepared) {
            self.withdraw(&token);
        }
    }

    fn render(
        &mut self,
        name: &WorkerTypeName,
        place: &Place,
        count: u32,
        now: Timestamp,
    ) -> LaunchCall {
        let token = self.tokens.next(now);
        let settings = &self.settings;
        let worker_type = &settings.worker_types[name];
        let resolved = self.resolved.get(name).and_then(|resolved| resolved.as_ref().ok());
        let mut tags = worker_type.tags.clone();
        tags.extend(own_tags(self.key_name.as_str(), name, Some(&token)));
        LaunchCall {
            worker_type: name.clone(),
            decided: now,
            count,
            key_name: self.key_name.clone(),
            image_id: resolved.map(|resolved| resolved.image_id.clone()).unwrap_or_default(),
            instance_type: place.instance_type.clone(),
            zone: place.placement.zone.clone(),
            subnet: place.placement.subnet.clone(),
            security_group_ids: resolved
                .map(|resolved| resolved.security_group_ids.clone())
                .unwrap_or_default(),
            iam_instance_profile: worker_type.iam_instance_profile.clone(),
            user_data: resolved.and_then(|resolved| resolved.user_data.clone()),
            max_price: worker_type.max_price,
            valid_until: clock::after(now, worker_type.request_timeout + VALID_BEYOND_TIMEOUT),
            tags,
            launch_specification: worker_type.launch_specification.clone(),
            token,
        }
    }

    fn tags_of(&self, batch: &Batch<InstanceId>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        let action =
            batch.parts.first().and_then(|(i, _)| self.round.as_ref()?.plan.actions.get(*i));
        let Some(name) = action.and_then(|action| action.worker_type.as_ref()) else { return tags };
        if let Some(worker_type) = self.settings.worker_types.get(name) {
            tags.clone_from(&worker_type.tags);
        }
        let id = batch.parts.first().and_then(|(_, ids)| ids.first());
        let group = self.index.types.get(name).or_else(|| self.index.retired.get(name));
        let intent = group
            .and_then(|group| group.machines.iter().find(|machine| Some(&machine.id) == id))
            .and_then(|machine| machine.intent.as_ref());
        tags.extend(own_tags(self.key_name.as_str(), name, intent));
        tags
    }

    /// Takes in how the effect at hand went. Returns the actions that were thereby carried out, for the log.
    pub fn outcome(&mut self, outcome: Outcome, now: Timestamp) -> Vec<Executed> {
        let Some(round) = self.round.as_mut() else { return Vec::new() };
        let before = round.executed.len();
        match round.current.take() {
            None => return Vec::new(),
            Some(Current::Persist) => self.persisted(outcome),
            Some(Current::Cancel(batch)) => {
                if self.bulk_outcome(
                    &batch,
                    outcome,
                    |round, rest| round.cancels.push_front(rest),
                    ActionKind::Cancel,
                ) {
                    self.cancelled(&batch, now);
                }
            }
            Some(Current::End(batch)) => {
                if self.bulk_outcome(
                    &batch,
                    outcome,
                    |round, rest| round.ends.push_front(rest),
                    ActionKind::Terminate,
                ) {
                    self.ended(&batch, now);
                }
            }
            Some(Current::Tag(batch)) => {
                if self.bulk_outcome(
                    &batch,
                    outcome,
                    |round, rest| round.tags.push_front(rest),
                    ActionKind::Tag,
                ) {
                    self.tagged_lately.extend(batch.ids().into_iter().map(|id| (id, now)));
                }
            }
            Some(Current::Repeat(token, reason)) => {
                self.launched(&token, outcome, reason, None, now);
            }
            Some(Current::Launch(token, goal)) => {
                self.launched(&token, outcome, goal.reason.clone(), Some(goal), now);
            }
        }
        self.round.as_ref().map_or_else(Vec::new, |round| round.executed[before..].to_vec())
    }

    fn persisted(&mut self, outcome: Outcome) {
        let Some(round) = self.round.as_mut() else { return };
        let Outcome::NotPersisted(why) = outcome else {
            self.ledger_dirty = false;
            round.unsaved = false;
            return;
        };
        round.ledger_broken = true;
        let text =
            format!("the in-flight ledger could not be written, so nothing is launched: {why}");
        round.notes.push(Note::new(None, NoteKind::LedgerNotWritten, text.clone()));
        for goal in std::mem::take(&mut round.goals) {
            let text = format!("{} instances are still wanted; {text}", goal.remaining);
            let name = Some(&goal.worker_type);
            round.notes.push(Note::new(name, NoteKind::LedgerNotWritten, text));
        }
        round.unsaved = false;
        // The calls were never made, and must not be: nobody could know of them after a crash.
        for (token, goal) in std::mem::take(&mut round.prepared) {
            let Some(intent) = self.ledger.intents.remove(&token) else { continue };
            let action = Action {
                kind: ActionKind::Request(u64::from(intent.call.count)),
                worker_type: Some(goal.worker_type),
                reason: goal.reason,
            };
            let refusal = Refusal {
                class: RefusalClass::Invalid,
                code: "ledger-not-written".to_owned(),
                message: text.clone(),
                request_id: None,
            };
            let launch = Some((intent.call.pool(), token));
            round.executed.push(Executed { action, launch, result: Result::Refused(refusal) });
        }
    }

    /// Records a bulk call. Returns whether it was done; puts back what is to be repeated at once.
    fn bulk_outcome<I: Clone + Ord + fmt::Display>(
        &mut self,
        batch: &Batch<I>,
        outcome: Outcome,
        repeat: impl FnOnce(&mut Round, Batch<I>),
        kind: impl Fn(Vec<I>) -> ActionKind,
    ) -> bool {
        let Some(round) = self.round.as_mut() else { return false };
        let record = |round: &mut Round, batch: &Batch<I>, result: &Result| {
            for (i, ids) in &batch.parts {
                let Some(action) = round.plan.actions.get(*i) else { continue };
                let action = Action { kind: kind(ids.clone()), ..action.clone() };
                round.executed.push(Executed { action, launch: None, result: result.clone() });
            }
        };
        match outcome {
            Outcome::Done | Outcome::Requested(_) => {
                record(round, batch, &Result::Done(Vec::new()));
                true
            }
            Outcome::NotPersisted(_) => false,
            Outcome::Refused(refusal) => {
                round.throttled |= refusal.class == RefusalClass::Throttled;
                let one_bad_id =
                    matches!(refusal.class, RefusalClass::NotFound | RefusalClass::Invalid);
                let bounded = one_bad_id && round.bulk_repeats < MAX_BULK_REPEATS;
                let split = if bounded { batch.without_named(&refusal.message) } else { None };
                match split {
                    Some((bad, rest)) => {
                        // An id EC2 does not know is gone already, or will be seen in a later look.
                        let result = if refusal.class == RefusalClass::NotFound {
                            Result::Done(Vec::new())
                        } else {
                            Result::of(refusal)
                        };
                        record(round, &bad, &result);
                        if !rest.parts.is_empty() {
                            round.bulk_repeats += 1;
                            repeat(round, rest);
                        }
                    }
                    None => record(round, batch, &Result::of(refusal)),
                }
                false
            }
        }
    }

    fn cancelled(&mut self, batch: &Batch<SpotRequestId>, now: Timestamp) {
        let Some(round) = self.round.as_mut() else { return };
        for (i, ids) in &batch.parts {
            let Some(action) = round.plan.actions.get(*i) else { continue };
            let elsewhere =
                matches!(action.reason.kind, ReasonKind::NoCapacity | ReasonKind::RequestTimeout);
            round.soon |= elsewhere;
            let mut pools = BTreeSet::new();
            for id in ids {
                if let Some(open) = self.memory.open.get(id) {
                    pools.insert(open.pool.to_string());
                }
                self.memory.cancelling.insert(id.clone(), Cancelling { at: now });
            }
            if elsewhere {
                for name in pools {
                    strike(&mut self.memory.cool_downs, name, action.reason.kind.as_str(), now);
                }
            }
        }
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        for group in self
            .index
            .types
            .values_mut()
            .chain(self.index.retired.values_mut())
            .chain([&mut self.index.strays])
        {
            for request in &mut group.open {
                request.cancelled |= ids.contains(&request.id);
            }
        }
    }

    fn ended(&mut self, batch: &Batch<InstanceId>, now: Timestamp) {
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        self.memory.ended.extend(ids.iter().map(|id| (id.clone(), now)));
        // Machines that never work are a failure of the worker type: replaced for ever, they cost for ever.
        let mut idle_types = BTreeSet::new();
        if let Some(round) = &self.round {
            let actions = batch.parts.iter().filter_map(|(i, _)| round.plan.actions.get(*i));
            let idle = actions.filter(|action| action.reason.kind == ReasonKind::NeverClaimed);
            idle_types.extend(idle.filter_map(|action| action.worker_type.clone()));
        }
        for name in idle_types {
            let text = "its instances never claimed a task within boot-timeout".to_owned();
            fail(&mut self.memory.failures, &name, text, now);
        }
        for group in self
            .index
            .types
            .values_mut()
            .chain(self.index.retired.values_mut())
            .chain([&mut self.index.strays])
        {
            let before = group.machines.len();
            group.machines.retain(|machine| !ids.contains(&machine.id));
            if group.machines.len() != before {
                group.touch();
            }
        }
    }

    /// Drops what has not been sent yet: the driver is being stopped. What remains is to write the ledger.
    ///
    /// To be called between effects, after the last one's outcome was told.
    pub fn stop_round(&mut self) {
        let Some(round) = self.round.as_mut() else { return };
        round.cancels.clear();
        round.ends.clear();
        round.repeats.clear();
        round.tags.clear();
        // Intents may be on disk already; without them, the next process does not send the calls either.
        self.withdraw_all();
    }

    /// What the answer to a launching call, first or repeated, means.
    fn launched(
        &mut self,
        token: &ClientToken,
        outcome: Outcome,
        reason: Reason,
        goal: Option<Goal>,
        now: Timestamp,
    ) {
        let (Some(round), Some(intent)) = (self.round.as_mut(), self.ledger.intents.get(token))
        else {
            return;
        };
        let call = intent.call.clone();
        let pool = call.pool();
        let name = call.worker_type.clone();
        let executed = |result| Executed {
            action: Action {
                kind: ActionKind::Request(u64::from(call.count)),
                worker_type: Some(name.clone()),
                reason,
            },
            launch: Some((pool.clone(), token.clone())),
            result,
        };
        match outcome {
            Outcome::Requested(granted) => {
                let n = granted.len() as u64;
                let ids = granted.iter().map(|granted| granted.id.clone()).collect();
                round.executed.push(executed(Result::Done(ids)));
                if let Some(mut goal) = goal {
                    goal.remaining = goal.remaining.saturating_sub(n);
                    // Asked = granted + refused: the rest is asked elsewhere.
                    if n < u64::from(call.count) {
                        goal.tried.insert(pool.to_string());
                        round.soon = true;
                    }
                    round.goals.push_back(goal);
                }
                self.granted(&call, granted, now);
            }
            Outcome::Done | Outcome::NotPersisted(_) => {}
            Outcome::Refused(refusal) => {
                round.executed.push(executed(Result::of(refusal.clone())));
                self.refused(&call, &refusal, goal, now);
            }
        }
    }

    fn granted(&mut self, call: &LaunchCall, granted: Vec<GrantedRequest>, now: Timestamp) {
        self.ledger.intents.remove(&call.token);
        self.ledger_dirty = true;
        for request in granted {
            self.ledger.granted.insert(
                request.id,
                Granted {
                    worker_type: call.worker_type.clone(),
                    token: call.token.clone(),
                    pool: call.pool(),
                    at: now,
                    last_seen: None,
                    max_price: call.max_price,
                },
            );
        }
    }

    fn refused(
        &mut self,
        call: &LaunchCall,
        refusal: &Refusal,
        goal: Option<Goal>,
        now: Timestamp,
    ) {
        let Some(round) = self.round.as_mut() else { return };
        let repeated = goal.is_none();
        // A full subnet says nothing of another in the same zone.
        let refused_where = match (refusal.code.as_str(), &call.subnet) {
            ("InsufficientFreeAddressesInSubnet", Some(subnet)) => {
                options::in_subnet(&call.pool(), subnet)
            }
            _ => call.pool().to_string(),
        };
        let class = refusal.class;
        // Before the token is looked at, a repeated call may be refused for the moment only; that says
        // nothing of the first one.
        let closes = match class {
            RefusalClass::Throttled | RefusalClass::Unauthorized => !repeated,
            RefusalClass::Transient | RefusalClass::IdempotentMismatch => false,
            RefusalClass::NoCapacity
            | RefusalClass::Quota
            | RefusalClass::NotFound
            | RefusalClass::Invalid => true,
        };
        if closes {
            self.ledger.intents.remove(&call.token);
            self.ledger_dirty = true;
        } else if class == RefusalClass::IdempotentMismatch
            && let Some(intent) = self.ledger.intents.get_mut(&call.token)
        {
            intent.accepted = Some(now);
            self.ledger_dirty = true;
        }
        round.throttled |= class == RefusalClass::Throttled;
        round.launches_throttled |= class == RefusalClass::Throttled;
        if class == RefusalClass::NoCapacity {
            strike(&mut self.memory.cool_downs, refused_where.clone(), &refusal.code, now);
        }
        // A repeated call may be refused for its age alone, which says nothing of the worker type.
        let wrong = matches!(
            class,
            RefusalClass::NotFound | RefusalClass::Invalid | RefusalClass::Unauthorized
        );
        if wrong && !repeated {
            fail(&mut self.memory.failures, &call.worker_type, refusal.to_string(), now);
        }
        let Some(mut goal) = goal else {
            round.soon |= closes;
            return;
        };
        match class {
            RefusalClass::NoCapacity => {
                goal.tried.insert(refused_where);
                round.soon = true;
            }
            RefusalClass::Quota if call.count > 1 => goal.at_most = u64::from(call.count / 2),
            RefusalClass::Quota => {
                let quota = quota(&refusal.code, &call.instance_type);
                strike(&mut self.memory.breakers, quota, &refusal.code, now);
                // Another type may be under another quota, which has its own room; the breaker passes
                // over those that are not.
                goal.at_most = u64::MAX;
            }
            RefusalClass::Throttled
            | RefusalClass::NotFound
            | RefusalClass::Unauthorized
            | RefusalClass::Invalid
            | RefusalClass::IdempotentMismatch
            | RefusalClass::Transient => return,
        }
        round.goals.push_back(goal);
    }

    /// Ends the round. Returns what came of it and when the next is due.
    pub fn end_round(&mut self, now: Timestamp) -> Option<Report> {
        let round = self.round.take()?;
        let settings = Arc::clone(&self.settings);
        let demand_known = self.demand.is_ok();
        self.failed_rounds = if demand_known { 0 } else { self.failed_rounds.saturating_add(1) };
        self.throttled_rounds = if round.throttled { self.throttled_rounds + 1 } else { 0 };
        let earliest = clock::after(round.started, settings.provisioner.min_interval);
        let wake = if round.throttled {
            self.pause(self.throttled_rounds + 1, LONGEST_FAILURE_PAUSE, now)
        } else if !demand_known {
            self.pause(self.failed_rounds, LONGEST_QUEUE_PAUSE, now)
        } else if round.soon {
            earliest
        } else {
            clock::after(round.started, settings.provisioner.interval)
        };
        let mut plan = round.plan;
        plan.notes.extend(round.notes);
        let incomplete = plan.notes.iter().any(|note| note.kind.withholds())
            || unmended_failures(&round.executed)
            || round.throttled;
        Some(Report {
            plan,
            executed: round.executed,
            wake: wake.max(earliest),
            incomplete,
            demand_known,
            throttled: round.throttled,
        })
    }
}

/// Whether something failed and stayed so. A pool without capacity, or a quota asked for less, is made
/// good when the worker type's last launch of the round went through.
fn unmended_failures(executed: &[Executed]) -> bool {
    let mut last: BTreeMap<Option<&WorkerTypeName>, bool> = BTreeMap::new();
    let mut other = false;
    for one in executed {
        let failed = !matches!(one.result, Result::Done(_));
        if one.launch.is_some() {
            last.insert(one.action.worker_type.as_ref(), failed);
        } else {
            other |= failed;
        }
    }
    other || last.values().any(|failed| *failed)
}

fn own_tags(
    key_name: &str,
    worker_type: &WorkerTypeName,
    intent: Option<&ClientToken>,
) -> impl Iterator<Item = (String, String)> {
    let intent = intent.map(|intent| (TAG_INTENT, intent.to_string()));
    [
        (TAG_KEY_NAME, key_name.to_owned()),
        (TAG_WORKER_TYPE, worker_type.to_string()),
        (TAG_NAME, worker_type.to_string()),
    ]
    .into_iter()
    .chain(intent)
    .map(|(key, value)| (key.to_owned(), value))
}
