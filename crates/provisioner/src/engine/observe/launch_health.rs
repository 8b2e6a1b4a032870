//! Whether launches work: which machines failed, and which one ends a row of failures.
//!
//! A machine that ended by itself, without a task seen on it, is a failed launch only if nothing speaks for a
//! task that ran on it unseen. The queue's answer that is read after the machine was seen gone decides.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::count::Counting;
use crate::domain::clock;
use crate::domain::demand::{Demand, Running};
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::failures::EndedUnclaimed;

/// A machine that lives longer than its worker type's usual boot and this much was at work, or had nothing to do.
const BEYOND_BOOT: Duration = Duration::from_mins(1);
/// The usual boot of a worker type of which none was measured yet.
const UNMEASURED_BOOT: Duration = Duration::from_mins(5);

impl Counting<'_> {
    /// Judges the machines that ended unclaimed, and ends the rows of failures that are over. `claimed`: worker
    /// types of which a machine was first seen with a task.
    pub(super) fn judge_launches(
        &mut self,
        demand: Option<&Demand>,
        claimed: BTreeSet<WorkerTypeName>,
        now: Timestamp,
    ) {
        let Some(demand) = demand else { return };
        for name in &self.view.left_pending {
            self.memory.last_taken.insert(name.clone(), now);
        }
        for ended in self.take_ended(now) {
            self.judge(demand, ended, now);
        }
        let worked = match &demand.running {
            Running::ByInstance { .. } => claimed,
            Running::Unknown | Running::Counted { .. } => self.at_work(now),
        };
        for name in worked {
            self.memory.failures.remove(&name);
        }
    }

    /// Takes the machines that were gone before this demand was read.
    fn take_ended(&mut self, now: Timestamp) -> Vec<EndedUnclaimed> {
        let ended = &mut self.memory.ended_unclaimed;
        ended.extract_if(.., |_, ended| ended.at < now).map(|(_, ended)| ended).collect()
    }

    fn judge(&mut self, demand: &Demand, ended: EndedUnclaimed, now: Timestamp) {
        let EndedUnclaimed { worker_type, launched, at, text } = ended;
        let taken = self.memory.last_taken.get(&worker_type);
        if taken.is_some_and(|taken| *taken >= launched) {
            // A probe that took its task unseen ends the row of failures.
            let failures = &mut self.memory.failures;
            if failures.get(&worker_type).is_some_and(|failures| failures.last <= launched) {
                failures.remove(&worker_type);
            }
            return;
        }
        let boot = self.memory.usual_boot.get(&worker_type).copied();
        let lived_long = boot.is_some_and(|boot| clock::age(launched, at) > boot + BEYOND_BOOT);
        let waits = demand.pending.get(&worker_type).is_some_and(|pending| pending.count > 0);
        if waits && !lived_long {
            self.memory.launch_failed(&worker_type, launched, text, now);
        }
    }

    /// Where claims are not known: the worker types whose launches work as far as that can be seen, since a task
    /// left PENDING or a machine has stayed up.
    fn at_work(&self, now: Timestamp) -> BTreeSet<WorkerTypeName> {
        let stays_up = |name: &WorkerTypeName| {
            let boot = self.memory.usual_boot.get(name).copied().unwrap_or(UNMEASURED_BOOT);
            let since = self.memory.failures.get(name).map(|failures| failures.last);
            let group = self.view.index.types.get(name);
            group.is_some_and(|group| {
                group.machines.iter().any(|machine| {
                    since.is_some_and(|since| machine.launched >= since)
                        && clock::age(machine.launched, now) > boot + BEYOND_BOOT
                })
            })
        };
        let failing = self.memory.failures.keys();
        let at_work =
            failing.filter(|name| self.view.left_pending.contains(*name) || stays_up(name));
        at_work.cloned().collect()
    }
}
