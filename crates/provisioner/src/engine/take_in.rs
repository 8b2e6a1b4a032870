//! What the engine is told: looks at EC2 and the demand, whole or as changes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::observe::{Settle, Settled};
use crate::domain::clock;
use crate::domain::demand::Demand;
use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::observed::{KeyPair, Observation};

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
        self.demand_is_fresh = true;
    }
}
