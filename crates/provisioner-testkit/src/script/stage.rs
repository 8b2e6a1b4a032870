//! The configuration and the world with which a scenario begins.

use std::time::Duration;

use provisioner::internal::domain::ids::InstanceType;
use provisioner::internal::settings::{Limits, WorkerType};

use super::command::{Property, Set};
use provisioner_sim::deployment::{settings, worker_type};
use provisioner_sim::queue::Knowledge;

/// The configuration and the world with which a scenario begins.
#[derive(Clone, Debug)]
pub struct Stage {
    pub(super) worker_types: Vec<(String, WorkerType)>,
    pub(super) zones: Vec<String>,
    /// Subnets with their zones and free addresses.
    pub(super) subnets: Vec<(String, String, u64)>,
    pub(super) limits: Limits,
    pub(super) knowledge: Knowledge,
    pub(super) seed: u64,
    pub(super) boot: (Duration, Duration),
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            worker_types: Vec::new(),
            zones: vec!["us-west-2a".to_owned(), "us-west-2b".to_owned()],
            subnets: Vec::new(),
            limits: Limits::default(),
            knowledge: Knowledge::ByInstance,
            seed: 1,
            boot: (Duration::from_mins(1), Duration::from_mins(1)),
        }
    }
}

impl Stage {
    pub(super) fn set(&mut self, set: Set) {
        match set {
            Set::WorkerType { name, instance_types, properties } => {
                let mut made = worker_type(&[], 20);
                made.instance_types =
                    instance_types.iter().map(|name| InstanceType::from(name.as_str())).collect();
                apply_all(&mut made, properties);
                self.worker_types.push((name, made));
            }
            Set::Zones(zones) => self.zones = zones,
            Set::Subnet { id, zone, free } => self.subnets.push((id, zone, free)),
            Set::MaxInstances(most) => self.limits.max_instances = Some(most),
            Set::MaxUsdPerHour(most) => self.limits.max_usd_per_hour = Some(most),
            Set::Knowledge(knowledge) => self.knowledge = knowledge,
            Set::Seed(seed) => self.seed = seed,
            Set::Boot(least, most) => self.boot = (least, most),
        }
    }

    pub(super) fn settings(&self) -> provisioner::internal::settings::Settings {
        let types = self
            .worker_types
            .iter()
            .map(|(name, worker_type)| (name.as_str(), worker_type.clone()));
        let mut settings = settings(types);
        settings.limits = self.limits.clone();
        settings
    }
}

pub(super) fn apply_all(worker_type: &mut WorkerType, properties: Vec<Property>) {
    for property in properties {
        apply(worker_type, property);
    }
}

fn apply(worker_type: &mut WorkerType, property: Property) {
    match property {
        Property::Types(types) => {
            worker_type.instance_types =
                types.iter().map(|name| InstanceType::from(name.as_str())).collect();
        }
        Property::Max(n) => worker_type.max_instances = n,
        Property::Min(n) => worker_type.min_instances = n,
        Property::TasksPerInstance(n) => worker_type.tasks_per_instance = n,
        Property::RequestTimeout(time) => worker_type.request_timeout = time,
        Property::BootTimeout(time) => worker_type.boot_timeout = time,
        Property::IdleTimeout(time) => worker_type.idle_timeout = time,
        Property::MaxLifetime(time) => worker_type.max_lifetime = Some(time),
        Property::MaxPrice(price) => worker_type.max_price = Some(price),
    }
}
