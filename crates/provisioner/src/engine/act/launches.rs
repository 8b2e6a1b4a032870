//! Launching calls in a round: where they go, their intents, and what their answers mean.

use std::time::Duration;

use jiff::Timestamp;

use super::{ActionOutcome, ActionResult, Round, own_tags};
use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceType, KeyName, WorkerTypeName};
use crate::domain::launch::{LaunchCall, ResolvedPlacement, ResolvedWorkerType};
use crate::domain::ledger::{Granted, Intent};
use crate::domain::refusal::{Refusal, RefusalClass};
use crate::engine::act::effect::{GrantedRequest, Outcome};
use crate::engine::decide::detail::NoPlacement;
use crate::engine::decide::detail::{Obstacle, PlanNote};
use crate::engine::decide::placement::{self, Choice, Circumstances, LaunchGoal};
use crate::engine::decide::plan::{Action, ActionKind, Note, Reason};
use crate::engine::state::api_budget::CallClass;
use crate::engine::state::failures::Failures;
use crate::engine::state::places::{self, Placement, RefusedLaunch};
use crate::settings::WorkerType;

/// A request outlives its timeout by this much at EC2, so that a dead daemon buys nothing later.
const VALID_BEYOND_TIMEOUT: Duration = Duration::from_mins(2);

impl Round<'_> {
    /// Where `goal` is to be asked for next.
    pub(super) fn placement_of(
        &self,
        goal: &LaunchGoal,
        now: Timestamp,
    ) -> Result<Choice, NoPlacement> {
        let name = &goal.worker_type;
        let (Some(worker_type), Some(Ok(resolved))) =
            (self.engine.settings.worker_types.get(name), self.resolved.get(name))
        else {
            return Err(NoPlacement::AllTried);
        };
        let interval = self.engine.settings.provisioner.interval;
        let memory = &self.engine.durable.memory;
        if let Some(held) = placement::held_profile(worker_type, memory, interval, now) {
            return Err(held);
        }
        let addresses_taken = &self.addresses_taken;
        let circumstances =
            Circumstances { worker_type: name, memory, addresses_taken, interval, now };
        let placements = places::all(worker_type, resolved);
        placement::next(&placements, goal.remaining, &goal.tries, circumstances)
    }

    /// Puts the intents of the next launches into the ledger, one per worker type: together, so that
    /// writing it costs the same for one worker type and for a thousand.
    pub(super) fn prepare(&mut self, now: Timestamp) {
        self.goals.retain(|goal| goal.remaining > 0);
        let available = self.budget(CallClass::Launch).available(now);
        for goal in std::mem::take(&mut self.goals) {
            match self.placement_of(&goal, now) {
                Ok(_) if self.prepared.len() >= available => self.goals.push_back(goal),
                Ok(Choice { placement, at_most }) => {
                    let count = u32::try_from(goal.remaining.min(at_most)).unwrap_or(u32::MAX);
                    let call = self.render(&goal.worker_type, &placement, count, now);
                    let token = call.token.clone();
                    let durable = &mut self.engine.durable;
                    durable.ledger.intents.insert(token.clone(), Intent::new(call));
                    durable.ledger_dirty = true;
                    self.unsaved = true;
                    self.prepared.push_back((token, goal));
                }
                Err(why) => self.note_not_placed(&goal, why),
            }
        }
        if self.prepared.is_empty() && !self.goals.is_empty() {
            self.hold_back_goals(now);
        }
    }

    /// Leaves the launches whose answer is not known to a later round: EC2 allows no more launching calls now.
    pub(super) fn hold_back_repeats(&mut self, now: Timestamp) {
        let intents = &self.engine.durable.ledger.intents;
        let repeats = std::mem::take(&mut self.repeats);
        let calls = repeats.iter().filter_map(|(token, _)| intents.get(token));
        let wanted = calls
            .map(|intent| (intent.call.worker_type.clone(), u64::from(intent.call.count)))
            .collect();
        self.hold_back_launches(wanted, |until| Obstacle::ApiBudget { until }, now);
    }

    /// Leaves the goals to a later round: EC2 allows no more launching calls now.
    fn hold_back_goals(&mut self, now: Timestamp) {
        let goals = std::mem::take(&mut self.goals).into_iter();
        let wanted = goals.map(|goal| (goal.worker_type, goal.remaining)).collect();
        self.hold_back_launches(wanted, |until| Obstacle::ApiBudget { until }, now);
    }

    /// Notes that so many instances of each worker type are left to the round that comes when EC2 allows more
    /// launching calls. The worker types that wait longest come first then.
    fn hold_back_launches(
        &mut self,
        wanted: Vec<(WorkerTypeName, u64)>,
        obstacle: impl FnOnce(Timestamp) -> Obstacle<'static>,
        now: Timestamp,
    ) {
        let calls = wanted.len();
        let until = self.budget(CallClass::Launch).next_at(calls, now);
        self.hold_back(CallClass::Launch, calls);
        let obstacle = &obstacle(until);
        for (worker_type, wanted) in wanted {
            let note = PlanNote::NoLongerLaunched { wanted, obstacle };
            self.notes.push(Note::about(&worker_type, &note));
            self.engine.backoff.waiting.entry(worker_type).or_insert(self.started);
        }
    }

    fn note_not_placed(&mut self, goal: &LaunchGoal, why: NoPlacement) {
        let obstacle = &Obstacle::NoPlacement(why);
        let note = PlanNote::NoLongerLaunched { wanted: goal.remaining, obstacle };
        self.notes.push(Note::about(&goal.worker_type, &note));
    }

    /// Gives up the launches of this round that were not made, because EC2 wants fewer launching calls.
    /// Other calls have budgets of their own (EC2 API Reference, "Request throttling").
    pub(super) fn withdraw_throttled(&mut self, now: Timestamp) {
        let prepared = self.prepared.iter().map(|(_, goal)| goal);
        let goals = self.goals.iter().chain(prepared).filter(|goal| goal.remaining > 0);
        let wanted: Vec<_> = goals.map(|goal| (goal.worker_type.clone(), goal.remaining)).collect();
        if !wanted.is_empty() {
            self.hold_back_launches(wanted, |_| Obstacle::Throttled, now);
        }
        self.withdraw_all();
    }

    /// Gives up the launches of this round that were not made.
    pub(super) fn withdraw_all(&mut self) {
        self.goals.clear();
        self.unsaved = false;
        for (token, _) in std::mem::take(&mut self.prepared) {
            self.engine.durable.close_intent(&token);
        }
    }

    fn render(
        &mut self,
        name: &WorkerTypeName,
        placement: &Placement,
        count: u32,
        now: Timestamp,
    ) -> LaunchCall {
        let token = self.engine.tokens.next(self.engine.durable.ledger.id.as_ref(), now);
        let secret = self.engine.stop_secret.as_ref();
        let launch = Launch {
            key_name: &self.engine.key_name,
            name,
            worker_type: &self.engine.settings.worker_types[name],
            resolved: self.resolved.get(name).and_then(|resolved| resolved.as_ref().ok()),
            instance_type: &placement.instance_type,
            placement: &placement.placement,
            stop_token: &secret.map(|secret| secret.token(&token)).unwrap_or_default(),
        };
        launch.call(token, count, now)
    }

    /// Takes in the answer to a launching call, first or repeated (`goal` is `None`).
    pub(super) fn launched(
        &mut self,
        token: &ClientToken,
        outcome: Outcome,
        reason: Reason,
        goal: Option<LaunchGoal>,
        now: Timestamp,
    ) {
        let Some(intent) = self.engine.durable.ledger.intents.get(token) else { return };
        let call = intent.call.clone();
        let pool = call.pool();
        let executed = |result| ActionOutcome {
            action: Action {
                kind: ActionKind::Request(u64::from(call.count)),
                worker_type: Some(call.worker_type.clone()),
                reason,
            },
            launch: Some((pool.clone(), token.clone())),
            result,
        };
        match outcome {
            Outcome::Requested(granted) => {
                let n = granted.len() as u64;
                let ids = granted.iter().map(|granted| granted.id.clone()).collect();
                self.executed.push(executed(ActionResult::Done(ids)));
                self.engine.backoff.waiting.remove(&call.worker_type);
                if let Some(subnet) = &call.subnet {
                    *self.addresses_taken.entry(subnet.clone()).or_default() += n;
                }
                if let Some(mut goal) = goal {
                    goal.remaining = goal.remaining.saturating_sub(n);
                    let place = places::place_name(&pool, call.subnet.as_ref());
                    *goal.tries.granted.entry(place).or_default() += n;
                    // Asked = granted + refused: the rest is asked for elsewhere.
                    if n < u64::from(call.count) {
                        goal.tries.refused.insert(pool.to_string());
                        self.soon = true;
                    }
                    self.goals.push_back(goal);
                }
                self.granted(&call, granted, now);
            }
            Outcome::Done | Outcome::NotPersisted(_) => {}
            Outcome::Refused(refusal) => {
                self.executed.push(executed(ActionResult::of(refusal.clone())));
                self.refused(&call, &refusal, goal, now);
            }
        }
    }

    fn granted(&mut self, call: &LaunchCall, granted: Vec<GrantedRequest>, now: Timestamp) {
        let durable = &mut self.engine.durable;
        durable.close_intent(&call.token);
        let granted = granted.into_iter().map(|request| {
            let granted = Granted {
                worker_type: call.worker_type.clone(),
                token: call.token.clone(),
                pool: call.pool(),
                at: now,
                last_seen: None,
                missed: 0,
                arrived: None,
                max_price: call.max_price,
            };
            (request.id, granted)
        });
        durable.ledger.granted.extend(granted);
    }

    fn refused(
        &mut self,
        call: &LaunchCall,
        refusal: &Refusal,
        goal: Option<LaunchGoal>,
        now: Timestamp,
    ) {
        let class = refusal.class;
        let repeated = goal.is_none();
        self.settle_intent(call, class, repeated, now);
        // A refusal brings the next round soon; only throttling asks for the opposite. A repeated call that
        // stays open for a profile would be made in each of those rounds.
        let asks_for_time =
            class == RefusalClass::Throttled || repeated && class == RefusalClass::UnknownProfile;
        self.soon |= class.is_definite() && !asks_for_time;
        self.throttled |= class == RefusalClass::Throttled;
        self.launches_throttled |= class == RefusalClass::Throttled;
        let places = self.places_of(&call.worker_type);
        let place = places::place_name(&call.pool(), call.subnet.as_ref());
        let memory = &mut self.engine.durable.memory;
        // A smaller count is asked for first. A repeated call may be refused for its age alone, which says
        // nothing of the worker type.
        let shrinks = matches!(class, RefusalClass::Quota | RefusalClass::NoFreeAddresses);
        let may_shrink = shrinks && call.count > 1;
        let says_nothing = repeated && class != RefusalClass::NoCapacity;
        if !may_shrink && !says_nothing {
            let refused = RefusedLaunch {
                worker_type: &call.worker_type,
                pool: &call.pool(),
                subnet: call.subnet.as_ref(),
                class,
                code: &refusal.code,
                text: refusal.to_string(),
                places: &places,
                waited: false,
                asked: now,
            };
            memory.launch_refused(&refused, now);
        }
        let Some(mut goal) = goal else { return };
        match class {
            RefusalClass::NoCapacity => {
                goal.tries.refused.insert(call.pool().to_string());
            }
            RefusalClass::NoFreeAddresses if call.count > 1 => {
                goal.tries.at_most_in.insert(place, u64::from(call.count / 2));
            }
            RefusalClass::NoFreeAddresses | RefusalClass::UnsuitablePlace => {
                goal.tries.refused.insert(place);
            }
            RefusalClass::Unclear => {
                let same = places.iter().filter(|it| it.instance_type == call.instance_type);
                goal.tries.refused.extend(same.map(Placement::name));
            }
            RefusalClass::Quota if call.count > 1 => {
                goal.tries.at_most = u64::from(call.count / 2);
            }
            // Another type may be under another quota, which has headroom of its own; the breaker passes over
            // those that are not.
            RefusalClass::Quota => goal.tries.at_most = u64::MAX,
            RefusalClass::UnknownProfile => return self.profile_unknown(call, refusal, &goal, now),
            RefusalClass::Throttled => {}
            // What this call asked for counts as in flight until its answer is known.
            RefusalClass::IdempotentMismatch | RefusalClass::Transient => {
                goal.remaining = goal.remaining.saturating_sub(u64::from(call.count));
                *goal.tries.granted.entry(place).or_default() += u64::from(call.count);
            }
            RefusalClass::NotFound | RefusalClass::Unauthorized | RefusalClass::Invalid => return,
        }
        if !memory.failures.get(&call.worker_type).is_some_and(Failures::is_too_many) {
            self.goals.push_back(goal);
        }
    }

    /// All places in which the worker type may launch.
    pub(super) fn places_of(&self, name: &WorkerTypeName) -> Vec<Placement> {
        places::of(name, &self.engine.settings, self.resolved)
    }

    /// Closes the intent of a call that was definitely refused; one that was accepted before is followed.
    fn settle_intent(
        &mut self,
        call: &LaunchCall,
        class: RefusalClass,
        repeated: bool,
        now: Timestamp,
    ) {
        let durable = &mut self.engine.durable;
        match class {
            // A repeated call may be refused for the moment only, before its token is looked at; that says
            // nothing of the first one.
            RefusalClass::Throttled | RefusalClass::Unauthorized | RefusalClass::UnknownProfile
                if repeated => {}
            RefusalClass::Transient => {}
            RefusalClass::IdempotentMismatch => {
                if let Some(intent) = durable.ledger.intents.get_mut(&call.token) {
                    intent.accepted = Some(now);
                    durable.ledger_dirty = true;
                }
            }
            RefusalClass::Throttled
            | RefusalClass::Unauthorized
            | RefusalClass::UnknownProfile
            | RefusalClass::NoCapacity
            | RefusalClass::UnsuitablePlace
            | RefusalClass::NoFreeAddresses
            | RefusalClass::Unclear
            | RefusalClass::Quota
            | RefusalClass::NotFound
            | RefusalClass::Invalid => durable.close_intent(&call.token),
        }
    }

    /// EC2 does not know the instance profile: no other pool helps, and nothing more is asked for `goal` in
    /// this round.
    fn profile_unknown(
        &mut self,
        call: &LaunchCall,
        refusal: &Refusal,
        goal: &LaunchGoal,
        now: Timestamp,
    ) {
        let name = &call.worker_type;
        let profile = call.iam_instance_profile.as_deref();
        let memory = &mut self.engine.durable.memory;
        if !memory.profile_unknown(profile, name, &refusal.to_string(), now) {
            return;
        }
        let settings = &self.engine.settings;
        let interval = settings.provisioner.interval;
        let worker_type = settings.worker_types.get(name);
        let held = worker_type
            .and_then(|worker_type| placement::held_profile(worker_type, memory, interval, now));
        if let Some(why) = held {
            self.note_not_placed(goal, why);
        }
    }
}

/// Everything that a launching call is made from: `validate --aws` asks about the same calls as a round
/// makes.
pub(crate) struct Launch<'a> {
    pub(crate) key_name: &'a KeyName,
    pub(crate) name: &'a WorkerTypeName,
    pub(crate) worker_type: &'a WorkerType,
    pub(crate) resolved: Option<&'a ResolvedWorkerType>,
    pub(crate) instance_type: &'a InstanceType,
    pub(crate) placement: &'a ResolvedPlacement,
    /// The token by which workers of this launch prove themselves when they ask whether to stop.
    pub(crate) stop_token: &'a str,
}

impl Launch<'_> {
    /// The complete call.
    pub(crate) fn call(&self, token: ClientToken, count: u32, now: Timestamp) -> LaunchCall {
        let Self { key_name, name, worker_type, resolved, instance_type, placement, stop_token } =
            self;
        let mut tags = worker_type.tags.clone();
        tags.extend(own_tags(key_name.as_str(), name, Some(&token)));
        LaunchCall {
            worker_type: (*name).clone(),
            decided: now,
            count,
            key_name: (*key_name).clone(),
            image_id: resolved.map(|resolved| resolved.image_id.clone()).unwrap_or_default(),
            instance_type: (*instance_type).clone(),
            zone: placement.zone.clone(),
            subnet: placement.subnet.clone(),
            security_group_ids: resolved
                .map(|resolved| resolved.security_group_ids.clone())
                .unwrap_or_default(),
            iam_instance_profile: worker_type.iam_instance_profile.clone(),
            user_data: resolved
                .and_then(|resolved| resolved.user_data.as_ref())
                .map(|user_data| user_data.to_base64(stop_token)),
            max_price: worker_type.max_price,
            valid_until: clock::after(now, worker_type.request_timeout + VALID_BEYOND_TIMEOUT),
            tags,
            launch_specification: worker_type.launch_specification.deleting_volumes(
                resolved.map_or(&[], |resolved| resolved.lasting_devices.as_slice()),
            ),
            token,
        }
    }
}
