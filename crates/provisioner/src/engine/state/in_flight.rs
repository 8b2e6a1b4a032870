//! What was asked of EC2 and shows neither as an open request nor as an instance.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::ledger::Ledger;
use crate::domain::money::{Usd, UsdPerHour};
use crate::engine::state::memory::Memory;
use crate::engine::state::view::View;

/// Launches in flight of one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct InFlight {
    pub(in crate::engine) count: u64,
    /// The highest possible price of those that have one.
    pub(in crate::engine) usd: UsdPerHour,
    /// How many have none.
    pub(in crate::engine) unpriced: u64,
    /// What they may have cost since they were asked for.
    pub(in crate::engine) so_far: Usd,
}

impl InFlight {
    fn add(&mut self, n: u64, price: Option<UsdPerHour>, age: Duration) {
        self.count += n;
        match price.map(|price| price.times(n)) {
            Some(price) => {
                self.usd = self.usd.plus(price);
                self.so_far = self.so_far.plus(price.over(age));
            }
            None => self.unpriced += n,
        }
    }
}

/// Counts everything in flight, by worker type (`None`: of no known one). A fulfilled request whose
/// instance has not become visible within `window` is no longer expected to bring one.
pub(in crate::engine) fn count(
    ledger: &Ledger,
    view: &View,
    memory: &Memory,
    window: Duration,
    now: Timestamp,
) -> BTreeMap<Option<WorkerTypeName>, InFlight> {
    let mut all: BTreeMap<Option<WorkerTypeName>, InFlight> = BTreeMap::new();
    let mut add = |name: Option<&WorkerTypeName>, n: u64, price, since| {
        all.entry(name.cloned()).or_default().add(n, price, clock::age(since, now));
    };
    for (token, intent) in &ledger.intents {
        let seen = view.seen_by_intent.get(token).copied().unwrap_or(0);
        let unseen = u64::from(intent.call.count.saturating_sub(seen));
        let call = &intent.call;
        add(Some(&call.worker_type), unseen, call.max_price, call.decided);
    }
    for (id, granted) in &ledger.granted {
        // A visible request or instance is counted as such; fulfilled requests are counted below.
        let shown = memory.open.contains_key(id) || view.index.arrived.contains(id);
        if !shown && !memory.fulfilled.contains_key(id) {
            add(Some(&granted.worker_type), 1, granted.max_price, granted.at);
        }
    }
    for fulfilled in memory.fulfilled.values() {
        if clock::after(fulfilled.since, window) <= now {
            continue;
        }
        add(fulfilled.worker_type.as_ref(), 1, fulfilled.max_price, fulfilled.since);
    }
    all
}
