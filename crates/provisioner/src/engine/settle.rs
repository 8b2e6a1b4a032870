//! Takes an observation in: settles the ledger and the memory by it, and sorts it into an index.
//!
//! Everything is joined by id, so that the order of EC2's answers cannot count anything twice: a
//! request that is fulfilled between two describe calls is one machine, however it shows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::engine::index::{Class, Group, Index, Machine, OpenRequest};
use crate::engine::memory::{
    CoolDown, Failures, Fulfilled, MachineMemory, Memory, OpenMemory, Spent, quota,
};
use crate::engine::plan::{Note, NoteKind};
use crate::engine::token;
use crate::ids::{ClientToken, InstanceId, KeyName, SpotRequestId, WorkerTypeName};
use crate::launch::Pool;
use crate::ledger::{Granted, Intent, Ledger};
use crate::money::{Usd, UsdPerHour};
use crate::observed::{
    Instance, InstanceState, KeyPair, Observation, SpotRequest, SpotRequestState,
};
use crate::refusal::{RefusalClass, classify};
use crate::settings::Settings;

/// An unanswered call is repeated with its token while younger than this; EC2 keeps tokens longer
/// (EC2 API Reference, "Ensuring idempotency").
pub(super) const REPEAT_FOR: Duration = Duration::from_mins(30);

/// Whether the call of `intent` is to be made again. An older one is settled by describe alone.
pub(super) fn is_repeated(intent: &Intent, now: Timestamp) -> bool {
    intent.accepted.is_none() && now < clock::after(intent.call.decided, REPEAT_FOR)
}

/// A request that ends with an instance this soon after it was granted had a machine that never came up.
const DIED_AT_ONCE: Duration = Duration::from_mins(1);

/// A cancelled request that EC2 still shows open is cancelled again after this long.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_mins(1);

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
    pub(super) notes: Vec<Note>,
}

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner<'n> {
    Type(&'n WorkerTypeName),
    Retired(&'n WorkerTypeName),
    Stray,
    /// Tagged by another deployment that uses the same key-name.
    Disputed,
}

impl Settle<'_> {
    pub(super) fn run(mut self, observation: &Observation, key_pair_before: KeyPair) -> Settled {
        let instances: HashMap<&InstanceId, &Instance> =
            observation.instances.iter().map(|instance| (&instance.id, instance)).collect();
        let requests: HashMap<&SpotRequestId, &SpotRequest> =
            observation.spot_requests.iter().map(|request| (&request.id, request)).collect();
        // An instance names its request; where it does not (yet), the request names its instance.
        let mut request_of: HashMap<&InstanceId, &SpotRequest> =
            HashMap::with_capacity(observation.spot_requests.len());
        for request in &observation.spot_requests {
            if let Some(id) = &request.instance {
                request_of.insert(id, request);
            }
        }
        let mut requests_with_instance: HashSet<&SpotRequestId> =
            HashSet::with_capacity(observation.instances.len());
        for instance in &observation.instances {
            let named = instance.spot_request.as_ref();
            if let Some(request) = named.and_then(|id| requests.get(id)) {
                request_of.insert(&instance.id, request);
            }
            requests_with_instance.extend(named);
            requests_with_instance.extend(request_of.get(&instance.id).map(|request| &request.id));
        }

        let mut settled = Settled {
            index: Index {
                key_pair: match observation.key_pair {
                    KeyPair::Unknown => key_pair_before,
                    seen => seen,
                },
                ..Index::default()
            },
            seen_by_intent: BTreeMap::new(),
            ledger_changed: false,
            notes: Vec::new(),
        };
        for name in self.settings.worker_types.keys() {
            settled.index.types.insert(name.clone(), Group::default());
        }

        self.settle_requests(
            observation,
            &requests,
            &instances,
            &requests_with_instance,
            &mut settled,
        );
        let counted_to = self.memory.spent.counted_to;
        self.count_spending(observation, &request_of);
        let (now, window) = (self.now, self.settings.provisioner.visibility_window);
        let ended_by_us: BTreeSet<InstanceId> = self.memory.ended.keys().cloned().collect();
        self.memory.ended.retain(|id, at| {
            now < clock::after(*at, window)
                && instances.get(id).is_none_or(|instance| instance.state.is_live())
        });
        // The ledger tells whose an instance is whose request is not visible yet.
        self.sort_instances(observation, &request_of, &mut settled);
        self.settle_ledger(observation, &requests, &requests_with_instance, &mut settled);
        for group in settled.index.types.values_mut() {
            group.finish();
        }
        for group in settled.index.retired.values_mut() {
            group.finish();
        }
        settled.index.strays.finish();
        // Nothing may depend on the order of EC2's answer.
        settled.index.unresolved.sort_by(|a, b| a.id.cmp(&b.id));
        settled.index.disputed.sort_by(|a, b| a.id.cmp(&b.id));
        settled.index.odd.sort();
        settled.notes.sort_by(|a, b| (&a.worker_type, &a.text).cmp(&(&b.worker_type, &b.text)));
        self.remember_machines(observation, &request_of, &ended_by_us, counted_to, &mut settled);
        settled
    }

    fn owner<'n>(
        &self,
        key_name: Option<&KeyName>,
        worker_type: Option<&'n WorkerTypeName>,
    ) -> Owner<'n> {
        if key_name.is_some_and(|name| name != self.key_name) {
            return Owner::Disputed;
        }
        match worker_type {
            Some(name) if self.settings.worker_types.contains_key(name) => Owner::Type(name),
            Some(name) => Owner::Retired(name),
            None => Owner::Stray,
        }
    }

    /// When `request` was asked for: EC2's own time, unless that lies more than a day before the time
    /// our token was made at. Then it is not to be believed (some stand-ins for EC2 say 2015).
    fn asked(request: &SpotRequest) -> Timestamp {
        let ours = request.tags.intent.as_ref().and_then(token::made_at);
        match ours {
            Some(ours) if clock::age(request.created, ours) > Duration::from_hours(24) => ours,
            _ => request.created,
        }
    }

    fn settle_requests(
        &mut self,
        observation: &Observation,
        requests: &HashMap<&SpotRequestId, &SpotRequest>,
        instances: &HashMap<&InstanceId, &Instance>,
        requests_with_instance: &HashSet<&SpotRequestId>,
        settled: &mut Settled,
    ) {
        let window = self.settings.provisioner.visibility_window;
        let mut open_before = std::mem::take(&mut self.memory.open);
        let mut fulfilled_before = std::mem::take(&mut self.memory.fulfilled);
        let mut ended: Vec<(&SpotRequest, WorkerTypeName, Pool)> = Vec::new();

        for request in &observation.spot_requests {
            let granted = self.ledger.granted.get(&request.id);
            let before = open_before.remove(&request.id);
            // Most are fulfilled long since, and their instances are there.
            if request.state == SpotRequestState::Active
                && granted.is_none()
                && before.is_none()
                && requests_with_instance.contains(&request.id)
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
                    if requests_with_instance.contains(&request.id) {
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
                    if let Some(instance) = &request.instance {
                        if tracked && !fulfilled_before.contains_key(&request.id) {
                            self.memory.cool_downs.remove(&pool.to_string());
                        }
                        let at_once = granted
                            .is_some_and(|granted| clock::age(granted.at, self.now) < DIED_AT_ONCE);
                        if at_once
                            && request.state == SpotRequestState::Closed
                            && !self.memory.ended.contains_key(instance)
                            && !is_no_fault(&request.status_code)
                            && let Some(name) = &type_name
                        {
                            ended.push((request, name.clone(), pool.clone()));
                        }
                        // Cancelled or active, it made an instance: counted once that is visible, and
                        // until then as one on its way, for as long as describe may lag.
                        let visible = instances.contains_key(instance)
                            || requests_with_instance.contains(&request.id);
                        let may_come = matches!(
                            request.state,
                            SpotRequestState::Active | SpotRequestState::Cancelled
                        );
                        if !visible
                            && may_come
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
                        && request.state != SpotRequestState::Cancelled
                        && let Some(name) = type_name
                    {
                        ended.push((request, name, pool));
                    }
                }
            }
        }

        // After the successes, and in an order of our own; one failure per call, however many it asked.
        ended.sort_by(|(a, ..), (b, ..)| a.id.cmp(&b.id));
        let mut calls: BTreeSet<(WorkerTypeName, Option<&ClientToken>)> = BTreeSet::new();
        for (request, name, pool) in ended {
            if calls.insert((name.clone(), request.tags.intent.as_ref())) {
                self.launch_ended(&name, request, &pool, settled);
            }
        }

        // Fulfilled ones stay for the whole window, also when their request has left the pages.
        for (id, entry) in fulfilled_before {
            if !requests_with_instance.contains(&id) && !requests.contains_key(&id) {
                self.memory.fulfilled.insert(id, entry);
            }
        }
        let now = self.now;
        // Those still shown keep their first sight, or their time would begin anew.
        self.memory.fulfilled.retain(|id, entry| {
            now < clock::after(entry.since, window) || requests.contains_key(id)
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
        match classify(code) {
            Some(RefusalClass::NoCapacity | RefusalClass::Throttled | RefusalClass::Transient) => {
                strike(&mut self.memory.cool_downs, pool.to_string(), code, self.now);
            }
            Some(RefusalClass::Quota) => {
                let quota = quota(code, &pool.instance_type);
                strike(&mut self.memory.breakers, quota, code, self.now);
            }
            // Ended by somebody's cancel: nothing went wrong.
            _ if code.starts_with("canceled") || code.starts_with("cancelled") => {}
            _ => {
                fail(&mut self.memory.failures, name, text.clone(), self.now);
                let text = format!("spot request {} ended without an instance: {text}", request.id);
                let note = Note::new(Some(name), NoteKind::LaunchFailed, text);
                settled.notes.push(note.about(request.id.as_str()));
            }
        }
    }

    fn settle_ledger(
        &mut self,
        observation: &Observation,
        requests: &HashMap<&SpotRequestId, &SpotRequest>,
        requests_with_instance: &HashSet<&SpotRequestId>,
        settled: &mut Settled,
    ) {
        let window = self.settings.provisioner.visibility_window;
        let now = self.now;
        let before = self.ledger.granted.len();
        let fulfilled = &self.memory.fulfilled;
        let looked_at = if before == 0 { &[] } else { observation.instances.as_slice() };
        let untagged: BTreeSet<&SpotRequestId> = looked_at
            .iter()
            .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
            .filter_map(|instance| instance.spot_request.as_ref())
            .collect();
        let arrived = &mut settled.index.arrived;
        let notes = &mut settled.notes;
        self.ledger.granted.retain(|id, granted| {
            if let Some(request) = requests.get(id) {
                granted.last_seen = Some(now);
                let open = matches!(
                    request.state,
                    SpotRequestState::Open | SpotRequestState::Unrecognised(_)
                );
                return !requests_with_instance.contains(id)
                    && (open || fulfilled.contains_key(id));
            }
            if requests_with_instance.contains(id) {
                // The request alone says whose the instance is, and EC2 does not show it yet.
                arrived.insert(id.clone());
                return untagged.contains(id);
            }
            let known = granted.last_seen.map_or(granted.at, |seen| seen.max(granted.at));
            if now < clock::after(known, window) {
                return true;
            }
            let text = format!(
                "spot request {id} was granted {} ago and is not seen; no longer counted",
                clock::show(clock::age(granted.at, now))
            );
            let note = Note::new(Some(&granted.worker_type), NoteKind::NeverSeen, text);
            notes.push(note.about(id.as_str()));
            false
        });
        settled.ledger_changed |= before != self.ledger.granted.len();

        if !self.ledger.intents.is_empty() {
            for request in &observation.spot_requests {
                if let Some(token) = &request.tags.intent
                    && self.ledger.intents.contains_key(token)
                {
                    *settled.seen_by_intent.entry(token.clone()).or_default() += 1;
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
                    let text = format!(
                        "of {} instances asked for {} ago with token {token}, {found} were seen; the \
                         rest is no longer counted",
                        intent.call.count,
                        clock::show(clock::age(intent.call.decided, now)),
                    );
                    let name = Some(&intent.call.worker_type);
                    let note = Note::new(name, NoteKind::NeverSeen, text);
                    settled.notes.push(note.about(token.as_str()));
                }
                return false;
            }
            true
        });
        settled.ledger_changed |= before != self.ledger.intents.len();
        settled.seen_by_intent.retain(|token, _| self.ledger.intents.contains_key(token));
    }

    fn sort_instances(
        &self,
        observation: &Observation,
        request_of: &HashMap<&InstanceId, &SpotRequest>,
        settled: &mut Settled,
    ) {
        let window = self.settings.provisioner.visibility_window;
        for instance in &observation.instances {
            if instance.state == InstanceState::Terminated {
                continue;
            }
            let leaving = !instance.state.is_live() || self.memory.ended.contains_key(&instance.id);
            if let InstanceState::Unrecognised(state) = &instance.state {
                settled.index.odd.push(format!("{} is `{state}`", instance.id));
            }
            let request = request_of.get(&instance.id);
            let granted = instance.spot_request.as_ref().and_then(|id| self.ledger.granted.get(id));
            let tags = &instance.tags;
            let of_request = request.map(|request| &request.tags);
            let key_name =
                tags.key_name.as_ref().or_else(|| of_request.and_then(|it| it.key_name.as_ref()));
            let worker_type = tags
                .worker_type
                .as_ref()
                .or_else(|| of_request.and_then(|it| it.worker_type.as_ref()))
                .or_else(|| granted.map(|granted| &granted.worker_type));
            let tagged = tags.key_name.is_some() && tags.worker_type.is_some();
            // For the tags only.
            let intent = if tagged {
                None
            } else {
                tags.intent
                    .as_ref()
                    .or_else(|| of_request.and_then(|it| it.intent.as_ref()))
                    .or_else(|| granted.map(|granted| &granted.token))
                    .cloned()
            };
            let owner = self.owner(key_name, worker_type);
            let price = request
                .and_then(|request| request.max_price)
                .or_else(|| granted.and_then(|granted| granted.max_price))
                .or_else(|| match owner {
                    Owner::Type(name) | Owner::Retired(name) => self.price_of(Some(name)),
                    // Not of our making: as dear as the dearest of ours.
                    Owner::Stray | Owner::Disputed => self.dearest(),
                });
            let machine = Machine {
                id: instance.id.clone(),
                state: if leaving { InstanceState::ShuttingDown } else { instance.state.clone() },
                launched: instance.launch_time,
                price,
                intent,
                tagged,
                class: Class::default(),
                positively_idle: false,
            };
            match owner {
                // Every configured one has its group.
                Owner::Type(name) => {
                    if let Some(group) = settled.index.types.get_mut(name) {
                        group.machines.push(machine);
                    }
                }
                // No maximum waits for these to be gone.
                Owner::Retired(_) | Owner::Disputed | Owner::Stray if leaving => {}
                Owner::Retired(name) => {
                    settled.index.retired.entry(name.clone()).or_default().machines.push(machine);
                }
                Owner::Disputed => settled.index.disputed.push(machine),
                // Its request, or our tags on that, are not visible yet, or not any more: it is nobody's only
                // after the window.
                Owner::Stray
                    if instance.spot_request.is_some()
                        && self.now < clock::after(instance.launch_time, window) =>
                {
                    settled.index.unresolved.push(machine);
                }
                Owner::Stray => settled.index.strays.machines.push(machine),
            }
        }
    }

    /// Forgets the machines that are gone, and remembers the new ones.
    fn remember_machines(
        &mut self,
        observation: &Observation,
        request_of: &HashMap<&InstanceId, &SpotRequest>,
        ended_by_us: &BTreeSet<InstanceId>,
        counted_to: Option<Timestamp>,
        settled: &mut Settled,
    ) {
        let now = self.now;
        let live = observation.instances.iter().filter(|instance| instance.state.is_live());
        let mut new: HashMap<&InstanceId, &Instance> =
            live.map(|instance| (&instance.id, instance)).collect();
        let mut gone = Vec::new();
        self.memory.machines.retain(|id, machine| match new.remove(id) {
            Some(instance) => {
                machine.ran |= instance.state == InstanceState::Running;
                true
            }
            None => {
                gone.push((id.clone(), machine.clone()));
                false
            }
        });
        for (id, instance) in new {
            let request = request_of.get(id);
            let tags = &instance.tags;
            let worker_type = tags
                .worker_type
                .as_ref()
                .or_else(|| request.and_then(|request| request.tags.worker_type.as_ref()));
            let price = request
                .and_then(|request| request.max_price)
                .or_else(|| self.price_of(worker_type));
            let seen = MachineMemory {
                first_seen: now,
                claimed: false,
                idle_rounds: 0,
                ran: instance.state == InstanceState::Running,
                worker_type: worker_type.cloned(),
                price,
            };
            self.memory.machines.insert(id.clone(), seen);
        }

        let mut died: BTreeMap<WorkerTypeName, String> = BTreeMap::new();
        for (id, machine) in gone {
            // It lived on for some of the time since the last look: counted as all of it.
            let from = counted_to.unwrap_or(now).max(clock::last_midnight(now));
            if let Some(price) = machine.price {
                self.memory.spent.usd =
                    self.memory.spent.usd.plus(price.over(clock::age(from, now)));
            }
            let request = request_of.get(&id);
            let interrupted = request.is_some_and(|it| is_no_fault(&it.status_code));
            if let Some(name) = machine.worker_type
                && !machine.ran
                && !interrupted
                && !ended_by_us.contains(&id)
                && self.settings.worker_types.contains_key(&name)
            {
                let text = match request {
                    Some(it) => format!("{id} ended before it ran: {}", it.status_code),
                    None => format!("{id} ended before it ran"),
                };
                died.insert(name, text);
            }
        }
        for (name, text) in died {
            fail(&mut self.memory.failures, &name, text.clone(), now);
            let note = Note::new(Some(&name), NoteKind::LaunchFailed, text.clone());
            settled.notes.push(note.about(text));
        }
    }

    /// Adds what live instances cost since the last look, at the highest possible price.
    fn count_spending(
        &mut self,
        observation: &Observation,
        request_of: &HashMap<&InstanceId, &SpotRequest>,
    ) {
        let midnight = clock::last_midnight(self.now);
        let spent = &self.memory.spent;
        let (from, mut usd) = match spent.counted_to {
            Some(at) if at >= midnight => (at, spent.usd),
            _ => (midnight, Usd::ZERO),
        };
        for instance in observation.instances.iter().filter(|instance| instance.state.is_live()) {
            let request = request_of.get(&instance.id);
            let name = instance
                .tags
                .worker_type
                .as_ref()
                .or_else(|| request.and_then(|request| request.tags.worker_type.as_ref()));
            let price =
                request.and_then(|request| request.max_price).or_else(|| self.price_of(name));
            if let Some(price) = price {
                usd = usd.plus(price.over(clock::age(instance.launch_time.max(from), self.now)));
            }
        }
        self.memory.spent = Spent { counted_to: Some(self.now), usd };
    }

    fn dearest(&self) -> Option<UsdPerHour> {
        self.settings.worker_types.values().filter_map(|worker_type| worker_type.max_price).max()
    }

    fn price_of(&self, worker_type: Option<&WorkerTypeName>) -> Option<UsdPerHour> {
        self.settings.worker_types.get(worker_type?)?.max_price
    }
}

/// Whether EC2 took the instance back, or somebody ended it: no fault of the worker type.
fn is_no_fault(status_code: &str) -> bool {
    classify(status_code) == Some(RefusalClass::NoCapacity)
        || status_code == "marked-for-termination"
        || status_code == "instance-terminated-by-user"
}

/// Adds a strike under `name`.
pub(super) fn strike(
    penalties: &mut BTreeMap<String, CoolDown>,
    name: String,
    code: &str,
    now: Timestamp,
) {
    let next = CoolDown::strike(penalties.get(&name), code, now);
    penalties.insert(name, next);
}

/// Counts a failed launch of `name`.
pub(super) fn fail(
    failures: &mut BTreeMap<WorkerTypeName, Failures>,
    name: &WorkerTypeName,
    text: String,
    now: Timestamp,
) {
    let in_a_row = failures.get(name).map_or(0, |failures| failures.in_a_row).saturating_add(1);
    failures.insert(name.clone(), Failures { in_a_row, last: now, text });
}
