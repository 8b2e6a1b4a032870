//! Counts machines by what is known of their tasks, before a round is decided.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Running;
use crate::engine::Engine;
use crate::engine::state::group::Startup;
use crate::engine::state::memory::CoolDown;
use crate::engine::stop_consent::{Book, offers};

impl Engine {
    pub(in crate::engine) fn recount(&mut self, book: &mut Book, now: Timestamp) {
        let unknown = Running::Unknown;
        let running = self.demand.as_ref().map_or(&unknown, |demand| &demand.running);
        let settings = &self.settings;
        let has_heard = book.has_heard();
        let fresh = std::mem::take(&mut self.demand_is_fresh);
        let claimed = self.index.recount(settings, running, fresh, &mut self.memory, book, now);
        // Only where tasks waited just before: else the worker may have been ready for long when one came.
        for (name, group) in &mut self.index.types {
            let started = group.take_started();
            if let Some(memory) = self.memory.policies.get_mut(name)
                && self.waited.contains(name)
            {
                for Startup { requested, booted } in started {
                    memory.saw_startup(requested, booted);
                }
            }
        }

        // A launch that worked ends a row of failures. Where it is known who works, that is the first
        // task, for an instance that never claims one is a failure too; else, that it came up.
        let worked = match running {
            Running::ByInstance { .. } => {
                self.came_up.clear();
                claimed
            }
            Running::Unknown | Running::Counted { .. } if self.demand.is_ok() => {
                std::mem::take(&mut self.came_up)
            }
            Running::Unknown | Running::Counted { .. } => BTreeSet::new(),
        };
        for name in worked {
            self.memory.failures.remove(&name);
        }

        // Machines that look free beside waiting tasks for long are not free.
        let mut changed = false;
        for (name, group) in &self.index.types {
            let pending = self.demand.as_ref().ok().and_then(|demand| demand.pending.get(name));
            let keeps_minimum =
                settings.worker_types.get(name).is_some_and(|it| it.min_instances > 0);
            // Workers that ask are believed to be free, as those that keep the minimum are.
            let presumed = match running {
                Running::Counted { .. } => true,
                Running::ByInstance { .. } => keeps_minimum || book.has_heard(),
                Running::Unknown => book.has_heard(),
            };
            let waiting = presumed
                && pending.is_some_and(|pending| pending.count > 0)
                && group.counts.idle + group.counts.overdue > 0;
            if waiting {
                if !self.memory.unclaimed_since.contains_key(name) {
                    self.memory.unclaimed_since.insert(name.clone(), now);
                    changed = true;
                }
            } else {
                self.memory.unclaimed_since.remove(name);
            }
        }
        // Machines that were told to stop and have not said that they do are there for tasks that wait.
        if has_heard {
            let demand = self.demand.as_ref().ok();
            let types = &self.index.types;
            changed |= book.withdraw(|name| match (demand, types.get(name)) {
                (Some(demand), Some(group)) => offers::is_short(demand, name, group, settings),
                (Some(_), None) => false,
                (None, _) => true,
            });
        }
        if changed {
            self.index.recount(settings, running, false, &mut self.memory, book, now);
        }
        let long_ago =
            |penalty: &CoolDown| clock::age(penalty.until(), now) > Duration::from_mins(10);
        self.memory.cool_downs.retain(|_, penalty| !long_ago(penalty));
        self.memory.breakers.retain(|_, penalty| !long_ago(penalty));
    }
}
