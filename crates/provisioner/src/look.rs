//! One complete look at EC2 that is kept, so that of the next only what changed need be taken in.
//!
//! A round is decided on a complete look. Where somebody knows what changed since the last one, taking in
//! that alone comes to the same, with work proportional to changes. Who tells the changes does not need to
//! know what the engine needs beside them: [`Look::changes`] adds it.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ids::{ClientToken, InstanceId, KeyName, SpotRequestId};
use crate::domain::observed::{Instance, InstanceState, KeyPair, Observation, SpotRequest};

/// Everything that is shown under a key-name, kept from look to look.
#[derive(Clone, Debug)]
pub struct Look {
    key_name: KeyName,
    key_pair: KeyPair,
    instances: HashMap<InstanceId, Instance>,
    spot_requests: HashMap<SpotRequestId, SpotRequest>,
    /// Which instances name a request.
    of_request: BTreeSet<(SpotRequestId, InstanceId)>,
    /// Which requests name an instance.
    of_instance: BTreeSet<(InstanceId, SpotRequestId)>,
    /// Instances that do not tell by themselves whose they are, or that are in a strange state.
    unclear: BTreeSet<InstanceId>,
    changed: Changed,
}

/// What changed since the changes were last taken.
#[derive(Clone, Debug, Default)]
struct Changed {
    instances: BTreeSet<InstanceId>,
    spot_requests: BTreeSet<SpotRequestId>,
}

/// What of a look is needed besides what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Requests whose fate is followed.
    pub spot_requests: BTreeSet<SpotRequestId>,
    /// Instances whose fate is followed.
    pub instances: BTreeSet<InstanceId>,
    /// Launches whose answer is not known: their requests tell.
    pub intents: BTreeSet<ClientToken>,
}

/// What a complete look shows otherwise than the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// All that is new or otherwise, what belongs to it, and what is watched.
    pub shown: Observation,
    /// Instances that are not shown any more.
    pub gone: Vec<InstanceId>,
}

impl Look {
    /// Nothing is shown under `key_name`.
    pub fn new(key_name: KeyName) -> Self {
        Self {
            key_name,
            key_pair: KeyPair::Unknown,
            instances: HashMap::new(),
            spot_requests: HashMap::new(),
            of_request: BTreeSet::new(),
            of_instance: BTreeSet::new(),
            unclear: BTreeSet::new(),
            changed: Changed::default(),
        }
    }

    /// Whose key pair it is.
    pub fn set_key_pair(&mut self, key_pair: KeyPair) {
        self.key_pair = key_pair;
    }

    /// An instance is shown like this. Returns whether that is new.
    pub fn show_instance(&mut self, instance: &Instance) -> bool {
        if self.instances.get(&instance.id) == Some(instance) {
            return false;
        }
        self.hide_instance(&instance.id);
        if let Some(request) = &instance.spot_request {
            self.changed.spot_requests.insert(request.clone());
            self.of_request.insert((request.clone(), instance.id.clone()));
        }
        if self.is_unclear(instance) {
            self.unclear.insert(instance.id.clone());
        }
        self.instances.insert(instance.id.clone(), instance.clone());
        self.changed.instances.insert(instance.id.clone());
        true
    }

    /// An instance is not shown any more.
    pub fn hide_instance(&mut self, id: &InstanceId) {
        let Some(before) = self.instances.remove(id) else { return };
        if let Some(request) = before.spot_request {
            self.of_request.remove(&(request.clone(), id.clone()));
            self.changed.spot_requests.insert(request);
        }
        self.unclear.remove(id);
        self.changed.instances.insert(before.id);
    }

    /// A request is shown like this. Returns whether that is new.
    pub fn show_request(&mut self, request: &SpotRequest) -> bool {
        if self.spot_requests.get(&request.id) == Some(request) {
            return false;
        }
        self.hide_request(&request.id);
        if let Some(instance) = &request.instance {
            self.changed.instances.insert(instance.clone());
            self.of_instance.insert((instance.clone(), request.id.clone()));
        }
        self.spot_requests.insert(request.id.clone(), request.clone());
        self.changed.spot_requests.insert(request.id.clone());
        true
    }

    /// A request is not shown any more.
    pub fn hide_request(&mut self, id: &SpotRequestId) {
        let Some(before) = self.spot_requests.remove(id) else { return };
        if let Some(instance) = before.instance {
            self.of_instance.remove(&(instance.clone(), id.clone()));
            self.changed.instances.insert(instance);
        }
        self.changed.spot_requests.insert(before.id);
    }

    /// Whether more than the instance is needed to say whose it is and what it does.
    fn is_unclear(&self, instance: &Instance) -> bool {
        let tags = &instance.tags;
        tags.key_name.as_ref() != Some(&self.key_name)
            || tags.worker_type.is_none()
            || matches!(instance.state, InstanceState::Unrecognised(_))
    }

    /// The instances that do not tell by themselves whose they are, or that are in a strange state.
    pub fn unclear(&self) -> impl Iterator<Item = &Instance> {
        self.unclear.iter().filter_map(|id| self.instances.get(id))
    }

    /// Takes in a complete look.
    pub fn update(&mut self, observation: &Observation) {
        let shown: BTreeSet<_> = observation.instances.iter().map(|it| &it.id).collect();
        let hidden: Vec<_> =
            self.instances.keys().filter(|id| !shown.contains(id)).cloned().collect();
        for id in &hidden {
            self.hide_instance(id);
        }
        let shown: BTreeSet<_> = observation.spot_requests.iter().map(|it| &it.id).collect();
        let hidden: Vec<_> =
            self.spot_requests.keys().filter(|id| !shown.contains(id)).cloned().collect();
        for id in &hidden {
            self.hide_request(id);
        }
        for instance in &observation.instances {
            self.show_instance(instance);
        }
        for request in &observation.spot_requests {
            self.show_request(request);
        }
        self.key_pair = observation.key_pair;
    }

    /// Whether something is shown otherwise than when the changes were last taken.
    pub fn has_changed(&self) -> bool {
        !self.changed.instances.is_empty() || !self.changed.spot_requests.is_empty()
    }

    /// How many instances and how many requests are shown.
    pub fn records(&self) -> (usize, usize) {
        (self.instances.len(), self.spot_requests.len())
    }

    /// All of it, in order of ids. Nothing has changed since, then.
    pub fn whole(&mut self) -> Observation {
        self.changed = Changed::default();
        let mut instances: Vec<_> = self.instances.values().cloned().collect();
        instances.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut spot_requests: Vec<_> = self.spot_requests.values().cloned().collect();
        spot_requests.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Observation { instances, spot_requests, key_pair: self.key_pair }
    }

    /// What changed since this was last asked, or [`whole`](Self::whole) was, with everything that belongs
    /// to it by id, and what is watched. Nothing has changed since, then.
    pub fn changes(&mut self, watch: &Watch) -> Changes {
        let Changed { mut instances, spot_requests: mut requests } =
            std::mem::take(&mut self.changed);
        let gone = instances.iter().filter(|id| !self.instances.contains_key(*id));
        let gone = gone.cloned().collect();
        instances.extend(watch.instances.iter().chain(&self.unclear).cloned());
        requests.extend(watch.spot_requests.iter().cloned());
        if !watch.intents.is_empty() {
            let of_intent = |request: &&SpotRequest| {
                request.tags.intent.as_ref().is_some_and(|token| watch.intents.contains(token))
            };
            requests.extend(self.spot_requests.values().filter(of_intent).map(|it| it.id.clone()));
        }
        self.close(&mut instances, &mut requests);
        let shown = Observation {
            instances: instances.iter().filter_map(|id| self.instances.get(id)).cloned().collect(),
            spot_requests: requests
                .iter()
                .filter_map(|id| self.spot_requests.get(id))
                .cloned()
                .collect(),
            key_pair: self.key_pair,
        };
        Changes { shown, gone }
    }

    /// Adds what names one of them, or is named by one, until nothing is left to add.
    fn close(&self, instances: &mut BTreeSet<InstanceId>, requests: &mut BTreeSet<SpotRequestId>) {
        let mut new_instances: Vec<_> = instances.iter().cloned().collect();
        let mut new_requests: Vec<_> = requests.iter().cloned().collect();
        loop {
            if let Some(id) = new_instances.pop() {
                let named = self.instances.get(&id).and_then(|it| it.spot_request.clone());
                let from = (id.clone(), SpotRequestId::from(""));
                let naming = self.of_instance.range(from..).take_while(|(it, _)| *it == id);
                for other in named.into_iter().chain(naming.map(|(_, other)| other.clone())) {
                    if requests.insert(other.clone()) {
                        new_requests.push(other);
                    }
                }
            } else if let Some(id) = new_requests.pop() {
                let named = self.spot_requests.get(&id).and_then(|it| it.instance.clone());
                let from = (id.clone(), InstanceId::from(""));
                let naming = self.of_request.range(from..).take_while(|(it, _)| *it == id);
                for other in named.into_iter().chain(naming.map(|(_, other)| other.clone())) {
                    if instances.insert(other.clone()) {
                        new_instances.push(other);
                    }
                }
            } else {
                return;
            }
        }
    }
}
