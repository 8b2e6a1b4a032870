//! Finds what is known of machines.

use std::collections::BTreeMap;

use crate::domain::demand::Running;
use crate::domain::ids::InstanceId;
use crate::engine::state::machine::Machine;
use crate::engine::state::memory::MachineMemory;

/// What is remembered of each machine, and how many tasks run on it, by [`Machine::rank`]. Both are laid
/// out in one pass over two sorted maps, since a look-up in a large tree costs a cache miss per level.
pub(in crate::engine) struct Lookup<'a>(Vec<(&'a mut MachineMemory, u32)>);

impl<'a> Lookup<'a> {
    pub(in crate::engine) fn new(
        machines: &'a mut BTreeMap<InstanceId, MachineMemory>,
        running: &'a Running,
    ) -> Self {
        let tasks = match running {
            Running::ByInstance { instances, .. } => Some(instances),
            Running::Unknown | Running::Counted { .. } => None,
        };
        let mut tasks = tasks.into_iter().flatten().peekable();
        let by_rank = machines.iter_mut().map(|(id, machine)| {
            while tasks.next_if(|(other, _)| *other < id).is_some() {}
            (machine, tasks.next_if(|(other, _)| *other == id).map_or(0, |(_, n)| *n))
        });
        Self(by_rank.collect())
    }

    pub(in crate::engine) fn get(
        &mut self,
        machine: &Machine,
    ) -> Option<(&mut MachineMemory, u32)> {
        self.0.get_mut(machine.rank).map(|(known, n)| (&mut **known, *n))
    }
}
