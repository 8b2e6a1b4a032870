//! The instances and spot requests of one observation, each once, joined by id.

use std::collections::HashMap;

use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::observed::{Instance, Observation, SpotRequest};

/// An observation in order of ids: nothing depends on the order of EC2's answer.
pub(in crate::engine) struct Join<'o> {
    /// Each instance with its request, where that is shown.
    pub(in crate::engine) instances: Vec<(&'o Instance, Option<&'o SpotRequest>)>,
    /// Each request with its instance, where that is shown.
    pub(in crate::engine) requests: Vec<(&'o SpotRequest, Option<&'o Instance>)>,
    positions: HashMap<&'o SpotRequestId, usize>,
    /// Requests that a shown instance names, and that are not shown themselves.
    named: HashMap<&'o SpotRequestId, &'o Instance>,
}

impl<'o> Join<'o> {
    /// Cheapest where both come sorted by id, as the adapter gives them.
    pub(in crate::engine) fn new(observation: &'o Observation) -> Self {
        let mut instances: Vec<_> =
            observation.instances.iter().map(|instance| (instance, None)).collect();
        instances.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        instances.dedup_by(|(a, _), (b, _)| a.id == b.id);
        let mut requests: Vec<_> =
            observation.spot_requests.iter().map(|request| (request, None)).collect();
        requests.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        requests.dedup_by(|(a, _), (b, _)| a.id == b.id);
        let positions =
            requests.iter().enumerate().map(|(i, (request, _))| (&request.id, i)).collect();
        let mut join = Self { instances, requests, positions, named: HashMap::new() };
        join.by_instance();
        join.by_request();
        join
    }

    fn by_instance(&mut self) {
        for (instance, request) in &mut self.instances {
            let Some(id) = &instance.spot_request else { continue };
            match self.positions.get(id) {
                Some(&position) => {
                    let (its, instance_of_it) = &mut self.requests[position];
                    *request = Some(*its);
                    instance_of_it.get_or_insert(instance);
                }
                None => {
                    self.named.entry(id).or_insert(instance);
                }
            }
        }
    }

    /// An instance names its request; where it does not (yet), the request names its instance.
    fn by_request(&mut self) {
        for (request, instance) in &mut self.requests {
            if instance.is_some() {
                continue;
            }
            let Some(id) = &request.instance else { continue };
            if let Ok(at) = self.instances.binary_search_by(|(instance, _)| instance.id.cmp(id)) {
                *instance = Some(self.instances[at].0);
                self.instances[at].1.get_or_insert(request);
            }
        }
    }

    /// A request by id.
    pub(in crate::engine) fn request(&self, id: &SpotRequestId) -> Option<&'o SpotRequest> {
        self.positions.get(id).map(|&position| self.requests[position].0)
    }

    /// The instance of a request, if that is shown, be the request shown or not.
    pub(in crate::engine) fn instance_of(&self, id: &SpotRequestId) -> Option<&'o Instance> {
        match self.positions.get(id) {
            Some(&position) => self.requests[position].1,
            None => self.named.get(id).copied(),
        }
    }

    /// The request of an instance, by the instance's id; where that is not shown, the one that names it.
    pub(in crate::engine) fn request_of(&self, id: &InstanceId) -> Option<&'o SpotRequest> {
        match self.instances.binary_search_by(|(instance, _)| instance.id.cmp(id)) {
            Ok(at) => self.instances[at].1,
            Err(_) => {
                let names =
                    |(request, _): &&(&SpotRequest, _)| request.instance.as_ref() == Some(id);
                self.requests.iter().find(names).map(|(request, _)| *request)
            }
        }
    }

    /// An instance by id.
    pub(in crate::engine) fn instance(&self, id: &InstanceId) -> Option<&'o Instance> {
        let at = self.instances.binary_search_by(|(instance, _)| instance.id.cmp(id)).ok()?;
        Some(self.instances[at].0)
    }
}
