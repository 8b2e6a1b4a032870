//! Compares policies on one load.

mod plot;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::{Serialize, Serializer};

use crate::load::Load;
use crate::policy::SimulatedPolicy;
use crate::simulation::{self, Bounds, Moment, Outcome, Setup};
pub use plot::{PlottedRun, plot};

/// One side of a comparison: a policy in a setup.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// The name in the report.
    pub name: String,
    /// The policy.
    pub policy: SimulatedPolicy,
    /// Its setup.
    pub setup: Setup,
    /// The price of an instance-hour.
    pub usd_per_hour: f64,
}

impl Contender {
    /// Converts the outcome's instance-hours to hours at the spot price; an on-demand hour counts several
    /// times.
    pub fn spot_hours(&self, outcome: &Outcome) -> f64 {
        let on_demand = self.setup.market.as_ref().and_then(|market| market.on_demand());
        let surcharge = on_demand.map_or(0.0, |on_demand| on_demand.price - 1.0);
        outcome.instance_hours + surcharge * outcome.on_demand_hours
    }
}

/// The result of one contender: the means over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyResult {
    /// The contender's name.
    pub policy: String,
    /// The figures of the runs.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The cost of its instance-hours.
    pub cost_usd: f64,
}

/// The results of all contenders on one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The name of the load.
    pub load: String,
    /// The name of the world model.
    pub world: String,
    /// The number of seeds.
    pub seeds: u64,
    /// Lower bounds on the cost of any policy.
    #[serde(serialize_with = "bounds")]
    pub bounds: Bounds,
    /// In the order of the contenders.
    pub policies: Vec<PolicyResult>,
}

fn bounds<S: Serializer>(bounds: &Bounds, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct BoundsJson {
        busy_hours: f64,
        clairvoyant_hours: f64,
    }
    let Bounds { busy_hours, clairvoyant_hours, peak: _ } = *bounds;
    BoundsJson { busy_hours, clairvoyant_hours }.serialize(serializer)
}

/// Runs every contender with every seed, on all cores. Calls `progress` with the number of finished runs
/// and of all runs. The number of cores affects only the time that it takes.
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
        simulation::run(load, setup, policy, seed, |_| {})
    });
    let mut done = done.into_iter();
    contenders.iter().map(|_| done.by_ref().take(seeds.len()).collect()).collect()
}

/// Runs `n` jobs on all cores and returns their results in order.
fn in_parallel<T: Send>(
    n: usize,
    progress: &(impl Fn(usize, usize) + Sync),
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(n);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
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

/// Compares the contenders' means over `seeds` on `load`. The bounds are those of the first contender's
/// world.
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
        PolicyResult {
            policy: contender.name.clone(),
            cost_usd: contender.usd_per_hour * contender.spot_hours(&outcome),
            outcome,
        }
    });
    let restart = contenders.first().map(|first| first.setup.world.restart()).unwrap_or_default();
    Comparison {
        load: load.name().to_owned(),
        world: world.to_owned(),
        seeds: seeds.len() as u64,
        bounds: simulation::bounds(load, restart),
        policies: policies.collect(),
    }
}

/// Runs a contender once and returns the state in every round.
pub fn moments(load: &Load, contender: &Contender, seed: u64) -> Vec<Moment> {
    let mut moments = Vec::new();
    simulation::run(load, &contender.setup, &contender.policy, seed, |moment| moments.push(moment));
    moments
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Synthetic;
    use crate::simulation::{WorldModel, WorldName};

    fn contenders() -> Vec<Contender> {
        let contender = |name: &str| Contender {
            name: name.to_owned(),
            policy: name.parse().unwrap(),
            setup: Setup::of(WorldModel::named(WorldName::P)),
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
        let alone =
            simulation::run(&load, &contenders()[1].setup, &contenders()[1].policy, 2, |_| {});
        let one = super::compare(&load, "P", &contenders()[1..], &[2], &|_, _| {});
        assert_eq!(one.policies[0].outcome, alone);
        assert!((one.policies[0].cost_usd - alone.instance_hours / 2.0).abs() < 1e-9);
    }

    #[test]
    fn progress_is_reported_to_the_end() {
        let load = Load::synthetic(Synthetic::Steady, 1).cut(Duration::from_hours(1));
        let reported = Mutex::new(Vec::new());
        compare(&load, "P", &contenders(), &[1, 2], &|done, of| {
            reported.lock().unwrap().push((done, of));
        });
        let mut reported = reported.into_inner().unwrap();
        reported.sort_unstable();
        assert_eq!(reported, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }
}
