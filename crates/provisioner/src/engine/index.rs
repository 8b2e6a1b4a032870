//! The last observation, sorted by owner, with counts by state per worker type.
//!
//! Building it costs work proportional to machines; deciding from it, to worker types and actions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::demand::Running;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, StatusText, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{InstanceState, KeyPair};
use crate::engine::desk::Book;
use crate::engine::group::{Claims, Group, Rules};
use crate::engine::lookup::Lookup;
use crate::engine::memory::Memory;
use crate::policy::PolicyMemory;
use crate::settings::Settings;

/// Everything under the key-name, by owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Configured worker types.
    pub(super) types: BTreeMap<WorkerTypeName, Group>,
    /// Tagged ours, but the worker type is no longer configured.
    pub(super) retired: BTreeMap<WorkerTypeName, Group>,
    /// Neither our tags nor a spot request of ours.
    pub(super) strays: Group,
    /// Instances whose spot request is not visible yet.
    pub(super) unresolved: Vec<Machine>,
    /// Requests in the ledger whose instance is visible: each is counted as that instance.
    pub(super) arrived: BTreeSet<SpotRequestId>,
    /// Instances under our key-name that carry another deployment's tag.
    pub(super) disputed: Vec<Machine>,
    /// Whose key pair it is, as last seen.
    pub(super) key_pair: KeyPair,
    /// States this version does not know.
    pub(super) odd: Vec<String>,
    /// The spot capacity pools that instances run in, each once: [`Machine::pool`] is a place in it.
    pub(super) pools: Vec<Pool>,
}

/// A live instance.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts about a machine, none of which excludes another"
)]
pub(super) struct Machine {
    pub(super) id: InstanceId,
    /// Its place among the [`Memory::machines`] as of the last look.
    pub(super) rank: usize,
    pub(super) state: InstanceState,
    /// Which of [`Index::pools`] it runs in, if a spot request made it and it is plain Linux.
    pub(super) pool: Option<usize>,
    pub(super) launched: Timestamp,
    pub(super) price: Option<UsdPerHour>,
    pub(super) intent: Option<ClientToken>,
    /// Whether it carries our tags already.
    pub(super) tagged: bool,
    pub(super) class: Class,
    /// Known to run no task, in two rounds running.
    pub(super) positively_idle: bool,
    /// Its worker was told to stop and said that it is stopping, and no task is seen on it.
    pub(super) agreed: bool,
    /// Older than `max-lifetime`.
    pub(super) aged: bool,
    /// How many tasks it is known, or presumed, to run.
    pub(super) tasks: u32,
}

impl Machine {
    /// Whether it is shutting down, or told to.
    pub(super) fn is_leaving(&self) -> bool {
        self.state == InstanceState::ShuttingDown
    }

    /// Whether ending it makes sense: not if its state is not known, or it is going already.
    pub(super) fn may_be_ended(&self) -> bool {
        !matches!(self.state, InstanceState::Unrecognised(_) | InstanceState::ShuttingDown)
    }
}

/// What a machine is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// No task has run on it yet; it is expected to take one.
    Booting,
    /// Known or presumed to run no task.
    Idle,
    /// Runs tasks, or may: what it does is not known.
    #[default]
    Unknown,
    /// Known or presumed to run tasks.
    Busy,
    /// Up longer than `boot-timeout` without a claim: no capacity.
    Overdue,
    /// Older than `max-lifetime`: no capacity.
    Aged,
    /// Stopping or stopped, or about to be because its worker was told so: no capacity.
    Stopping,
}

/// A request waiting for capacity.
#[derive(Clone, Debug)]
pub(super) struct OpenRequest {
    pub(super) id: SpotRequestId,
    pub(super) asked: Timestamp,
    pub(super) status_code: StatusText,
    pub(super) status_since: Timestamp,
    pub(super) pool: Pool,
    pub(super) price: Option<UsdPerHour>,
    /// Cancelled by us already; EC2 still shows it open.
    pub(super) cancelled: bool,
    /// Its state is known, so it may be cancelled.
    pub(super) touchable: bool,
}

/// Machines by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) booting: u64,
    pub(super) idle: u64,
    pub(super) unknown: u64,
    pub(super) busy: u64,
    pub(super) overdue: u64,
    pub(super) aged: u64,
    pub(super) stopping: u64,
    /// Shutting down: no cost and no capacity any more, but the maximum waits for them to be gone.
    pub(super) leaving: u64,
    /// Tasks that machines up or booting can take beyond those they run.
    pub(super) free_slots: u64,
    /// Machines without our tags.
    pub(super) untagged: u64,
    /// The highest possible price of the machines and open requests that have one.
    pub(super) usd: UsdPerHour,
    /// How many have none.
    pub(super) unpriced: u64,
}

impl Counts {
    pub(super) fn live(&self) -> u64 {
        let Self {
            booting,
            idle,
            unknown,
            busy,
            overdue,
            aged,
            stopping,
            leaving: _,
            free_slots: _,
            usd: _,
            unpriced: _,
            untagged: _,
        } = *self;
        booting + idle + unknown + busy + overdue + aged + stopping
    }
}

impl Index {
    /// Every group; strays last.
    pub(super) fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        let Self { types, retired, strays, .. } = self;
        types.values_mut().chain(retired.values_mut()).chain([strays])
    }

    /// Counts every group again. `demand_is_fresh`: the demand was read since the last count. Returns the
    /// worker types of which an instance was first seen with a task.
    pub(super) fn recount(
        &mut self,
        settings: &Settings,
        running: &Running,
        demand_is_fresh: bool,
        memory: &mut Memory,
        book: &Book,
        now: Timestamp,
    ) -> BTreeSet<WorkerTypeName> {
        let mut claimed = BTreeSet::new();
        let mut lookup = Lookup::new(&mut memory.machines, running);
        for (name, group) in &mut self.types {
            let Some(worker_type) = settings.worker_types.get(name) else { continue };
            let unclaimed_since = memory.unclaimed_since.get(name).copied();
            let tasks = running.tasks(name);
            let claims = Claims { running, tasks, fresh: demand_is_fresh, unclaimed_since, book };
            let mut rules = Rules::of(worker_type);
            rules.excuse(memory.policies.get(name).map_or(0, PolicyMemory::kept));
            if group.recount(rules, &claims, &mut lookup, now) {
                claimed.insert(name.clone());
            }
        }
        let rules = Rules::retired(settings);
        for group in self.retired.values_mut().chain([&mut self.strays]) {
            let claims = Claims {
                running,
                tasks: None,
                fresh: demand_is_fresh,
                unclaimed_since: None,
                book,
            };
            group.recount(rules, &claims, &mut lookup, now);
        }
        claimed
    }
}
