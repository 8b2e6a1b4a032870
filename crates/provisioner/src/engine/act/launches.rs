//! Launching calls in a round: where they go, their intents, and what their answers mean.

use jiff::Timestamp;

use super::{ActionOutcome, ActionResult, own_tags};

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceType, KeyName, WorkerTypeName};
use crate::domain::launch::{LaunchCall, ResolvedPlacement, ResolvedWorkerType};
use crate::domain::ledger::{Granted, Intent};
use crate::domain::refusal::{Refusal, RefusalClass};
use crate::engine::Engine;
use crate::engine::act::effect::{GrantedRequest, Outcome};
use crate::engine::decide::detail::{Obstacle, PlanNote};
use crate::engine::decide::placement::{self, LaunchGoal, NoPlacement, Placement};
use crate::engine::decide::plan::{Action, ActionKind, Note, Reason};
use crate::settings::WorkerType;

/// A request outlives its timeout by this much at EC2, so that a dead daemon buys nothing later
/// (interface 6).
const VALID_BEYOND_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(2);

impl Engine {
    /// Where `goal` is to be asked for next.
    pub(in crate::engine) fn place_of(
        &self,
        goal: &LaunchGoal,
        now: Timestamp,
    ) -> Result<Placement, NoPlacement> {
        let name = &goal.worker_type;
        let (Some(worker_type), Some(Ok(resolved))) =
            (self.settings.worker_types.get(name), self.resolved.get(name))
        else {
            return Err(NoPlacement::AllTried);
        };
        let interval = self.settings.provisioner.interval;
        if let Some(held) = placement::held_profile(worker_type, &self.memory, interval, now) {
            return Err(held);
        }
        let places = placement::all(worker_type, resolved);
        placement::next(&places, &goal.tried, &self.memory, interval, now)
    }

    /// Puts the intents of the next launches into the ledger, one per worker type: together, so that
    /// writing it costs the same for one worker type and for a thousand.
    pub(in crate::engine) fn prepare(&mut self, now: Timestamp) {
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
                    let Some(round) = self.round.as_mut() else { return };
                    let obstacle = &Obstacle::NoPlacement(why);
                    let note = PlanNote::NoLongerLaunched { wanted: goal.remaining, obstacle };
                    round.notes.push(Note::about(&goal.worker_type, &note));
                }
            }
        }
    }

    /// Takes back the intent of a call that was not made.
    pub(in crate::engine) fn withdraw(&mut self, token: &ClientToken) {
        self.ledger.intents.remove(token);
        self.ledger_dirty = true;
    }

    /// Gives up the launches of this round that were not made, because EC2 wants fewer launching calls.
    /// Other calls have budgets of their own (EC2 API Reference, "Request throttling").
    pub(in crate::engine) fn withdraw_throttled(&mut self) {
        let Some(round) = self.round.as_mut() else { return };
        for goal in round.goals.iter().chain(round.prepared.iter().map(|(_, goal)| goal)) {
            let obstacle = &Obstacle::Throttled;
            let note = PlanNote::NoLongerLaunched { wanted: goal.remaining, obstacle };
            round.notes.push(Note::about(&goal.worker_type, &note));
        }
        self.withdraw_all();
    }

    /// Gives up the launches of this round that were not made.
    pub(in crate::engine) fn withdraw_all(&mut self) {
        let Some(round) = self.round.as_mut() else { return };
        round.goals.clear();
        round.unsaved = false;
        for (token, _) in std::mem::take(&mut round.prepared) {
            self.withdraw(&token);
        }
    }

    pub(in crate::engine) fn render(
        &mut self,
        name: &WorkerTypeName,
        place: &Placement,
        count: u32,
        now: Timestamp,
    ) -> LaunchCall {
        let token = self.tokens.next(now);
        let launch = Launch {
            key_name: &self.key_name,
            name,
            worker_type: &self.settings.worker_types[name],
            resolved: self.resolved.get(name).and_then(|resolved| resolved.as_ref().ok()),
            instance_type: &place.instance_type,
            placement: &place.placement,
            stop_token: &self.desk.book().token(&token),
        };
        launch.call(token, count, now)
    }

    /// What the answer to a launching call, first or repeated, means.
    pub(in crate::engine) fn launched(
        &mut self,
        token: &ClientToken,
        outcome: Outcome,
        reason: Reason,
        goal: Option<LaunchGoal>,
        now: Timestamp,
    ) {
        let (Some(round), Some(intent)) = (self.round.as_mut(), self.ledger.intents.get(token))
        else {
            return;
        };
        let call = intent.call.clone();
        let pool = call.pool();
        let name = call.worker_type.clone();
        let executed = |result| ActionOutcome {
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
                round.executed.push(executed(ActionResult::Done(ids)));
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
                round.executed.push(executed(ActionResult::of(refusal.clone())));
                self.refused(&call, &refusal, goal, now);
            }
        }
    }

    pub(in crate::engine) fn granted(
        &mut self,
        call: &LaunchCall,
        granted: Vec<GrantedRequest>,
        now: Timestamp,
    ) {
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
                    arrived: None,
                    max_price: call.max_price,
                },
            );
        }
    }

    pub(in crate::engine) fn refused(
        &mut self,
        call: &LaunchCall,
        refusal: &Refusal,
        goal: Option<LaunchGoal>,
        now: Timestamp,
    ) {
        let Some(round) = self.round.as_mut() else { return };
        let repeated = goal.is_none();
        // A full subnet says nothing of another in the same zone.
        let refused_where = match (refusal.code.as_str(), &call.subnet) {
            ("InsufficientFreeAddressesInSubnet", Some(subnet)) => {
                placement::in_subnet(&call.pool(), subnet)
            }
            _ => call.pool().to_string(),
        };
        let class = refusal.class;
        // Before the token is looked at, a repeated call may be refused for the moment only; that says
        // nothing of the first one.
        let closes = match class {
            RefusalClass::Throttled | RefusalClass::Unauthorized | RefusalClass::UnknownProfile => {
                !repeated
            }
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
        // A refusal brings the next round soon; only throttling asks for the opposite. A repeated call that
        // stays open for a profile would be made in each of those rounds.
        let asks_for_time =
            class == RefusalClass::Throttled || repeated && class == RefusalClass::UnknownProfile;
        round.soon |= class.is_definite() && !asks_for_time;
        round.throttled |= class == RefusalClass::Throttled;
        round.launches_throttled |= class == RefusalClass::Throttled;
        if class == RefusalClass::NoCapacity {
            self.memory.strike_pool(refused_where.clone(), &refusal.code, now);
        }
        // A repeated call may be refused for its age alone, which says nothing of the worker type.
        let wrong = matches!(
            class,
            RefusalClass::NotFound | RefusalClass::Invalid | RefusalClass::Unauthorized
        );
        if wrong && !repeated {
            self.memory.launch_failed(&call.worker_type, refusal.to_string(), now);
        }
        let Some(mut goal) = goal else { return };
        match class {
            RefusalClass::NoCapacity => {
                goal.tried.insert(refused_where);
            }
            RefusalClass::Quota if call.count > 1 => goal.at_most = u64::from(call.count / 2),
            RefusalClass::Quota => {
                self.memory.strike_quota(&refusal.code, &call.instance_type, now);
                // Another type may be under another quota, which has its own room; the breaker passes
                // over those that are not.
                goal.at_most = u64::MAX;
            }
            RefusalClass::UnknownProfile => return self.profile_unknown(call, refusal, &goal, now),
            RefusalClass::Throttled
            | RefusalClass::NotFound
            | RefusalClass::Unauthorized
            | RefusalClass::Invalid
            | RefusalClass::IdempotentMismatch
            | RefusalClass::Transient => return,
        }
        round.goals.push_back(goal);
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
        let (name, said) = (&call.worker_type, refusal.to_string());
        let profile = call.iam_instance_profile.as_deref();
        if !self.memory.profile_unknown(profile, name, &said, now) {
            return;
        }
        let interval = self.settings.provisioner.interval;
        let worker_type = self.settings.worker_types.get(name);
        let held =
            worker_type.and_then(|it| placement::held_profile(it, &self.memory, interval, now));
        if let (Some(why), Some(round)) = (held, self.round.as_mut()) {
            let obstacle = &Obstacle::NoPlacement(why);
            let note = PlanNote::NoLongerLaunched { wanted: goal.remaining, obstacle };
            round.notes.push(Note::about(name, &note));
        }
    }
}

/// What a launching call is made from: `validate --aws` asks about the very calls that a round makes.
pub(crate) struct Launch<'a> {
    pub(crate) key_name: &'a KeyName,
    pub(crate) name: &'a WorkerTypeName,
    pub(crate) worker_type: &'a WorkerType,
    pub(crate) resolved: Option<&'a ResolvedWorkerType>,
    pub(crate) instance_type: &'a InstanceType,
    pub(crate) placement: &'a ResolvedPlacement,
    /// What workers of this launch show when they ask whether to stop.
    pub(crate) stop_token: &'a str,
}

impl Launch<'_> {
    /// The whole call.
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
            launch_specification: worker_type.launch_specification.clone(),
            token,
        }
    }
}
