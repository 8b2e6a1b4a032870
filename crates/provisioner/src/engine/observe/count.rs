//! Counts machines by what is known of their tasks, before a round is decided.

use jiff::Timestamp;

use crate::domain::demand::{Demand, Running};
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::group::{Group, Startup};
use crate::engine::state::memory::Memory;
use crate::engine::state::view::View;
use crate::engine::stop_consent::StopConsent;
use crate::settings::Settings;

/// What machines are counted by.
pub(in crate::engine) struct Counting<'a> {
    pub(in crate::engine) settings: &'a Settings,
    pub(in crate::engine) memory: &'a mut Memory,
    pub(in crate::engine) view: &'a mut View,
}

impl Counting<'_> {
    /// Classes and counts the machines of the last observation.
    pub(in crate::engine) fn run(
        &mut self,
        demand: Option<&Demand>,
        consent: &mut StopConsent,
        now: Timestamp,
    ) {
        let running = demand.map_or(&Running::Unknown, |demand| &demand.running);
        let claimed =
            self.view.index.recount(self.settings, running, true, self.memory, consent, now);
        self.learn_startups();
        self.judge_launches(demand, claimed, now);
        let newly_stuck = self.note_unclaimed(demand, consent, now);
        let withdrawn = consent.has_heard() && self.withdraw_promises(demand, consent);
        if newly_stuck || withdrawn {
            self.view.index.recount(self.settings, running, false, self.memory, consent, now);
        }
    }

    /// Tells the policies how long machines took to their first task: only where tasks were pending in the
    /// round before, or the worker may have been ready long before a task came.
    fn learn_startups(&mut self) {
        for (name, group) in &mut self.view.index.types {
            let started = group.take_started();
            for Startup { booted, .. } in &started {
                let usual = self.memory.usual_boot.entry(name.clone()).or_insert(*booted);
                *usual = (*usual * 3 + *booted) / 4;
            }
            if let Some(memory) = self.memory.policies.get_mut(name)
                && self.view.waited.contains(name)
            {
                for Startup { requested, booted } in started {
                    memory.record_startup(requested, booted);
                }
            }
        }
    }

    /// Notes since when tasks have been pending beside machines that look free: after a while, these are
    /// not believed to be free. Returns whether that began now for some worker type.
    fn note_unclaimed(
        &mut self,
        demand: Option<&Demand>,
        consent: &StopConsent,
        now: Timestamp,
    ) -> bool {
        let mut began = false;
        for (name, group) in &self.view.index.types {
            let pending = demand.and_then(|demand| demand.pending.get(name));
            let worker_type = self.settings.worker_types.get(name);
            let keeps_minimum =
                worker_type.is_some_and(|worker_type| worker_type.min_instances > 0);
            // Workers that ask are believed to be free, as are those that keep the minimum.
            let presumed_free = match demand.map(|demand| &demand.running) {
                Some(Running::Counted { .. }) => true,
                Some(Running::ByInstance { .. }) => keeps_minimum || consent.has_heard(),
                Some(Running::Unknown) | None => consent.has_heard(),
            };
            let unclaimed = presumed_free
                && pending.is_some_and(|pending| pending.count > 0)
                && group.counts.idle + group.counts.overdue > 0;
            let since = &mut self.memory.unclaimed_since;
            if !unclaimed {
                since.remove(name);
            } else if !since.contains_key(name) {
                since.insert(name.clone(), now);
                began = true;
            }
        }
        began
    }

    /// Takes back the promises to machines that pending tasks need. Returns whether there were any.
    fn withdraw_promises(&self, demand: Option<&Demand>, consent: &mut StopConsent) -> bool {
        let types = &self.view.index.types;
        consent.withdraw(|name| match (demand, types.get(name)) {
            (Some(demand), Some(group)) => is_short(demand, name, group, self.settings),
            (Some(_), None) => false,
            (None, _) => true,
        })
    }
}

/// Whether more tasks are pending than idle machines can take, or fewer machines are up than the minimum.
fn is_short(demand: &Demand, name: &WorkerTypeName, group: &Group, settings: &Settings) -> bool {
    let Some(worker_type) = settings.worker_types.get(name) else { return false };
    let counts = group.counts;
    let slots = counts.idle.saturating_mul(worker_type.tasks_per_instance.into());
    let up = counts.idle + counts.busy + counts.unknown;
    let pending = demand.pending.get(name).map_or(0, |pending| pending.count);
    pending > slots || up < worker_type.min_instances
}
