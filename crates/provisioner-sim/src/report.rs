//! Policies side by side on one load.

mod plot;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use provisioner::policy::Policy;
use serde::{Serialize, Serializer};

use crate::fleet::{self, Bounds, Moment, Outcome, Setup};
use crate::load::Load;
pub use plot::{Run, plot};

/// What is compared: one policy in one setup.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// What it is called.
    pub name: String,
    /// The policy.
    pub policy: Policy,
    /// How it is run.
    pub setup: Setup,
    /// What an instance-hour costs, in USD.
    pub usd_per_hour: f64,
}

impl Contender {
    /// What `outcome` came to in hours at the plain price: those on demand cost several.
    pub fn spot_hours(&self, outcome: &Outcome) -> f64 {
        let on_demand = self.setup.market.as_ref().and_then(|market| market.on_demand());
        let dearer = on_demand.map_or(0.0, |it| it.price - 1.0);
        outcome.instance_hours + dearer * outcome.on_demand_hours
    }
}

/// What became of one contender: the means over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// What it is called.
    pub policy: String,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What its instance-hours cost.
    pub cost_usd: f64,
}

/// Everything compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The load's name.
    pub load: String,
    /// The world's name.
    pub world: String,
    /// How many seeds.
    pub seeds: u64,
    /// What no policy can be cheaper than.
    #[serde(serialize_with = "bounds")]
    pub bounds: Bounds,
    /// In the order named.
    pub policies: Vec<Standing>,
}

fn bounds<S: Serializer>(bounds: &Bounds, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        busy_hours: f64,
        clairvoyant_hours: f64,
    }
    let Bounds { busy_hours, clairvoyant_hours, peak: _ } = *bounds;
    Shown { busy_hours, clairvoyant_hours }.serialize(serializer)
}

/// Runs every contender with every seed, on all cores. `progress` is told how many runs are done of how
/// many. The number of cores changes nothing but the time it takes.
pub fn outcomes(
    load: &Load,
    contenders: &[Contender],
    seeds: &[u64],
    progress: &(impl Fn(usize, usize) + Sync),
) -> Vec<Vec<Outcome>> {
    let jobs: Vec<(usize, u64)> = (0..contenders.len())
        .flat_map(|contender| seeds.iter().map(move |seed| (contender, *seed)))
        .collect();
    let done = in_parallel(jobs.len(), progress, |job| {
        let (contender, seed) = jobs[job];
        let Contender { policy, setup, .. } = &contenders[contender];
        fleet::run(load, setup, policy, seed, |_| {})
    });
    let mut done = done.into_iter();
    contenders.iter().map(|_| done.by_ref().take(seeds.len()).collect()).collect()
}

/// Does `n` pieces of work on all cores, and returns their results in order.
fn in_parallel<T: Send>(
    n: usize,
    progress: &(impl Fn(usize, usize) + Sync),
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(n);
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::with_capacity(n));
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= n {
                        return;
                    }
                    let result = work(job);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((job, result));
                    progress(finished.fetch_add(1, Ordering::Relaxed) + 1, n);
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(job, _)| *job);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Compares `contenders` on `load`: the means over `seeds`. The bound is that of the first one's world.
pub fn compare(
    load: &Load,
    world: &str,
    contenders: &[Contender],
    seeds: &[u64],
    progress: &(impl Fn(usize, usize) + Sync),
) -> Comparison {
    let outcomes = outcomes(load, contenders, seeds, progress);
    let policies = contenders.iter().zip(outcomes).map(|(contender, outcomes)| {
        let outcome = Outcome::mean(&outcomes);
        Standing {
            policy: contender.name.clone(),
            cost_usd: contender.usd_per_hour * contender.spot_hours(&outcome),
            outcome,
        }
    });
    let restart = contenders.first().map(|it| it.setup.world.restart()).unwrap_or_default();
    Comparison {
        load: load.name().to_owned(),
        world: world.to_owned(),
        seeds: seeds.len() as u64,
        bounds: fleet::bounds(load, restart),
        policies: policies.collect(),
    }
}

/// Runs a contender once, and keeps every moment of it.
pub fn moments(load: &Load, contender: &Contender, seed: u64) -> Vec<Moment> {
    let mut moments = Vec::new();
    fleet::run(load, &contender.setup, &contender.policy, seed, |moment| moments.push(moment));
    moments
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{World, WorldName};
    use crate::load::Synthetic;

    fn contenders() -> Vec<Contender> {
        let contender = |name: &str| Contender {
            name: name.to_owned(),
            policy: name.parse().unwrap(),
            setup: Setup::of(World::named(WorldName::P)),
            usd_per_hour: 0.5,
        };
        ["worker-manager", "basic"].map(contender).to_vec()
    }

    #[test]
    fn results_are_in_order_and_repeat() {
        let load = Load::synthetic(Synthetic::FlashCrowd, 1).cut(Duration::from_hours(12));
        let compare = || compare(&load, "P", &contenders(), &[1, 2, 3], &|_, _| {});
        let first = compare();
        assert_eq!(first, compare());
        let names: Vec<_> = first.policies.iter().map(|result| &*result.policy).collect();
        assert_eq!(names, ["worker-manager", "basic"]);
        let alone = fleet::run(&load, &contenders()[1].setup, &contenders()[1].policy, 2, |_| {});
        let one = super::compare(&load, "P", &contenders()[1..], &[2], &|_, _| {});
        assert_eq!(one.policies[0].outcome, alone);
        assert!((one.policies[0].cost_usd - alone.instance_hours / 2.0).abs() < 1e-9);
    }

    #[test]
    fn progress_is_told_to_the_end() {
        let load = Load::synthetic(Synthetic::Steady, 1).cut(Duration::from_hours(1));
        let told = Mutex::new(Vec::new());
        compare(&load, "P", &contenders(), &[1, 2], &|done, of| {
            told.lock().unwrap().push((done, of));
        });
        let mut told = told.into_inner().unwrap();
        told.sort_unstable();
        assert_eq!(told, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }
}
