//! Machines that serve nobody, and machines without our tags.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Draft;
use crate::domain::clock;
use crate::domain::demand::Running;
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::observed::InstanceState;
use crate::engine::decide::detail::{MachineNote, ReasonDetail};
use crate::engine::decide::plan::ActionKind;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine};
use crate::engine::state::view::TAG_AGAIN_AFTER;
use crate::settings::WorkerType;

impl<'a> Draft<'a> {
    /// Terminates machines that are stopped, whose workers agreed to stop, that never claimed a task,
    /// or that are too old.
    pub(super) fn worn_out_machines(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &'a Group,
    ) {
        let counts = group.counts;
        if counts.stopping > 0 {
            self.stopped(name, group);
            self.agreed(name, group);
        }
        if counts.overdue > 0 && self.demand_known() {
            let boot_timeout = worker_type.boot_timeout;
            let unclaimed = group
                .machines
                .iter()
                .filter(|machine| machine.class == Class::Overdue && machine.positively_idle);
            self.end(Some(name), unclaimed, |ended| ReasonDetail::NeverClaimed {
                ended,
                boot_timeout,
            });
        }
        if let Some(max_lifetime) = worker_type.max_lifetime {
            self.too_old(name, max_lifetime, group);
        }
    }

    pub(super) fn stopped(&mut self, name: &WorkerTypeName, group: &'a Group) {
        let stopped =
            group.machines.iter().filter(|machine| machine.state == InstanceState::Stopped);
        self.end(Some(name), stopped, |ended| ReasonDetail::Stopped { ended });
    }

    /// Terminates machines whose workers agreed to stop. They agreed on account of a demand, so while
    /// the demand is not known they wait.
    pub(super) fn agreed(&mut self, name: &WorkerTypeName, group: &'a Group) {
        if !self.demand_known() {
            return;
        }
        let agreed = group.machines.iter().filter(|machine| machine.agreed);
        let wanted = self.decide.targets.get(name).map(|target| target.wanted);
        self.end(Some(name), agreed, |ended| ReasonDetail::WorkerAgreed { ended, wanted });
    }

    /// Terminates machines past `max_lifetime` that are known to be idle, and any at twice that.
    fn too_old(&mut self, name: &WorkerTypeName, max_lifetime: Duration, group: &'a Group) {
        // The oldest machines come first.
        let n_doubly_old = group.n_past(max_lifetime.saturating_mul(2), self.decide.now);
        if group.counts.aged == 0 && n_doubly_old == 0 {
            return;
        }
        let demand_known = self.demand_known();
        let is_idle = |machine: &Machine| {
            demand_known && machine.class == Class::Aged && machine.positively_idle
        };
        let old: Vec<(usize, &Machine)> = group
            .machines
            .iter()
            .enumerate()
            .filter(|(i, machine)| *i < n_doubly_old || is_idle(machine))
            .filter(|(_, machine)| machine.may_be_ended() && !self.ended.contains(&machine.id))
            .collect();
        let past_twice = old.iter().filter(|(i, _)| *i < n_doubly_old).count();
        let old = old.into_iter().map(|(_, machine)| machine);
        self.end(Some(name), old, |ended| ReasonDetail::MaxLifetime {
            idle: ended - past_twice,
            past_twice,
            max_lifetime,
        });
    }

    pub(super) fn note_boot_timeout(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
    ) {
        let counts = group.counts;
        let boot_timeout = worker_type.boot_timeout;
        if counts.overdue > 0 {
            let instances = counts.overdue;
            self.note_about(name, &MachineNote::Overdue { instances, boot_timeout });
        }
        let running = self.decide.demand.ok().map(|demand| &demand.running);
        if counts.unknown > 0 && matches!(running, Some(Running::Unknown)) {
            let instances = counts.unknown;
            self.note_about(name, &MachineNote::NotKnownToBeFree { instances, boot_timeout });
        }
    }

    pub(super) fn tags(&mut self) {
        let decide = self.decide;
        let groups = decide.index.types.iter().chain(&decide.index.retired);
        for (name, group) in groups.filter(|(_, group)| group.counts.untagged > 0) {
            // One call per intent, because its tag differs.
            let mut by_intent: BTreeMap<_, Vec<InstanceId>> = BTreeMap::new();
            for machine in group.machines.iter().filter(|machine| self.needs_tags(machine)) {
                by_intent.entry(&machine.intent).or_default().push(machine.id.clone());
            }
            for ids in by_intent.into_values() {
                let tagged = ids.len();
                self.act(Some(name), ActionKind::Tag(ids), ReasonDetail::Untagged { tagged });
            }
        }
    }

    fn needs_tags(&self, machine: &Machine) -> bool {
        let decide = self.decide;
        let tagged_at = decide.tagged_lately.get(&machine.id);
        !machine.tagged
            && matches!(machine.state, InstanceState::Pending | InstanceState::Running)
            && !self.ended.contains(&machine.id)
            && tagged_at.is_none_or(|at| clock::after(*at, TAG_AGAIN_AFTER) <= decide.now)
    }
}
