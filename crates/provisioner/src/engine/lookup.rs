//! Finds what is known of machines.

use std::collections::BTreeMap;

use crate::domain::demand::Running;
use crate::domain::ids::InstanceId;
use crate::engine::index::Machine;
use crate::engine::memory::MachineMemory;

/// What is known of machines, and how many tasks run on them. For a few they are looked up by id. For
/// many, both are laid out by rank in one pass first: a look-up in a large tree costs a cache miss per
/// level.
pub(super) enum Lookup<'a> {
    ById(&'a mut BTreeMap<InstanceId, MachineMemory>, Option<&'a BTreeMap<InstanceId, u32>>),
    ByRank(Vec<(&'a mut MachineMemory, u32)>),
}

impl<'a> Lookup<'a> {
    /// For `due` machines. Where their ranks are not those of the last look, `due` is `None`.
    pub(super) fn new(
        machines: &'a mut BTreeMap<InstanceId, MachineMemory>,
        running: &'a Running,
        due: Option<usize>,
    ) -> Self {
        let tasks = match running {
            Running::ByInstance { instances, .. } => Some(instances),
            Running::Unknown | Running::Counted { .. } => None,
        };
        if due.is_none_or(|due| due < machines.len() / 8) {
            return Self::ById(machines, tasks);
        }
        let mut tasks = tasks.into_iter().flatten().peekable();
        let by_rank = machines.iter_mut().map(|(id, machine)| {
            while tasks.next_if(|(other, _)| *other < id).is_some() {}
            (machine, tasks.next_if(|(other, _)| *other == id).map_or(0, |(_, n)| *n))
        });
        Self::ByRank(by_rank.collect())
    }

    pub(super) fn get(&mut self, machine: &Machine) -> Option<(&mut MachineMemory, u32)> {
        match self {
            Self::ById(machines, tasks) => {
                let tasks = tasks.and_then(|tasks| tasks.get(&machine.id)).copied().unwrap_or(0);
                Some((machines.get_mut(&machine.id)?, tasks))
            }
            Self::ByRank(known) => known.get_mut(machine.rank).map(|(known, n)| (&mut **known, *n)),
        }
    }
}
