//! A small EC2 that misbehaves: capacity, spot requests, instances and workers, in virtual time.
//!
//! It keeps two views of everything: the truth, and what describe calls show of it later. Faults are
//! drawn from a seed, a stream per purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::clock;
use provisioner::engine::{Effect, GrantedRequest, Outcome};
use provisioner::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, StatusText, WorkerTypeName,
};
use provisioner::launch::{LaunchCall, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use provisioner::money::UsdPerHour;
use provisioner::observed::{
    Instance, InstanceState, KeyPair, Observation, OwnTags, SpotRequest, SpotRequestState,
};
use provisioner::refusal::{Refusal, RefusalClass, classify};
use provisioner::settings::Settings;

use crate::lagged::Lagged;
use crate::queue::{Knowledge, Queue};
use crate::rng::Rng;
use crate::scenario::{key, mins, secs, start};

/// How the world misbehaves: percentages, and longest delays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost_before: u64,
    pub(crate) lost_after: u64,
    pub(crate) throttled: u64,
    pub(crate) no_capacity: u64,
    pub(crate) partial: u64,
    pub(crate) never_filled: u64,
    pub(crate) bulk_not_found: u64,
    pub(crate) never_claims: u64,
    pub(crate) interrupted: u64,
    pub(crate) disk: u64,
    /// How long describe calls lag at most.
    pub(crate) lag: Duration,
    /// How long a request waits at most for its instance.
    pub(crate) fill: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) record: Lagged<SpotRequest>,
    key: KeyName,
    valid_until: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) record: Lagged<Instance>,
    pub(crate) key: KeyName,
    pub(crate) worker_type: Option<WorkerTypeName>,
    price: UsdPerHour,
    /// Its worker takes tasks.
    pub(crate) up: bool,
    pub(crate) never_claims: bool,
    idle_since: Timestamp,
}

#[derive(Clone, Debug)]
enum Event {
    Fill(SpotRequestId),
    Fail(SpotRequestId),
    Expire(SpotRequestId),
    Running(InstanceId),
    Up(InstanceId),
    Finished(u64, InstanceId),
    Idle(InstanceId),
    Interrupted(InstanceId),
    Stopped(InstanceId),
    Terminated(InstanceId),
    Vanish(InstanceId),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    /// When it was last looked at: what somebody made since, nobody can know of.
    pub(crate) looked: Timestamp,
    pub(crate) settings: Arc<Settings>,
    pub(crate) queue: Queue,
    pub(crate) faults: Faults,
    pub(crate) key_pair: KeyPair,
    pub(crate) requests: BTreeMap<SpotRequestId, Request>,
    pub(crate) machines: BTreeMap<InstanceId, Machine>,
    /// Free capacity per pool; one not named has plenty.
    pub(crate) free: BTreeMap<String, i64>,
    /// Pools that refuse at once.
    pub(crate) dry: BTreeSet<String>,
    /// The most instances per first letter of the instance type.
    pub(crate) quotas: BTreeMap<char, u64>,
    /// Worker types whose every launch is refused with a code.
    pub(crate) refused: BTreeMap<WorkerTypeName, &'static str>,
    /// Worker types whose every request fails with `bad-parameters`.
    pub(crate) bad: BTreeSet<WorkerTypeName>,
    /// How long a worker takes to boot.
    pub(crate) boot: (Duration, Duration),
    /// What must never happen, and did.
    pub(crate) violations: Vec<String>,
    /// Every launching call, in order, with what EC2 said.
    pub(crate) calls: Vec<(Timestamp, Pool, WorkerTypeName, u32, String)>,
    tokens: BTreeMap<ClientToken, (LaunchCall, Vec<SpotRequestId>)>,
    events: BTreeMap<(Timestamp, u64), Event>,
    fate: Rng,
    lag: Rng,
    pub(crate) chance: Rng,
    next_id: u64,
}

fn refusal(code: &str, message: impl Into<String>) -> Outcome {
    let class = classify(code).unwrap_or(RefusalClass::Transient);
    Outcome::Refused(Refusal {
        class,
        code: code.to_owned(),
        message: message.into(),
        request_id: None,
    })
}

impl World {
    pub(crate) fn new(settings: Arc<Settings>, knowledge: Knowledge, seed: u64) -> Self {
        Self {
            now: start(),
            looked: start(),
            settings,
            queue: Queue::new(knowledge),
            faults: Faults::default(),
            key_pair: KeyPair::Ours,
            requests: BTreeMap::new(),
            machines: BTreeMap::new(),
            free: BTreeMap::new(),
            dry: BTreeSet::new(),
            quotas: BTreeMap::new(),
            refused: BTreeMap::new(),
            bad: BTreeSet::new(),
            boot: (secs(20), secs(90)),
            violations: Vec::new(),
            calls: Vec::new(),
            tokens: BTreeMap::new(),
            events: BTreeMap::new(),
            fate: Rng::stream(seed, 1),
            lag: Rng::stream(seed, 2),
            chance: Rng::stream(seed, 3),
            next_id: 0,
        }
    }

    // Time.

    fn schedule(&mut self, after: Duration, event: Event) {
        self.next_id += 1;
        self.events.insert((clock::after(self.now, after), self.next_id), event);
    }

    pub(crate) fn advance(&mut self, to: Timestamp) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= to) {
            self.now = self.now.max(entry.key().0);
            let event = entry.remove();
            self.happen(event);
        }
        self.now = self.now.max(to);
    }

    fn visible(&mut self) -> Timestamp {
        clock::after(self.now, self.lag.delay(self.faults.lag))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fill(id) => self.fill(&id),
            Event::Fail(id) => self.end_request(&id, SpotRequestState::Failed, "bad-parameters"),
            Event::Expire(id) => {
                self.end_request(&id, SpotRequestState::Closed, "schedule-expired");
            }
            Event::Running(id) => {
                if self.state(&id) == Some(InstanceState::Pending) {
                    self.set_state(&id, InstanceState::Running);
                    let (least, most) = self.boot;
                    let boot = self.fate.between(least, most);
                    if !self.machines[&id].never_claims {
                        self.schedule(boot, Event::Up(id.clone()));
                    }
                    if self.fate.chance(self.faults.interrupted) {
                        let later = self.fate.between(secs(1), mins(20));
                        self.schedule(later, Event::Interrupted(id));
                    }
                }
            }
            Event::Up(id) => {
                if self.state(&id) == Some(InstanceState::Running) {
                    let now = self.now;
                    let machine = self.machines.get_mut(&id).unwrap();
                    machine.up = true;
                    machine.idle_since = now;
                    if let Some(worker_type) = machine.worker_type.clone() {
                        self.claim(&worker_type);
                    }
                    self.watch_idle(&id);
                }
            }
            Event::Finished(task, id) => {
                if self.queue.tasks.get(&task).is_some_and(|task| task.on.as_ref() == Some(&id)) {
                    let worker_type = self.queue.tasks.remove(&task).unwrap().worker_type;
                    let now = self.now;
                    self.machines.get_mut(&id).unwrap().idle_since = now;
                    self.claim(&worker_type);
                    self.watch_idle(&id);
                }
            }
            Event::Idle(id) => {
                let Some(machine) = self.machines.get(&id) else { return };
                let timeout = self.idle_timeout(machine);
                let idle = clock::after(machine.idle_since, timeout) <= self.now;
                if machine.up && idle && self.queue.runs(&id) == 0 {
                    self.end(&id, "instance-terminated-by-user");
                }
            }
            Event::Interrupted(id) => self.end(&id, "instance-terminated-no-capacity"),
            Event::Stopped(id) => {
                if self.state(&id) == Some(InstanceState::Stopping) {
                    self.set_state(&id, InstanceState::Stopped);
                }
            }
            Event::Terminated(id) => self.set_state(&id, InstanceState::Terminated),
            Event::Vanish(id) => {
                let visible = self.visible();
                self.machines.get_mut(&id).unwrap().record.vanish(visible);
            }
        }
    }

    fn idle_timeout(&self, machine: &Machine) -> Duration {
        let worker_type = machine.worker_type.as_ref();
        worker_type
            .and_then(|name| self.settings.worker_types.get(name))
            .map_or(mins(15), |worker_type| worker_type.idle_timeout)
    }

    fn watch_idle(&mut self, id: &InstanceId) {
        if self.queue.runs(id) == 0 {
            let timeout = self.idle_timeout(&self.machines[id]);
            self.schedule(timeout, Event::Idle(id.clone()));
        }
    }

    // The queue.

    pub(crate) fn add_tasks(&mut self, worker_type: &WorkerTypeName, n: u64, duration: Duration) {
        for _ in 0..n {
            self.queue.add(worker_type, duration, self.now);
        }
        self.claim(worker_type);
    }

    /// Workers that are up and have room take what waits.
    fn claim(&mut self, worker_type: &WorkerTypeName) {
        let slots = self
            .settings
            .worker_types
            .get(worker_type)
            .map_or(1, |worker_type| u64::from(worker_type.tasks_per_instance));
        let up: Vec<InstanceId> = self
            .machines
            .iter()
            .filter(|(_, machine)| machine.up && machine.worker_type.as_ref() == Some(worker_type))
            .map(|(id, _)| id.clone())
            .collect();
        for id in up {
            while self.queue.runs(&id) < slots {
                let Some(task) = self.queue.oldest(worker_type) else { return };
                let entry = self.queue.tasks.get_mut(&task).unwrap();
                entry.on = Some(id.clone());
                let duration = entry.duration;
                self.schedule(duration, Event::Finished(task, id.clone()));
            }
        }
    }

    // Instances and requests.

    pub(crate) fn state(&self, id: &InstanceId) -> Option<InstanceState> {
        self.machines.get(id)?.record.truth().map(|instance| instance.state.clone())
    }

    fn set_state(&mut self, id: &InstanceId, state: InstanceState) {
        let visible = self.visible();
        let machine = self.machines.get_mut(id).unwrap();
        machine.record.change(visible, |instance| instance.state = state);
    }

    fn end_request(&mut self, id: &SpotRequestId, state: SpotRequestState, code: &str) {
        let open =
            self.requests[id].record.truth().is_some_and(|r| r.state == SpotRequestState::Open);
        if open {
            self.change_request(id, |request| {
                request.state = state;
                request.status_code = code.into();
                request.status_message = StatusText::new(format!("{code} it is"));
            });
        }
    }

    fn change_request(&mut self, id: &SpotRequestId, change: impl FnOnce(&mut SpotRequest)) {
        let visible = self.visible();
        let now = self.now;
        self.requests.get_mut(id).unwrap().record.change(visible, |request| {
            change(request);
            request.status_time = Some(now);
        });
    }

    fn fill(&mut self, id: &SpotRequestId) {
        let request = &self.requests[id];
        let truth = request.record.truth().unwrap().clone();
        if truth.state != SpotRequestState::Open || request.valid_until <= self.now {
            return;
        }
        let pool = Pool { instance_type: truth.instance_type.clone(), zone: truth.zone.clone() };
        let pool = pool.to_string();
        if self.dry.contains(&pool) || self.free.get(&pool).is_some_and(|free| *free <= 0) {
            if truth.status_code.as_str() != "capacity-not-available" {
                self.change_request(id, |request| {
                    request.status_code = "capacity-not-available".into();
                });
            }
            self.schedule(secs(15), Event::Fill(id.clone()));
            return;
        }
        if let Some(free) = self.free.get_mut(&pool) {
            *free -= 1;
        }
        let never_claims = self.fate.chance(self.faults.never_claims);
        let key = self.requests[id].key.clone();
        let instance = self.launch(
            &key,
            truth.tags.worker_type.clone(),
            truth.instance_type.clone(),
            Some(id.clone()),
            OwnTags::default(),
            never_claims,
        );
        self.change_request(id, |request| {
            request.state = SpotRequestState::Active;
            request.status_code = "fulfilled".into();
            request.instance = Some(instance);
        });
    }

    /// EC2 fulfils an open request now.
    pub(crate) fn fulfil(&mut self, id: &SpotRequestId) {
        self.fill(id);
    }

    /// A request is gone, and EC2 knows its id no more.
    pub(crate) fn forget_request(&mut self, id: &SpotRequestId) {
        self.change_request(id, |request| request.state = SpotRequestState::Closed);
    }

    /// Describe calls show no request there is now, for so long.
    pub(crate) fn hide_requests(&mut self, time: Duration) {
        let visible = clock::after(self.now, time);
        for request in self.requests.values_mut() {
            let truth = request.record.truth().unwrap().clone();
            request.record = Lagged::new(truth, visible);
        }
    }

    /// An instance comes up, by a request or by somebody's hand.
    pub(crate) fn launch(
        &mut self,
        key: &KeyName,
        worker_type: Option<WorkerTypeName>,
        instance_type: InstanceType,
        request: Option<SpotRequestId>,
        tags: OwnTags,
        never_claims: bool,
    ) -> InstanceId {
        self.next_id += 1;
        let id = InstanceId::new(format!("i-{:08x}", self.next_id));
        let price = worker_type
            .as_ref()
            .and_then(|name| self.settings.worker_types.get(name))
            .and_then(|worker_type| worker_type.max_price)
            .unwrap_or_default();
        let zone = request.as_ref().and_then(|id| self.requests[id].record.truth()?.zone.clone());
        let instance = Instance {
            id: id.clone(),
            state: InstanceState::Pending,
            instance_type,
            zone,
            launch_time: self.now,
            spot_request: request,
            other_platform: None,
            tags,
        };
        let machine = Machine {
            record: Lagged::new(instance, self.visible()),
            key: key.clone(),
            worker_type,
            price,
            up: false,
            never_claims,
            idle_since: self.now,
        };
        self.machines.insert(id.clone(), machine);
        let pending = self.fate.between(secs(2), secs(25));
        self.schedule(pending, Event::Running(id.clone()));
        id
    }

    /// An instance ends, by whomever.
    pub(crate) fn end(&mut self, id: &InstanceId, code: &str) {
        if !self.state(id).is_some_and(|state| state.is_live()) {
            return;
        }
        self.set_state(id, InstanceState::ShuttingDown);
        self.machines.get_mut(id).unwrap().up = false;
        let instance = self.machines[id].record.truth().unwrap().clone();
        let pool = Pool { instance_type: instance.instance_type, zone: instance.zone };
        if let Some(free) = self.free.get_mut(&pool.to_string()) {
            *free += 1;
        }
        if let Some(request) = instance.spot_request {
            let active =
                self.requests[&request].record.truth().unwrap().state == SpotRequestState::Active;
            if active {
                self.change_request(&request, |request| {
                    request.state = SpotRequestState::Closed;
                    request.status_code = code.into();
                });
            }
        }
        self.queue.requeue(id);
        if let Some(worker_type) = self.machines[id].worker_type.clone() {
            self.claim(&worker_type);
        }
        self.schedule(secs(40), Event::Terminated(id.clone()));
        self.schedule(mins(60), Event::Vanish(id.clone()));
    }

    /// Someone stops an instance by hand.
    pub(crate) fn stop(&mut self, id: &InstanceId) {
        if self.state(id) == Some(InstanceState::Running) {
            self.set_state(id, InstanceState::Stopping);
            self.machines.get_mut(id).unwrap().up = false;
            self.queue.requeue(id);
            self.schedule(secs(30), Event::Stopped(id.clone()));
        }
    }

    // What is true.

    pub(crate) fn live(&self) -> impl Iterator<Item = (&InstanceId, &Machine)> {
        self.machines.iter().filter(|(_, machine)| {
            machine.key == key()
                && machine.record.truth().is_some_and(|instance| instance.state.is_live())
        })
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &SpotRequest> {
        self.requests
            .values()
            .filter(|request| request.key == key())
            .filter_map(|request| request.record.truth())
            .filter(|request| request.state == SpotRequestState::Open)
    }

    /// Open requests and live instances of a worker type.
    pub(crate) fn count(&self, worker_type: &WorkerTypeName) -> u64 {
        let open = self.open().filter(|r| r.tags.worker_type.as_ref() == Some(worker_type)).count();
        let live = self.live().filter(|(_, m)| m.worker_type.as_ref() == Some(worker_type)).count();
        (open + live) as u64
    }

    /// Open requests and live instances that the engine can know of or made itself, and their price.
    pub(crate) fn total(&self) -> (u64, UsdPerHour) {
        let mut n = 0;
        let mut usd = UsdPerHour::ZERO;
        for request in self.open() {
            n += 1;
            usd = usd.plus(request.max_price.unwrap_or_default());
        }
        for (_, machine) in self.live() {
            let made_by_hand = machine.record.truth().unwrap().spot_request.is_none();
            if !made_by_hand || machine.record.seen(self.looked).is_some() {
                n += 1;
                usd = usd.plus(machine.price);
            }
        }
        (n, usd)
    }

    // What the driver's calls show and do.

    pub(crate) fn observe(&self, tracked: &BTreeSet<SpotRequestId>) -> Observation {
        let ours = key();
        let instances: Vec<Instance> = self
            .machines
            .values()
            .filter(|machine| machine.key == ours)
            .filter_map(|machine| machine.record.seen(self.now).cloned())
            .collect();
        // As the adapter does: the requests of instances that do not say themselves what they are.
        let untagged: BTreeSet<_> = instances
            .iter()
            .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
            .filter_map(|instance| instance.spot_request.clone())
            .collect();
        let spot_requests = self
            .requests
            .values()
            .filter(|request| request.key == ours)
            .filter_map(|request| request.record.seen(self.now).cloned())
            .filter(|request| {
                matches!(request.state, SpotRequestState::Open | SpotRequestState::Active)
                    || tracked.contains(&request.id)
                    || untagged.contains(&request.id)
            })
            .collect();
        Observation { instances, spot_requests, key_pair: self.key_pair }
    }

    pub(crate) fn execute(&mut self, effect: &Effect) -> Outcome {
        if self.chance.chance(self.faults.lost_before) {
            return refusal("RequestTimeout", "no answer");
        }
        if self.chance.chance(self.faults.throttled) {
            return refusal("RequestLimitExceeded", "Request limit exceeded.");
        }
        let outcome = match effect {
            Effect::PersistLedger(_) => Outcome::Done,
            Effect::Request(call) => {
                let outcome = self.request(call);
                let said = match &outcome {
                    Outcome::Requested(granted) => format!("{} granted", granted.len()),
                    Outcome::Refused(refusal) => refusal.code.clone(),
                    other => format!("{other:?}"),
                };
                let worker_type = call.worker_type.clone();
                self.calls.push((self.now, call.pool(), worker_type, call.count, said));
                outcome
            }
            Effect::Cancel(ids) => self.cancel(ids),
            Effect::Terminate(ids) => self.terminate(ids),
            Effect::Tag { instances, tags } => {
                let tags = own_tags(tags);
                for id in instances {
                    self.must_be_ours(id, "tags");
                    let visible = self.visible();
                    let machine = self.machines.get_mut(id).unwrap();
                    machine.record.change(visible, |instance| instance.tags = tags.clone());
                }
                Outcome::Done
            }
        };
        if self.chance.chance(self.faults.lost_after) {
            return refusal("RequestTimeout", "the answer was lost");
        }
        outcome
    }

    fn must_be_ours(&mut self, id: &InstanceId, does: &str) {
        let Some(machine) = self.machines.get(id) else {
            return self.violations.push(format!("{does} {id}, which does not exist"));
        };
        let truth = machine.record.truth().cloned();
        let disputed = truth
            .as_ref()
            .and_then(|instance| instance.tags.key_name.clone())
            .is_some_and(|name| name != key());
        let stray = machine.worker_type.is_none();
        let forbidden = stray && self.key_pair != KeyPair::Ours;
        if machine.key != key() || disputed || forbidden {
            self.violations.push(format!("{does} {id}, which is not ours: {truth:?}"));
        }
    }

    fn request(&mut self, call: &LaunchCall) -> Outcome {
        if let Some((first, ids)) = self.tokens.get(&call.token) {
            if first != call {
                return refusal("IdempotentParameterMismatch", "another call had this token");
            }
            return self.answer(ids);
        }
        if let Some(code) = self.refused.get(&call.worker_type) {
            return refusal(code, "it is broken");
        }
        if call.valid_until <= self.now {
            return refusal("InvalidParameterValue", "ValidUntil is in the past");
        }
        let group = call.instance_type.as_str().chars().next().unwrap();
        if let Some(most) = self.quotas.get(&group) {
            let of_group = |t: &InstanceType| t.as_str().starts_with(group);
            let used = self.open().filter(|r| of_group(&r.instance_type)).count()
                + self
                    .live()
                    .filter(|(_, m)| of_group(&m.record.truth().unwrap().instance_type))
                    .count();
            if used as u64 + u64::from(call.count) > *most {
                return refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded");
            }
        }
        let pool = call.pool().to_string();
        if self.dry.contains(&pool) || self.chance.chance(self.faults.no_capacity) {
            return refusal("InsufficientInstanceCapacity", "There is no Spot capacity");
        }
        let mut count = u64::from(call.count);
        if self.chance.chance(self.faults.partial) {
            count = 1 + self.chance.below(count);
        }
        let ids: Vec<_> = (0..count).map(|_| self.make_request(call)).collect();
        self.tokens.insert(call.token.clone(), (call.clone(), ids.clone()));
        // Some are fulfilled at once.
        self.advance(self.now);
        self.answer(&ids)
    }

    fn answer(&self, ids: &[SpotRequestId]) -> Outcome {
        let granted = |id: &SpotRequestId| GrantedRequest {
            id: id.clone(),
            state: self.requests[id].record.truth().unwrap().state.clone(),
        };
        Outcome::Requested(ids.iter().map(granted).collect())
    }

    fn make_request(&mut self, call: &LaunchCall) -> SpotRequestId {
        self.next_id += 1;
        let id = SpotRequestId::new(format!("sir-{:08x}", self.next_id));
        let request = SpotRequest {
            id: id.clone(),
            state: SpotRequestState::Open,
            status_code: "pending-evaluation".into(),
            status_message: "".into(),
            status_time: Some(self.now),
            created: self.now,
            instance: None,
            instance_type: call.instance_type.clone(),
            zone: call.zone.clone(),
            max_price: call.max_price,
            tags: own_tags(&call.tags),
        };
        let record = Lagged::new(request, self.visible());
        let valid_until = call.valid_until;
        let request = Request { record, key: call.key_name.clone(), valid_until };
        self.requests.insert(id.clone(), request);
        let expire = clock::age(self.now, valid_until);
        self.schedule(expire, Event::Expire(id.clone()));
        if self.bad.contains(&call.worker_type) {
            self.schedule(secs(5), Event::Fail(id.clone()));
        } else if !self.fate.chance(self.faults.never_filled) {
            let fill = self.fate.delay(self.faults.fill);
            self.schedule(fill, Event::Fill(id.clone()));
        }
        id
    }

    /// One id that EC2 does not show yet may fail the whole call.
    fn one_bad_id(
        &mut self,
        ids: &[&str],
        seen: impl Fn(&Self, &str) -> bool,
        code: &str,
    ) -> Option<Outcome> {
        let bad = ids.iter().find(|id| !seen(self, id))?;
        let message = format!("The ID '{bad}' does not exist");
        self.chance.chance(self.faults.bulk_not_found).then(|| refusal(code, message))
    }

    fn cancel(&mut self, ids: &[SpotRequestId]) -> Outcome {
        let names: Vec<_> = ids.iter().map(SpotRequestId::as_str).collect();
        let still_there = |world: &Self, id: &str| {
            let request = world.requests.get(id).and_then(|request| request.record.truth());
            request.is_some_and(|request| request.state == SpotRequestState::Open)
        };
        let code = "InvalidSpotInstanceRequestID.NotFound";
        if let Some(refused) = self.one_bad_id(&names, still_there, code) {
            return refused;
        }
        for id in ids {
            let Some(request) = self.requests.get(id) else {
                self.violations.push(format!("cancels {id}, which does not exist"));
                continue;
            };
            let disputed = request.record.truth().unwrap().tags.key_name.clone();
            if request.key != key() || disputed.is_some_and(|name| name != key()) {
                self.violations.push(format!("cancels {id}, which is not ours"));
            }
            match request.record.truth().unwrap().state {
                SpotRequestState::Open => self.change_request(id, |request| {
                    request.state = SpotRequestState::Cancelled;
                    request.status_code = "canceled-before-fulfillment".into();
                }),
                SpotRequestState::Active => self.change_request(id, |request| {
                    request.state = SpotRequestState::Cancelled;
                    request.status_code = "request-canceled-and-instance-running".into();
                }),
                _ => {}
            }
        }
        Outcome::Done
    }

    fn terminate(&mut self, ids: &[InstanceId]) -> Outcome {
        let names: Vec<_> = ids.iter().map(InstanceId::as_str).collect();
        let still_there = |world: &Self, id: &str| {
            world.state(&InstanceId::from(id)).is_some_and(|s| s.is_live())
        };
        if let Some(refused) = self.one_bad_id(&names, still_there, "InvalidInstanceID.NotFound") {
            return refused;
        }
        for id in ids {
            self.must_be_ours(id, "terminates");
            self.end(id, "instance-terminated-by-user");
        }
        Outcome::Done
    }
}

fn own_tags(tags: &BTreeMap<String, String>) -> OwnTags {
    OwnTags {
        key_name: tags.get(TAG_KEY_NAME).map(|name| KeyName::from(name.as_str())),
        worker_type: tags.get(TAG_WORKER_TYPE).map(|name| WorkerTypeName::from(name.as_str())),
        intent: tags.get(TAG_INTENT).map(|token| ClientToken::from(token.as_str())),
    }
}
