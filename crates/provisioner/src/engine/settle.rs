//! Takes an observation in: settles the ledger and the memory by it, and sorts it into an index.
//!
//! Everything is joined by id, so that the order of EC2's answers cannot count anything twice: a
//! request that is fulfilled between two describe calls is one machine, however it shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::engine::index::{Class, Group, Index, Machine, OpenRequest};
use crate::engine::join::Join;
use crate::engine::memory::{
    CoolDown, Failures, Fulfilled, MachineMemory, Memory, OpenMemory, Spent, quota,
};
use crate::engine::plan::{Note, NoteKind};
use crate::engine::token;
use crate::ids::{ClientToken, InstanceId, KeyName, SpotRequestId, WorkerTypeName};
use crate::launch::Pool;
use crate::ledger::{Granted, Intent, Ledger};
use crate::money::{Usd, UsdPerHour};
use crate::observed::{InstanceState, KeyPair, Observation, SpotRequest, SpotRequestState};
use crate::refusal::{RefusalClass, classify, classify_answer};
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
    /// Worker types of which an instance was seen running for the first time.
    pub(super) came_up: BTreeSet<WorkerTypeName>,
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
        let join = Join::new(observation);
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
            came_up: BTreeSet::new(),
            notes: Vec::new(),
        };
        for name in self.settings.worker_types.keys() {
            settled.index.types.insert(name.clone(), Group::default());
        }

        self.settle_requests(&join, &mut settled);
        let counted_to = self.memory.spent.counted_to;
        self.count_spending(&join);
        let (now, window) = (self.now, self.settings.provisioner.visibility_window);
        let ended_by_us: BTreeSet<InstanceId> = self.memory.ended.keys().cloned().collect();
        self.memory.ended.retain(|id, at| {
            now < clock::after(*at, window)
                && join.instance(id).is_none_or(|instance| instance.state.is_live())
        });
        // The ledger tells whose an instance is whose request is not visible yet.
        self.sort_instances(&join, &mut settled);
        self.settle_ledger(&join, &mut settled);
        for group in settled.index.groups_mut() {
            group.finish();
        }
        settled.notes.sort_by(|a, b| (&a.worker_type, &a.text).cmp(&(&b.worker_type, &b.text)));
        self.remember_machines(&join, &ended_by_us, counted_to, &mut settled);
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

    fn settle_requests(&mut self, join: &Join<'_>, settled: &mut Settled) {
        let settings = self.settings;
        let window = settings.provisioner.visibility_window;
        let mut open_before = std::mem::take(&mut self.memory.open);
        let mut fulfilled_before = std::mem::take(&mut self.memory.fulfilled);
        let mut ended: Vec<(&SpotRequest, WorkerTypeName, Pool)> = Vec::new();

        for &(request, has_instance) in &join.requests {
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
                        // Cancelled or active, it made an instance: counted once that is visible, and
                        // until then as one on its way, for as long as describe may lag.
                        let may_come = matches!(
                            request.state,
                            SpotRequestState::Active | SpotRequestState::Cancelled
                        );
                        if !has_instance
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

        // After the successes; one failure per call, however many it asked.
        let mut calls: BTreeSet<(WorkerTypeName, Option<&ClientToken>)> = BTreeSet::new();
        for (request, name, pool) in ended {
            if calls.insert((name.clone(), request.tags.intent.as_ref())) {
                self.launch_ended(&name, request, &pool, settled);
            }
        }

        // Fulfilled ones stay for the whole window, also when their request has left the pages.
        for (id, entry) in fulfilled_before {
            if !join.has_instance(&id) && join.request(&id).is_none() {
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
                strike(&mut self.memory.cool_downs, pool.to_string(), code, self.now);
            }
            Some(RefusalClass::Quota) => {
                let quota = quota(code, &pool.instance_type);
                strike(&mut self.memory.breakers, quota, code, self.now);
            }
            // What took the request may have known the profile before what launches.
            Some(RefusalClass::UnknownProfile) => {
                let settings = self.settings;
                self.memory.profile_unknown(profile_of(settings, name), name, &text, self.now);
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
            let request = join.request(id);
            if join.has_instance(id) {
                granted.arrived.get_or_insert(now);
            }
            // Its instance is counted as that. For some time the next page may not show it again.
            let ended = [SpotRequestState::Closed, SpotRequestState::Failed];
            let may_hide = granted.arrived.is_some_and(|since| now < clock::after(since, window))
                && request.is_none_or(|it| !ended.contains(&it.state));
            if join.has_instance(id) {
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
            for &(request, has_instance) in &join.requests {
                let Some((token, intent)) = request
                    .tags
                    .intent
                    .as_ref()
                    .and_then(|token| self.ledger.intents.get_key_value(token))
                else {
                    continue;
                };
                *settled.seen_by_intent.entry(token.clone()).or_default() += 1;
                if request.state == SpotRequestState::Active {
                    // As if its answer had come: the next page may not show it again.
                    let granted = self.ledger.granted.entry(request.id.clone());
                    granted.or_insert_with(|| Granted {
                        worker_type: intent.call.worker_type.clone(),
                        token: token.clone(),
                        pool: intent.call.pool(),
                        at: intent.call.decided,
                        last_seen: Some(now),
                        arrived: has_instance.then_some(now),
                        max_price: intent.call.max_price,
                    });
                    if has_instance {
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

    fn sort_instances(&self, join: &Join<'_>, settled: &mut Settled) {
        let window = self.settings.provisioner.visibility_window;
        let Index { types, retired, strays, unresolved, disputed, odd, pools, .. } =
            &mut settled.index;
        let mut places = HashMap::new();
        let mut types: HashMap<&WorkerTypeName, &mut Group> = types.iter_mut().collect();
        let mut n_live = 0;
        for &(instance, request) in &join.instances {
            if instance.state == InstanceState::Terminated {
                continue;
            }
            let leaving = !instance.state.is_live() || self.memory.ended.contains_key(&instance.id);
            let rank = n_live;
            n_live += usize::from(instance.state.is_live());
            if let InstanceState::Unrecognised(state) = &instance.state {
                odd.push(format!("{} is `{state}`", instance.id));
            }
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
            let disputes = key_name.is_some_and(|name| name != self.key_name);
            let price = request
                .and_then(|request| request.max_price)
                .or_else(|| granted.and_then(|granted| granted.max_price))
                // Not of our making: as dear as the dearest of ours.
                .or_else(|| match worker_type.filter(|_| !disputes) {
                    Some(name) => self.price_of(Some(name)),
                    None => self.dearest(),
                });
            // A pool has a price for each platform; ours are those of plain Linux.
            let priced = instance.spot_request.is_some() && instance.other_platform.is_none();
            let pool = priced.then(|| {
                let key = (&instance.instance_type, &instance.zone);
                *places.entry(key).or_insert_with(|| {
                    let (instance_type, zone) = key;
                    pools.push(Pool { instance_type: instance_type.clone(), zone: zone.clone() });
                    pools.len() - 1
                })
            });
            let machine = Machine {
                id: instance.id.clone(),
                rank,
                pool,
                state: if leaving { InstanceState::ShuttingDown } else { instance.state.clone() },
                launched: instance.launch_time,
                price,
                intent,
                tagged,
                class: Class::default(),
                positively_idle: false,
            };
            let configured = worker_type.filter(|_| !disputes).and_then(|name| types.get_mut(name));
            if let Some(group) = configured {
                group.machines.push(machine);
            } else if leaving {
                // No maximum waits for these to be gone.
            } else if disputes {
                disputed.push(machine);
            } else if let Some(name) = worker_type {
                retired.entry(name.clone()).or_default().machines.push(machine);
            } else if instance.spot_request.is_some()
                && self.now < clock::after(instance.launch_time, window)
            {
                // Its request, or our tags on that, are not visible yet, or not any more: it is nobody's
                // only after the window.
                unresolved.push(machine);
            } else {
                strays.machines.push(machine);
            }
        }
    }

    /// Forgets the machines that are gone, and remembers the new ones, in the order and number of
    /// [`Machine::rank`].
    fn remember_machines(
        &mut self,
        join: &Join<'_>,
        ended_by_us: &BTreeSet<InstanceId>,
        counted_to: Option<Timestamp>,
        settled: &mut Settled,
    ) {
        let now = self.now;
        let mut shown =
            join.instances.iter().filter(|(instance, _)| instance.state.is_live()).peekable();
        let mut new = Vec::new();
        // Both are sorted: one pass, in place.
        let is_gone = |id: &InstanceId, machine: &mut MachineMemory| {
            while let Some(first_seen) = shown.next_if(|(instance, _)| instance.id < *id) {
                new.push(first_seen);
            }
            let Some((instance, _)) = shown.next_if(|(instance, _)| instance.id == *id) else {
                return true;
            };
            let ran = instance.state == InstanceState::Running;
            if ran && !machine.ran {
                settled.came_up.extend(machine.worker_type.clone());
            }
            machine.ran |= ran;
            false
        };
        let gone: Vec<_> = self.memory.machines.extract_if(.., is_gone).collect();
        new.extend(shown);
        let new = new.into_iter().map(|(instance, request)| {
            let worker_type = instance
                .tags
                .worker_type
                .as_ref()
                .or_else(|| request.and_then(|request| request.tags.worker_type.as_ref()));
            let ran = instance.state == InstanceState::Running;
            if ran {
                settled.came_up.extend(worker_type.cloned());
            }
            let seen = MachineMemory {
                first_seen: now,
                asked: request.map(|request| request.created),
                claimed: false,
                idle_rounds: 0,
                ran,
                worker_type: worker_type.cloned(),
                price: request
                    .and_then(|request| request.max_price)
                    .or_else(|| self.price_of(worker_type)),
            };
            (instance.id.clone(), seen)
        });
        let mut new: BTreeMap<_, _> = new.collect();
        self.memory.machines.append(&mut new);

        let mut died: BTreeMap<WorkerTypeName, String> = BTreeMap::new();
        for (id, machine) in gone {
            // It lived on for some of the time since the last look: counted as all of it.
            let from = counted_to.unwrap_or(now).max(clock::last_midnight(now));
            if let Some(price) = machine.price {
                self.memory.spent.usd =
                    self.memory.spent.usd.plus(price.over(clock::age(from, now)));
            }
            let request = join.request_of(&id);
            let interrupted = request.is_some_and(|it| is_no_fault(it.status_code.as_str()));
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
    fn count_spending(&mut self, join: &Join<'_>) {
        let midnight = clock::last_midnight(self.now);
        let spent = &self.memory.spent;
        let (from, mut usd) = match spent.counted_to {
            Some(at) if at >= midnight => (at, spent.usd),
            _ => (midnight, Usd::ZERO),
        };
        let live = join.instances.iter().filter(|(instance, _)| instance.state.is_live());
        for (instance, request) in live {
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
