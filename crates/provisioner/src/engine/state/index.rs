//! The last observation, sorted by owner, with counts by state per worker type.
//!
//! Building it costs work proportional to machines; deciding from it, to worker types and actions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::demand::Running;
use crate::domain::ids::{SpotRequestId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::observed::KeyPair;
use crate::engine::state::group::{Claims, Group, Rules};
use crate::engine::state::idleness::Look;
use crate::engine::state::lookup::Lookup;
use crate::engine::state::machine::Machine;
use crate::engine::state::memory::Memory;
use crate::engine::stop_consent::StopConsent;
use crate::policy::PolicyMemory;
use crate::settings::Settings;

/// Everything under the key-name, by owner.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Index {
    /// Configured worker types.
    pub(in crate::engine) types: BTreeMap<WorkerTypeName, Group>,
    /// Tagged ours, but the worker type is no longer configured.
    pub(in crate::engine) retired: BTreeMap<WorkerTypeName, Group>,
    /// Neither our tags nor a spot request of ours.
    pub(in crate::engine) strays: Group,
    /// Instances whose spot request is not visible yet.
    pub(in crate::engine) unresolved: Vec<Machine>,
    /// Requests in the ledger whose instance is visible: each is counted as that instance.
    pub(in crate::engine) arrived: BTreeSet<SpotRequestId>,
    /// Instances under our key-name that carry another deployment's tag.
    pub(in crate::engine) disputed: Vec<Machine>,
    /// Whose key pair it is, as last seen.
    pub(in crate::engine) key_pair: KeyPair,
    /// States this version does not know.
    pub(in crate::engine) odd: Vec<String>,
    /// The spot capacity pools that instances run in, each once: [`Machine::pool`] is a place in it.
    pub(in crate::engine) pools: Vec<Pool>,
}

impl Index {
    /// Every group; strays last.
    pub(in crate::engine) fn groups(&self) -> impl Iterator<Item = &Group> {
        let Self { types, retired, strays, .. } = self;
        types.values().chain(retired.values()).chain([strays])
    }

    pub(in crate::engine) fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        let Self { types, retired, strays, .. } = self;
        types.values_mut().chain(retired.values_mut()).chain([strays])
    }

    /// Counts every group again. `demand_is_fresh`: the demand was read since the last count. Returns the
    /// worker types of which an instance was first seen with a task.
    pub(in crate::engine) fn recount(
        &mut self,
        settings: &Settings,
        running: &Running,
        demand_is_fresh: bool,
        memory: &mut Memory,
        consent: &StopConsent,
        now: Timestamp,
    ) -> BTreeSet<WorkerTypeName> {
        let interval = settings.provisioner.interval;
        let look = demand_is_fresh.then(|| Look::new(memory, running, interval, now));
        let mut claimed = BTreeSet::new();
        let mut lookup = Lookup::new(&mut memory.machines, running);
        for (name, group) in &mut self.types {
            let Some(worker_type) = settings.worker_types.get(name) else { continue };
            let unclaimed_since = memory.unclaimed_since.get(name).copied();
            let tasks = running.tasks(name);
            let claims = Claims { running, tasks, look, unclaimed_since, consent };
            let mut rules = Rules::of(worker_type);
            rules.excuse(memory.policies.get(name).map_or(0, PolicyMemory::kept));
            if group.recount(rules, &claims, &mut lookup, now) {
                claimed.insert(name.clone());
            }
        }
        let rules = Rules::retired(settings);
        for group in self.retired.values_mut().chain([&mut self.strays]) {
            let claims = Claims { running, tasks: None, look, unclaimed_since: None, consent };
            group.recount(rules, &claims, &mut lookup, now);
        }
        claimed
    }
}
