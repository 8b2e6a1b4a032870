//! Settles what requests show: which wait, which were fulfilled, which came to nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::owners::Owner;
use super::{Settle, Settled, is_no_fault, profile_of};
use crate::domain::clock;
use crate::domain::ids::{ClientToken, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::ledger::Granted;
use crate::domain::observed::{SpotRequest, SpotRequestState};
use crate::domain::refusal::{RefusalClass, classify_answer};
use crate::engine::act::token;
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::machine::OpenRequest;
use crate::engine::state::memory::{Fulfilled, OpenMemory};

/// A request that ends with an instance this soon after it was granted had a machine that never came up.
const DIED_AT_ONCE: Duration = Duration::from_mins(1);

/// A cancelled request that EC2 still shows open is cancelled again after this long.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_mins(1);

impl Settle<'_> {
    /// When `request` was asked for: EC2's own time, unless that lies more than a day before the time
    /// our token was made at. Then it is not to be believed (some stand-ins for EC2 say 2015).
    fn asked(request: &SpotRequest) -> Timestamp {
        let ours = request.tags.intent.as_ref().and_then(token::made_at);
        match ours {
            Some(ours) if clock::age(request.created, ours) > Duration::from_hours(24) => ours,
            _ => request.created,
        }
    }

    pub(in crate::engine) fn settle_requests(&mut self, join: &Join<'_>, settled: &mut Settled) {
        let settings = self.settings;
        let window = settings.provisioner.visibility_window;
        let mut open_before = std::mem::take(&mut self.memory.open);
        let mut fulfilled_before = std::mem::take(&mut self.memory.fulfilled);
        let mut ended: Vec<(&SpotRequest, WorkerTypeName, Pool)> = Vec::new();

        for &(request, instance) in &join.requests {
            let has_instance = instance.is_some();
            let granted = self.ledger.granted.get(&request.id).filter(|it| it.arrived.is_none());
            let before = open_before.remove(&request.id);
            // Most are fulfilled long since, and their instances are there.
            if request.state == SpotRequestState::Active
                && granted.is_none()
                && before.is_none()
                && has_instance
            {
                continue;
            }
            let worker_type = request
                .tags
                .worker_type
                .clone()
                .or_else(|| granted.map(|granted| granted.worker_type.clone()))
                .or_else(|| before.as_ref().and_then(|before| before.worker_type.clone()));
            let owner = self.owner(request.tags.key_name.as_ref(), worker_type.as_ref());
            let pool = granted
                .map(|granted| granted.pool.clone())
                .or_else(|| before.as_ref().map(|before| before.pool.clone()))
                .unwrap_or_else(|| Pool {
                    instance_type: request.instance_type.clone(),
                    zone: request.zone.clone(),
                });
            let type_name = match owner {
                Owner::Type(name) | Owner::Retired(name) => Some(name.clone()),
                Owner::Stray | Owner::Disputed => None,
            };
            let price = request.max_price.or_else(|| self.price_of(type_name.as_ref()));
            let tracked = granted.is_some() || before.is_some();
            match &request.state {
                SpotRequestState::Open | SpotRequestState::Unrecognised(_) => {
                    // Its instance is there already: it counts as that.
                    if has_instance {
                        self.memory.cancelling.remove(&request.id);
                        continue;
                    }
                    if let SpotRequestState::Unrecognised(state) = &request.state {
                        settled.index.odd.push(format!("{} is `{state}`", request.id));
                    }
                    let asked = Self::asked(request);
                    if granted.is_none()
                        && let Some(name) = &type_name
                    {
                        // Not asked for by a process of this ledger, but ours: followed like the others.
                        let adopted = Granted {
                            worker_type: name.clone(),
                            token: request.tags.intent.clone().unwrap_or_else(|| "".into()),
                            pool: pool.clone(),
                            at: asked,
                            last_seen: Some(self.now),
                            arrived: None,
                            max_price: price,
                        };
                        self.ledger.granted.insert(request.id.clone(), adopted);
                        settled.ledger_changed = true;
                    }
                    self.memory.open.insert(
                        request.id.clone(),
                        OpenMemory { worker_type: type_name, pool: pool.clone(), max_price: price },
                    );
                    let open = OpenRequest {
                        id: request.id.clone(),
                        asked,
                        status_code: request.status_code.clone(),
                        status_since: request.status_time.map_or(asked, |at| at.max(asked)),
                        pool,
                        price,
                        cancelled: self.memory.cancelling.get(&request.id).is_some_and(
                            |cancelling| self.now < clock::after(cancelling.at, CANCEL_AGAIN_AFTER),
                        ),
                        touchable: request.state == SpotRequestState::Open,
                    };
                    match owner {
                        Owner::Type(name) => {
                            settled.index.types.entry(name.clone()).or_default().open.push(open);
                        }
                        Owner::Retired(name) => {
                            settled.index.retired.entry(name.clone()).or_default().open.push(open);
                        }
                        Owner::Stray => settled.index.strays.open.push(open),
                        Owner::Disputed => {}
                    }
                }
                SpotRequestState::Active
                | SpotRequestState::Disabled
                | SpotRequestState::Closed
                | SpotRequestState::Cancelled
                | SpotRequestState::Failed => {
                    self.memory.cancelling.remove(&request.id);
                    // By its `ValidUntil`, not by somebody's cancel.
                    let expired = request.status_code.as_str() == "schedule-expired";
                    if let Some(instance) = &request.instance {
                        if tracked && !fulfilled_before.contains_key(&request.id) {
                            self.memory.cool_downs.remove(&pool.to_string());
                            let name = type_name.as_ref();
                            if let Some(profile) = name.and_then(|it| profile_of(settings, it)) {
                                self.memory.unknown_profiles.remove(profile);
                            }
                        }
                        let at_once = granted
                            .is_some_and(|granted| clock::age(granted.at, self.now) < DIED_AT_ONCE);
                        if at_once
                            && request.state == SpotRequestState::Closed
                            && !self.memory.ended.contains_key(instance)
                            && !is_no_fault(request.status_code.as_str())
                            && let Some(name) = &type_name
                        {
                            ended.push((request, name.clone(), pool.clone()));
                        }
                        // It made an instance that may run: counted once that is visible, and until then
                        // as one on its way, for as long as describe may lag.
                        if !has_instance
                            && request.may_run()
                            && (tracked || request.state == SpotRequestState::Active)
                        {
                            let entry = fulfilled_before.remove(&request.id).unwrap_or(Fulfilled {
                                since: self.now,
                                worker_type: type_name,
                                max_price: price,
                            });
                            self.memory.fulfilled.insert(request.id.clone(), entry);
                        }
                    } else if matches!(
                        request.state,
                        SpotRequestState::Active | SpotRequestState::Disabled
                    ) {
                        // Its instance is not named yet: on its way like one that is not visible.
                        let entry = fulfilled_before.remove(&request.id).unwrap_or(Fulfilled {
                            since: self.now,
                            worker_type: type_name,
                            max_price: price,
                        });
                        self.memory.fulfilled.insert(request.id.clone(), entry);
                    } else if tracked
                        && (request.state != SpotRequestState::Cancelled || expired)
                        && let Some(name) = type_name
                    {
                        ended.push((request, name, pool));
                    }
                }
            }
        }

        // After the successes; one failure per call, however many it asked.
        let mut calls: BTreeSet<(WorkerTypeName, Option<&ClientToken>)> = BTreeSet::new();
        for (request, name, pool) in ended {
            if calls.insert((name.clone(), request.tags.intent.as_ref())) {
                self.launch_ended(&name, request, &pool, settled);
            }
        }

        // Fulfilled ones stay for the whole window, also when their request has left the pages.
        for (id, entry) in fulfilled_before {
            if join.instance_of(&id).is_none() && join.request(&id).is_none() {
                self.memory.fulfilled.insert(id, entry);
            }
        }
        let now = self.now;
        // Those still shown keep their first sight, or their time would begin anew.
        self.memory.fulfilled.retain(|id, entry| {
            now < clock::after(entry.since, window) || join.request(id).is_some()
        });

        // What became of a cancelled request is followed in the ledger.
        let open = &self.memory.open;
        self.memory.cancelling.retain(|id, _| open.contains_key(id));
    }

    /// A request that was ours and ended without an instance.
    fn launch_ended(
        &mut self,
        name: &WorkerTypeName,
        request: &SpotRequest,
        pool: &Pool,
        settled: &mut Settled,
    ) {
        let code = request.status_code.as_str();
        let text = match request.status_message.as_str() {
            "" => code.to_owned(),
            message => format!("{code}: {message}"),
        };
        match classify_answer(code, request.status_message.as_str()) {
            Some(RefusalClass::NoCapacity | RefusalClass::Throttled | RefusalClass::Transient) => {
                self.memory.strike_pool_after_wait(pool.to_string(), code, self.now);
            }
            Some(RefusalClass::Quota) => {
                self.memory.strike_quota(code, &pool.instance_type, self.now);
            }
            // What took the request may have known the profile before what launches.
            Some(RefusalClass::UnknownProfile) => {
                let settings = self.settings;
                self.memory.profile_unknown(profile_of(settings, name), name, &text, self.now);
            }
            // Ended by somebody's cancel: nothing went wrong.
            _ if code.starts_with("canceled") || code.starts_with("cancelled") => {}
            _ => {
                self.memory.launch_failed(name, text.clone(), self.now);
                let note = MachineNote::RequestFailed { request: &request.id, why: &text };
                settled.notes.push(Note::about(name, &note));
            }
        }
    }
}
