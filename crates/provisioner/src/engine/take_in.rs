//! What the engine is told: looks at EC2 and the demand, whole or as changes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::settle::{Settle, Settled};
use super::{Engine, Memory, Told};
use crate::domain::clock;
use crate::domain::demand::{Demand, Running};
use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::ledger::Granted;
use crate::domain::observed::{KeyPair, Observation};
use crate::look::{Look, Watch};

impl Engine {
    /// Requests whose fate the next observation must tell, by a look-up by id where the pages do not.
    pub fn tracked(&self) -> BTreeSet<SpotRequestId> {
        let memory = &self.memory;
        let seen = memory.open.keys().chain(memory.fulfilled.keys());
        seen.chain(self.ledger.granted.keys()).cloned().collect()
    }

    /// Whether the next observation should look at the key pair.
    pub fn wants_key_pair(&self) -> bool {
        self.index.key_pair != KeyPair::Ours
            || !self.index.strays.machines.is_empty()
            || !self.index.strays.open.is_empty()
    }

    /// The instances known as ours: of running tasks, only theirs need be kept.
    pub fn owned_instances(&self) -> BTreeSet<InstanceId> {
        self.memory.machines.keys().cloned().collect()
    }

    /// Takes in one complete look at EC2, which began at `now`: what was visible by then is in it. Work
    /// proportional to what it holds.
    pub fn observe(&mut self, observation: &Observation, now: Timestamp) {
        // All of it is made anew: the old one need not be held beside the new one.
        let key_pair = std::mem::take(&mut self.index).key_pair;
        let settled = self.settle(now).run(observation, key_pair);
        self.settled(settled, now);
        self.may_follow = true;
    }

    /// Takes in what a complete look shows otherwise than the one taken in before. Work proportional to
    /// that, with the same result as [`observe`](Self::observe).
    pub fn follow(&mut self, look: &mut Look, now: Timestamp) {
        let stepped_back = self.memory.spent.counted_to.is_some_and(|at| now < at);
        if !self.may_follow || stepped_back {
            return self.observe(&look.whole(), now);
        }
        let changes = look.changes(&self.watch(now));
        let index = std::mem::take(&mut self.index);
        let settled = self.settle(now).run_changes(&changes, index);
        self.settled(settled, now);
    }

    /// Takes in all of the next look, by whatever way it comes.
    pub fn look_anew(&mut self) {
        self.may_follow = false;
    }

    /// What must be shown of the next look, though nothing about it changes.
    fn watch(&self, now: Timestamp) -> Watch {
        let window = self.settings.provisioner.visibility_window;
        let Memory { open, fulfilled, .. } = &self.memory;
        let stays_as_it_is = |id: &SpotRequestId, granted: &Granted| {
            self.index.arrived.contains_key(id) && granted.may_hide(window, now)
        };
        let granted =
            self.ledger.granted.iter().filter(|(id, granted)| !stays_as_it_is(id, granted));
        let granted = granted.map(|(id, _)| id);
        Watch {
            spot_requests: open.keys().chain(fulfilled.keys()).chain(granted).cloned().collect(),
            instances: self.memory.ended.keys().chain(&self.index.recheck).cloned().collect(),
            intents: self.ledger.intents.keys().cloned().collect(),
        }
    }

    fn settle(&mut self, now: Timestamp) -> Settle<'_> {
        Settle {
            settings: &self.settings,
            key_name: &self.key_name,
            ledger: &mut self.ledger,
            memory: &mut self.memory,
            now,
        }
    }

    fn settled(&mut self, settled: Settled, now: Timestamp) {
        self.index = settled.index;
        self.seen_by_intent = settled.seen_by_intent;
        self.ledger_dirty |= settled.ledger_changed;
        self.settle_notes = settled.notes;
        self.came_up.extend(settled.came_up);
        self.tagged_lately.retain(|_, at| clock::age(*at, now) < Duration::from_mins(1));
    }

    /// Takes in what the queue wants, or why that is not known.
    pub fn demand(&mut self, demand: Result<Demand, String>) {
        self.waited = self
            .demand
            .as_ref()
            .map_or_else(|_| BTreeSet::new(), |before| before.pending.keys().cloned().collect());
        self.demand = demand;
        self.demand_told = Told::All;
    }

    /// Takes in what the queue wants, where of the running tasks' instances it has only those of which the
    /// number of tasks changed since the demand before (none: 0). Returns whether that could be done: not
    /// unless the demand before was known as well as this one, by instance.
    #[must_use]
    pub fn follow_demand(&mut self, mut demand: Demand) -> bool {
        let (Ok(before), Running::ByInstance { instances: changed, .. }) =
            (&mut self.demand, &mut demand.running)
        else {
            return false;
        };
        let Running::ByInstance { instances, .. } = &mut before.running else { return false };
        let mut instances = std::mem::take(instances);
        for (id, n) in std::mem::take(changed) {
            self.index.touch(&id);
            if n == 0 {
                instances.remove(&id);
            } else {
                instances.insert(id, n);
            }
        }
        *changed = instances;
        self.waited = before.pending.keys().cloned().collect();
        self.demand = Ok(demand);
        if self.demand_told == Told::Nothing {
            self.demand_told = Told::Changes;
        }
        true
    }
}
