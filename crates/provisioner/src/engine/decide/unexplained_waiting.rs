//! Counts the tasks that wait although nothing that was configured keeps them waiting.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::WorkerTypeName;
use crate::engine::decide::plan::{ActionKind, Plan};
use crate::settings::Settings;

impl Plan {
    /// Counts, per configured worker type, the pending tasks that wait although capacity for them was
    /// allowed. The result is empty if the demand was unknown.
    ///
    /// A fence is what the operator or a lost ledger set: `max-instances`, `[limits]` (also one that
    /// cannot be checked because a price is missing), and the hold after a lost ledger. If a fence held
    /// back instances of a worker type, it explains the tasks that were meant for these; the tasks are
    /// still counted that instances booting, idle, requested, or about to be requested have room for.
    /// What EC2 refuses (capacity, quotas, throttling) and what is broken (images, permissions)
    /// explains nothing, because an operator wants to hear of it.
    pub fn waiting_while_allowed(&self, settings: &Settings) -> BTreeMap<WorkerTypeName, u64> {
        if !self.demand_known() {
            return BTreeMap::new();
        }
        let fenced: BTreeSet<&WorkerTypeName> = self
            .notes
            .iter()
            .filter(|note| note.kind.is_fence())
            .filter_map(|note| note.worker_type.as_ref())
            .collect();
        let mut asked = BTreeMap::<&WorkerTypeName, u64>::new();
        for action in &self.actions {
            if let (ActionKind::Request(count), Some(name)) = (&action.kind, &action.worker_type) {
                *asked.entry(name).or_default() += count;
            }
        }
        let mut waiting = BTreeMap::new();
        for status in &self.worker_types {
            let name = WorkerTypeName::from(status.name.as_str());
            let Some(worker_type) = settings.worker_types.get(&name) else { continue };
            let tasks = if fenced.contains(&name) {
                let asked = asked.get(&name).copied().unwrap_or(0);
                let there = status.open_requests + status.booting + status.idle + asked;
                status.pending.min(there.saturating_mul(worker_type.tasks_per_instance.into()))
            } else {
                status.pending
            };
            waiting.insert(name, tasks);
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::engine::decide::plan::{
        Action, Note, NoteKind, Reason, ReasonKind, WorkerTypeStatus,
    };

    fn settings(tasks_per_instance: u32) -> Settings {
        let text = format!(
            "[worker-types.linux]\nimage-id = \"ami-00000000000000b86\"\n\
             instance-types = [\"m5.large\"]\nmax-instances = 20\n\
             tasks-per-instance = {tasks_per_instance}\n"
        );
        config::parse(&text, Path::new("/")).unwrap().settings
    }

    /// 50 tasks wait; 2 instances boot, 1 is idle, 17 are busy, and 1 request is open.
    fn plan(notes: &[NoteKind]) -> Plan {
        let name = WorkerTypeName::from("linux");
        let status = WorkerTypeStatus {
            name: name.to_string(),
            pending: 50,
            open_requests: 1,
            booting: 2,
            idle: 1,
            busy: 17,
            ..WorkerTypeStatus::default()
        };
        let notes = notes.iter().map(|kind| Note::new(Some(&name), *kind, String::new()));
        Plan { worker_types: vec![status], notes: notes.collect(), ..Plan::default() }
    }

    fn waiting(plan: &Plan, settings: &Settings) -> Option<u64> {
        plan.waiting_while_allowed(settings).get("linux").copied()
    }

    #[test]
    fn without_a_fence_all_that_wait_are_counted() {
        for notes in
            [&[][..], &[NoteKind::CoolingDown], &[NoteKind::QuotaExceeded, NoteKind::Paused]]
        {
            assert_eq!(waiting(&plan(notes), &settings(1)), Some(50), "{notes:?}");
        }
    }

    #[test]
    fn a_fence_explains_what_there_is_no_room_for() {
        for kind in
            [NoteKind::AtMaximum, NoteKind::AtLimit, NoteKind::PriceUnknown, NoteKind::LedgerLost]
        {
            assert_eq!(waiting(&plan(&[kind]), &settings(1)), Some(4), "{kind}");
        }
        assert_eq!(waiting(&plan(&[NoteKind::AtMaximum]), &settings(3)), Some(12));
        assert_eq!(
            waiting(&plan(&[NoteKind::AtMaximum]), &settings(100)),
            Some(50),
            "not more than wait"
        );
    }

    #[test]
    fn what_a_fence_leaves_to_be_asked_for_counts() {
        let mut plan = plan(&[NoteKind::AtLimit]);
        for (name, count) in [("linux", 6), ("windows", 9)] {
            plan.actions.push(Action {
                kind: ActionKind::Request(count),
                worker_type: Some(name.into()),
                reason: Reason { kind: ReasonKind::PendingTasks, text: String::new() },
            });
        }
        assert_eq!(waiting(&plan, &settings(1)), Some(10));
    }

    #[test]
    fn a_fence_of_another_type_explains_nothing() {
        let mut plan = plan(&[]);
        let other = WorkerTypeName::from("windows");
        plan.notes.push(Note::new(Some(&other), NoteKind::AtMaximum, String::new()));
        assert_eq!(waiting(&plan, &settings(1)), Some(50));
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let mut unknown = plan(&[]);
        unknown.notes.push(Note::new(None, NoteKind::DemandUnknown, String::new()));
        assert_eq!(waiting(&unknown, &settings(1)), None);
        let none = config::parse("", Path::new("/")).unwrap().settings;
        assert_eq!(waiting(&plan(&[]), &none), None, "no longer configured");
    }
}
