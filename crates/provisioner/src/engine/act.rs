//! A decided round on its way: which effect comes next, and what each outcome means.
//!
//! What frees money comes first (cancel, terminate), then launches whose answer is not known, then new
//! ones, then tags. Of a launch, the intent is on disk before the call is made.

mod batch;
pub(super) mod effect;
mod launches;
pub(super) mod token;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::launch::{Pool, TAG_INTENT, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE};
use crate::domain::refusal::{Refusal, RefusalClass};
use crate::engine::act::effect::{Effect, Outcome};
use crate::engine::decide::detail::PlanNote;
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::decide::plan::{Action, ActionKind, Note, Plan, Reason, ReasonKind};
use crate::engine::state::memory::Cancelling;
use crate::engine::{Decided, Engine, LONGEST_FAILURE_PAUSE, LONGEST_QUEUE_PAUSE};

use batch::Batch;
#[cfg(feature = "aws")]
pub(crate) use launches::Launch;

/// How often bulk calls are repeated without an id that failed them, in one round. EC2 may name one id
/// at a time; a batch must not become hundreds of calls.
const MAX_BULK_REPEATS: u32 = 20;

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
    goals: VecDeque<LaunchGoal>,
    tags: VecDeque<Batch<InstanceId>>,
    /// The next launches, one per worker type, whose intents are in the ledger.
    prepared: VecDeque<(ClientToken, LaunchGoal)>,
    /// Not all of these intents are on disk yet.
    unsaved: bool,
    current: Option<Current>,
    executed: Vec<ActionOutcome>,
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

/// What a driver is doing.
#[derive(Debug)]
enum Current {
    Persist,
    Cancel(Batch<SpotRequestId>),
    End(Batch<InstanceId>),
    Repeat(ClientToken, Reason),
    Launch(ClientToken, LaunchGoal),
    Tag(Batch<InstanceId>),
}

/// One action as it was carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionOutcome {
    /// What, for whom and why. A launch tells the count of this one call.
    pub action: Action,
    /// The capacity pool a launch asked, and its token.
    pub launch: Option<(Pool, ClientToken)>,
    /// How it went.
    pub result: ActionResult,
}

/// How an action went.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionResult {
    /// Done. For a launch, the requests EC2 made.
    Done(Vec<SpotRequestId>),
    /// EC2 said no.
    Refused(Refusal),
    /// No answer: whether it was done is not known.
    Unknown(Refusal),
}

impl ActionResult {
    /// A stable name for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

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
    pub executed: Vec<ActionOutcome>,
    /// When the next round is due.
    pub wake: Timestamp,
    /// Whether something wanted was withheld, or failed and was not made good in the round.
    pub incomplete: bool,
    /// Whether the demand was known.
    pub demand_known: bool,
    /// Whether EC2 refused calls for being too many: then nothing makes the next round come sooner.
    pub throttled: bool,
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
    pub fn outcome(&mut self, outcome: Outcome, now: Timestamp) -> Vec<ActionOutcome> {
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
        let why = why.as_str();
        let text = PlanNote::LedgerNotWritten { why, wanted: None };
        round.notes.push(Note::general(&text));
        for goal in std::mem::take(&mut round.goals) {
            let note = PlanNote::LedgerNotWritten { why, wanted: Some(goal.remaining) };
            round.notes.push(Note::about(&goal.worker_type, &note));
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
                message: text.to_string(),
                request_id: None,
            };
            let launch = Some((intent.call.pool(), token));
            round.executed.push(ActionOutcome {
                action,
                launch,
                result: ActionResult::Refused(refusal),
            });
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
        let record = |round: &mut Round, batch: &Batch<I>, result: &ActionResult| {
            for (i, ids) in &batch.parts {
                let Some(action) = round.plan.actions.get(*i) else { continue };
                let action = Action { kind: kind(ids.clone()), ..action.clone() };
                round.executed.push(ActionOutcome { action, launch: None, result: result.clone() });
            }
        };
        match outcome {
            Outcome::Done | Outcome::Requested(_) => {
                record(round, batch, &ActionResult::Done(Vec::new()));
                true
            }
            Outcome::NotPersisted(_) => false,
            Outcome::Refused(refusal) => {
                round.throttled |= refusal.class == RefusalClass::Throttled;
                // A policy may allow the call on some of the ids only.
                let one_bad_id = matches!(
                    refusal.class,
                    RefusalClass::NotFound | RefusalClass::Invalid | RefusalClass::Unauthorized
                );
                let bounded = one_bad_id && round.bulk_repeats < MAX_BULK_REPEATS;
                let split = if bounded { batch.without_named(&refusal) } else { None };
                match split {
                    Some((bad, rest)) => {
                        // An id EC2 does not know is gone already, or will be seen in a later look.
                        let result = if refusal.class == RefusalClass::NotFound {
                            ActionResult::Done(Vec::new())
                        } else {
                            ActionResult::of(refusal)
                        };
                        record(round, &bad, &result);
                        if !rest.parts.is_empty() {
                            round.bulk_repeats += 1;
                            repeat(round, rest);
                        }
                    }
                    None => record(round, batch, &ActionResult::of(refusal)),
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
            if action.reason.kind == ReasonKind::NoDemand
                && let Some(name) = &action.worker_type
                && let Some(group) = self.index.types.get(name)
                && let Some(memory) = self.memory.policies.get_mut(name)
            {
                let ids: BTreeSet<_> = ids.iter().collect();
                for request in group.open.iter().filter(|request| ids.contains(&request.id)) {
                    memory.saw_cancelled(clock::age(request.asked, now));
                }
            }
            let mut pools = BTreeSet::new();
            for id in ids {
                if let Some(open) = self.memory.open.get(id) {
                    pools.insert(open.pool.to_string());
                }
                self.memory.cancelling.insert(id.clone(), Cancelling { at: now });
            }
            if elsewhere {
                for name in pools {
                    let code = action.reason.kind.as_str();
                    self.memory.strike_pool_after_wait(name, code, now);
                }
            }
        }
        let ids: BTreeSet<_> = batch.ids().into_iter().collect();
        for group in self.index.groups_mut() {
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
            self.memory.launch_failed(&name, text, now);
        }
        for group in self.index.groups_mut() {
            group.machines.retain(|machine| !ids.contains(&machine.id));
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
fn unmended_failures(executed: &[ActionOutcome]) -> bool {
    let mut last: BTreeMap<Option<&WorkerTypeName>, bool> = BTreeMap::new();
    let mut other = false;
    for one in executed {
        let failed = !matches!(one.result, ActionResult::Done(_));
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
