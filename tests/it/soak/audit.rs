//! Checks the invariants against the state of the stand-in and its log of calls.

use std::collections::{BTreeMap, BTreeSet};

use super::load::{KINDS, MOST, standing};
use crate::harness::{Account, World};

/// A launching call, by the intent in its tags: one purchase, whatever token it went out with.
#[derive(Debug)]
struct Asked {
    params: BTreeMap<String, String>,
    count: usize,
    calls: u64,
    granted: BTreeSet<String>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Calls read so far.
    pub(super) calls: usize,
    pub(super) by_action: BTreeMap<String, u64>,
    pub(super) by_fault: BTreeMap<String, u64>,
    /// Which action met which fault.
    pub(super) pairs: BTreeSet<(String, String)>,
    asked: BTreeMap<String, Asked>,
    pub(super) looks: u64,
}

impl Audit {
    /// Takes in the calls since the last time, and holds the world against them.
    #[track_caller]
    pub(super) fn look(&mut self, account: &Account, world: &World) {
        self.looks += 1;
        for call in account.calls_since(self.calls) {
            self.calls += 1;
            *self.by_action.entry(call.action.clone()).or_default() += 1;
            if let Some(fault) = call.fault {
                *self.by_fault.entry(fault.clone()).or_default() += 1;
                self.pairs.insert((call.action.clone(), fault));
            }
            if call.action == "RequestSpotInstances" {
                self.launch(&call.params);
            }
        }
        for request in world.spot_requests.iter().filter(|request| request.worker_type().is_some())
        {
            let intent = &request.tags["provisioner:intent"];
            // The world was read a moment before the calls.
            let asked = self.asked.get_mut(intent).expect("every request was asked for");
            asked.granted.insert(request.id.clone());
            let n = asked.granted.len();
            assert!(n <= asked.count, "{n} for {} under the intent {intent}", asked.count);
        }
        let now: BTreeMap<_, _> =
            standing(world).into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        within_the_maxima(&now, now.values().sum());
        let peaks = account.peaks();
        within_the_maxima(&peaks, peaks.get("*").copied().unwrap_or(0));
    }

    fn launch(&mut self, params: &BTreeMap<String, String>) {
        let intent = params
            .iter()
            .find(|(_, value)| *value == "provisioner:intent")
            .and_then(|(key, _)| params.get(&format!("{}Value", key.strip_suffix("Key")?)))
            .expect("launches have an intent")
            .clone();
        let count = params.get("InstanceCount").map_or(1, |count| count.parse().unwrap());
        let asked = self.asked.entry(intent).or_insert_with(|| Asked {
            params: params.clone(),
            count,
            calls: 0,
            granted: BTreeSet::new(),
        });
        asked.calls += 1;
        assert_eq!(&asked.params, params, "a repeated launch is the same to the byte");
    }

    /// Launching calls so far.
    pub(super) fn launch_calls(&self) -> u64 {
        self.by_action.get("RequestSpotInstances").copied().unwrap_or(0)
    }

    /// Launches, those that were asked for more than once, and requests granted.
    pub(super) fn launches(&self) -> (usize, usize, usize) {
        let again = self.asked.values().filter(|asked| asked.calls > 1).count();
        let granted = self.asked.values().map(|asked| asked.granted.len()).sum();
        (self.asked.len(), again, granted)
    }
}

#[track_caller]
fn within_the_maxima(counts: &BTreeMap<String, usize>, all: usize) {
    for kind in &KINDS {
        let count = counts.get(kind.name).copied().unwrap_or(0);
        assert!(
            count <= kind.most,
            "{count} of `{}`, at most {}: {counts:?}",
            kind.name,
            kind.most
        );
    }
    assert!(all <= MOST, "{all} machines and open requests, at most {MOST}: {counts:?}");
}
