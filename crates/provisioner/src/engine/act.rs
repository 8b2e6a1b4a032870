//! A decided round on its way: which effect comes next, and what each outcome means.
//!
//! What frees money comes first (cancel, terminate), then launches whose answer is not known, then new
//! ones, then tags. The intent of a launch is on disk before its call is made: the next launches of all
//! worker types are written together ([`Round::prepare`]), then made one by one. A refused launch goes
//! back among the goals and is asked for elsewhere in the same round.

mod bulk;
pub(super) mod effect;
mod launches;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, SubnetId, WorkerTypeName};
use crate::domain::launch::{Pool, TAG_INTENT, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE};
use crate::domain::refusal::{Refusal, RefusalClass};
use crate::engine::act::effect::{Effect, Outcome};
use crate::engine::decide::Decided;
use crate::engine::decide::detail::PlanNote;
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::decide::plan::{Action, ActionKind, Note, Plan, Reason};
use crate::engine::state::api_budget::{Bucket, CallClass};
use crate::engine::state::group::UNFILLABLE_AFTER;
use crate::engine::state::machine::OpenRequest;
use crate::engine::{Engine, Resolved};
use crate::pools::PoolRecord;

use bulk::{Batch, Bulk};
#[cfg(feature = "aws")]
pub(crate) use launches::Launch;

/// EC2 evaluates a spot request within seconds, and says by its status whether it can be filled.
const FIRST_OBSERVATION_AFTER: Duration = Duration::from_secs(3);
/// A request of which EC2 does not say so within this time is observed at the regular times.
const EVALUATED_WITHIN: Duration = Duration::from_secs(10);

/// A decided round. It ends with [`end`](Self::end); dropping it leaves the rest undone.
#[derive(Debug)]
#[must_use = "a round that is dropped does nothing"]
#[expect(
    clippy::struct_excessive_bools,
    reason = "seven facts about a round, none of which excludes another"
)]
pub struct Round<'e> {
    engine: &'e mut Engine,
    resolved: &'e Resolved,
    demand_known: bool,
    plan: Plan,
    started: Timestamp,
    /// Bulk calls that free money: cancels, then terminations.
    freeing: VecDeque<Bulk>,
    repeats: VecDeque<(ClientToken, Reason)>,
    goals: VecDeque<LaunchGoal>,
    tags: VecDeque<Bulk>,
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
    /// Launching calls were throttled.
    launches_throttled: bool,
    /// Calls of which EC2's limits allow no more in this round, and how many of them are wanted.
    held_back: Vec<(CallClass, usize)>,
    /// How many addresses the launches of this round took in each subnet.
    addresses_taken: BTreeMap<SubnetId, u64>,
    /// A call passed.
    passed: bool,
    /// Bulk calls repeated without an id that failed them.
    bulk_repeats: u32,
    /// The ledger could not be written: no launches in this round.
    ledger_broken: bool,
}

/// The effect that the driver carries out now.
#[derive(Debug)]
enum Current {
    Persist,
    Bulk(Bulk),
    Repeat(ClientToken, Reason),
    Launch(ClientToken, LaunchGoal),
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

impl<'e> Round<'e> {
    pub(super) fn new(
        engine: &'e mut Engine,
        resolved: &'e Resolved,
        demand_known: bool,
        decided: Decided,
        now: Timestamp,
    ) -> Self {
        let Decided { mut plan, mut goals, repeats } = decided;
        let (freeing, tags) = Bulk::of(&plan);
        // The worker types that have waited longest for EC2's limits come first.
        let waiting = &engine.backoff.waiting;
        let first = |goal: &LaunchGoal| {
            waiting.get(&goal.worker_type).map_or((true, now), |since| (false, *since))
        };
        goals.sort_by_key(first);
        let launches = engine.backoff.budget.of(CallClass::Launch);
        let calls = goals.len() + repeats.len();
        if calls > launches.available(now) {
            let takes = launches.takes(calls);
            plan.notes.push(Note::general(&PlanNote::Burst { calls, takes }));
        }
        Self {
            engine,
            resolved,
            demand_known,
            started: now,
            freeing,
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
            held_back: Vec::new(),
            addresses_taken: BTreeMap::new(),
            passed: false,
            bulk_repeats: 0,
            ledger_broken: false,
            plan,
        }
    }

    /// What was decided.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the next effect to carry out, or `None` once there is nothing left to do. The driver
    /// carries out one effect at a time and reports its [`outcome`](Self::outcome) before the next.
    pub fn next_effect(&mut self, now: Timestamp) -> Option<Effect> {
        loop {
            if let Some(bulk) = self.freeing.pop_front() {
                return Some(self.start_bulk(bulk, now));
            }
            if !self.repeats.is_empty() && self.budget(CallClass::Launch).available(now) == 0 {
                self.hold_back_repeats(now);
            }
            if let Some((token, reason)) = self.repeats.pop_front() {
                let Some(intent) = self.engine.durable.ledger.intents.get(&token) else { continue };
                let call = Box::new(intent.call.clone());
                self.current = Some(Current::Repeat(token, reason));
                self.budget(CallClass::Launch).make(now);
                return Some(Effect::Request(call));
            }
            if self.launches_throttled {
                self.withdraw_throttled(now);
            } else if self.prepared.is_empty() && !self.ledger_broken {
                self.prepare(now);
            }
            // Before a call its intent is on disk. What the answers changed is written before the next
            // calls, or at the end: until then the intents say it too.
            let all_done = self.prepared.is_empty() && self.tags.is_empty();
            let due = self.unsaved || (self.engine.durable.ledger_dirty && all_done);
            if due && !self.ledger_broken {
                self.current = Some(Current::Persist);
                let ledger = self.engine.durable.ledger.clone();
                return Some(Effect::PersistLedger(Arc::new(ledger)));
            }
            if let Some((token, goal)) = self.prepared.pop_front() {
                let Some(intent) = self.engine.durable.ledger.intents.get(&token) else { continue };
                let placement = self.placement_of(&goal, now);
                if placement.is_ok_and(|choice| choice.placement.is_of(&intent.call)) {
                    let call = Box::new(intent.call.clone());
                    self.current = Some(Current::Launch(token, goal));
                    self.budget(CallClass::Launch).make(now);
                    return Some(Effect::Request(call));
                }
                // Another worker type was refused there a moment ago: this launch is placed again.
                self.engine.durable.close_intent(&token);
                self.goals.push_back(goal);
                continue;
            }
            if !self.tags.is_empty() && self.budget(CallClass::Tag).available(now) == 0 {
                self.hold_back(CallClass::Tag, self.tags.len());
                self.tags.clear();
            }
            return self.tags.pop_front().map(|bulk| self.start_bulk(bulk, now));
        }
    }

    fn budget(&mut self, class: CallClass) -> &mut Bucket {
        self.engine.backoff.budget.of(class)
    }

    /// Leaves calls that are still wanted to the next round, which comes when EC2 allows more of them.
    fn hold_back(&mut self, class: CallClass, calls: usize) {
        self.held_back.push((class, calls));
    }

    /// Counts how EC2 took a call.
    fn count_call(&mut self, class: CallClass, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Refused(refusal) if refusal.class == RefusalClass::Throttled => {
                self.budget(class).throttled(now);
            }
            // A call that was not answered says nothing of the bucket.
            Outcome::Refused(refusal) if refusal.class == RefusalClass::Transient => {}
            Outcome::NotPersisted(_) => {}
            Outcome::Done | Outcome::Requested(_) | Outcome::Refused(_) => {
                self.passed = true;
                self.budget(class).passed();
            }
        }
    }

    fn start_bulk(&mut self, bulk: Bulk, now: Timestamp) -> Effect {
        self.budget(bulk.class()).make(now);
        let effect = match &bulk {
            Bulk::Cancel(batch) | Bulk::Close(batch) => Effect::Cancel(batch.ids()),
            Bulk::Terminate(batch) => Effect::Terminate(batch.ids()),
            Bulk::Tag(batch) => Effect::Tag {
                instances: batch.ids(),
                volumes: self.volumes_of(batch),
                tags: self.tags_of(batch),
            },
            Bulk::TagInstances(batch) => Effect::Tag {
                instances: batch.ids(),
                volumes: Vec::new(),
                tags: self.tags_of(batch),
            },
        };
        self.current = Some(Current::Bulk(bulk));
        effect
    }

    fn tags_of(&self, batch: &Batch<InstanceId>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        let part = batch.parts.first();
        let action = part.and_then(|(i, _)| self.plan.actions.get(*i));
        let Some(name) = action.and_then(|action| action.worker_type.as_ref()) else { return tags };
        if let Some(worker_type) = self.engine.settings.worker_types.get(name) {
            tags.clone_from(&worker_type.tags);
        }
        let id = part.and_then(|(_, ids)| ids.first());
        let index = &self.engine.view.index;
        let group = index.types.get(name).or_else(|| index.retired.get(name));
        let intent = group
            .and_then(|group| group.machines.iter().find(|machine| Some(&machine.id) == id))
            .and_then(|machine| machine.intent.as_ref());
        tags.extend(own_tags(self.engine.key_name.as_str(), name, intent));
        tags
    }

    /// Takes in how the effect at hand went. Returns the actions that were thereby carried out, for the
    /// log.
    pub fn outcome(&mut self, outcome: Outcome, now: Timestamp) -> Vec<ActionOutcome> {
        let before = self.executed.len();
        match self.current.take() {
            None => {}
            Some(Current::Persist) => self.persisted(outcome),
            Some(Current::Bulk(bulk)) => {
                self.count_call(bulk.class(), &outcome, now);
                self.bulk_outcome(bulk, outcome, now);
            }
            Some(Current::Repeat(token, reason)) => {
                self.count_call(CallClass::Launch, &outcome, now);
                self.launched(&token, outcome, reason, None, now);
            }
            Some(Current::Launch(token, goal)) => {
                self.count_call(CallClass::Launch, &outcome, now);
                self.launched(&token, outcome, goal.reason.clone(), Some(goal), now);
            }
        }
        self.executed[before..].to_vec()
    }

    fn persisted(&mut self, outcome: Outcome) {
        self.unsaved = false;
        let Outcome::NotPersisted(why) = outcome else {
            self.engine.durable.ledger_written();
            return;
        };
        self.ledger_broken = true;
        let why = why.as_str();
        let note = PlanNote::LedgerNotWritten { why, wanted: None };
        self.notes.push(Note::general(&note));
        let text = note.to_string();
        for goal in std::mem::take(&mut self.goals) {
            let note = PlanNote::LedgerNotWritten { why, wanted: Some(goal.remaining) };
            self.notes.push(Note::about(&goal.worker_type, &note));
        }
        // The calls were never made, and must not be: after a crash, nothing would know of them.
        for (token, goal) in std::mem::take(&mut self.prepared) {
            let Some(intent) = self.engine.durable.ledger.intents.remove(&token) else { continue };
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
            let result = ActionResult::Refused(refusal);
            self.executed.push(ActionOutcome { action, launch, result });
        }
    }

    /// Drops what has not been sent yet, because the driver is being stopped. Only writing the ledger
    /// remains. To be called between effects, after the last one's outcome was reported.
    pub fn stop(&mut self) {
        self.freeing.clear();
        self.repeats.clear();
        self.tags.clear();
        // Intents may be on disk already; without them, the next process does not send the calls either.
        self.withdraw_all();
    }

    /// When open requests are to be observed before the regular time: soon after they were made in a pool that is
    /// not known to have capacity, and when one has waited in vain for long enough to be cancelled.
    fn first_observation_due(&self) -> Option<Timestamp> {
        let memory = &self.engine.durable.memory;
        let is_proven =
            |pool: &Pool| memory.pools.get(&pool.to_string()).is_some_and(PoolRecord::is_proven);
        let made = self.executed.iter().any(|one| {
            let asked = matches!(&one.result, ActionResult::Done(ids) if !ids.is_empty());
            asked && one.launch.as_ref().is_some_and(|(pool, _)| !is_proven(pool))
        });
        let soon = clock::after(self.started, FIRST_OBSERVATION_AFTER);
        let evaluated_until = |request: &OpenRequest| clock::after(request.asked, EVALUATED_WITHIN);
        let due = |request: &OpenRequest| match request.unfillable_since {
            Some(since) => Some(clock::after(since, UNFILLABLE_AFTER)),
            None if evaluated_until(request) > self.started && !is_proven(&request.pool) => {
                Some(soon)
            }
            None => None,
        };
        let open = self.engine.view.index.types.values().flat_map(|group| &group.open);
        let open = open.filter(|request| !request.cancelled).filter_map(due);
        open.filter(|at| *at > self.started).chain(made.then_some(soon)).min()
    }

    /// Ends the round. Returns what came of it and when the next is due.
    pub fn end(self, now: Timestamp) -> Report {
        let first_observation = self.first_observation_due();
        let Self { engine, demand_known, throttled, mut plan, executed, .. } = self;
        let settings = &engine.settings.provisioner;
        let earliest = clock::after(self.started, settings.min_interval);
        // Where calls passed, EC2's limits say when the next may.
        let pauses = throttled && !self.passed;
        let wake = match engine.backoff.round_ended(demand_known, pauses) {
            Some(pause) => pause.until(&mut engine.tokens, &engine.settings, now),
            None if self.held_back.is_empty() && self.soon => earliest,
            None => {
                let held_back = self.held_back.iter();
                let allowed = held_back
                    .map(|(class, calls)| engine.backoff.budget.of(*class).next_at(*calls, now));
                let regular = clock::after(self.started, settings.interval);
                allowed.chain(first_observation).fold(regular, Timestamp::min)
            }
        };
        plan.notes.extend(self.notes);
        let incomplete = plan.notes.iter().any(|note| note.kind.withholds())
            || unresolved_failures(&executed)
            || throttled;
        Report { plan, executed, wake: wake.max(earliest), incomplete, demand_known, throttled }
    }
}

/// Whether something failed and stayed so. A pool without capacity, or a quota asked for less, is made
/// good when the worker type's last launch of the round went through.
fn unresolved_failures(executed: &[ActionOutcome]) -> bool {
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
