#![expect(clippy::float_cmp, reason = "small worlds come to whole numbers")]

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use provisioner_sim::rng::Lognormal;

use super::*;
use crate::load::{Load, Synthetic, Task};
use crate::policy::SimulatedPolicy;
use crate::spot::{Market, OnDemand, SpotPool};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A pool with samples 10 s apart.
fn pool(name: &str, samples: &[u32]) -> SpotPool {
    SpotPool::new(name, seconds(10), samples).unwrap()
}

/// A pool with capacity for `after` samples and then none, recorded for an hour.
fn ending(name: &str, after: usize) -> SpotPool {
    let samples: Vec<u32> = (0..360).map(|sample| u32::from(sample < after)).collect();
    pool(name, &samples)
}

/// Startups of 30 s, of which the last 20 s are billed, and rounds every 10 s without staleness.
fn setup(pools: Vec<SpotPool>, on_demand: Option<OnDemand>) -> Setup {
    let world = WorldModel {
        startup: Lognormal::new(seconds(30), Duration::ZERO),
        ..WorldModel::named(WorldName::Z)
    };
    let market = Some(Arc::new(Market::new(pools, on_demand)));
    Setup { staleness: Duration::ZERO, idle_timeout: seconds(60), market, ..Setup::of(world) }
}

fn outcome(setup: &Setup, policy: &str, tasks: &[(u64, u64)]) -> Outcome {
    let tasks = tasks
        .iter()
        .map(|(created, duration)| Task { created: created * 1000, duration: duration * 1000 });
    run(&Load::new("small", tasks.collect()), setup, &policy.parse().unwrap(), 1, |_| {})
}

#[test]
fn a_pool_that_always_has_capacity_changes_nothing() {
    let load = Load::synthetic(Synthetic::BurstyCi, 1).cut(Duration::from_hours(24));
    let market = Market::new(vec![pool("a", &[1])], Some(OnDemand::USUAL));
    for policy in ["adaptive", "worker-manager"] {
        let policy = policy.parse().unwrap();
        let without = Setup::of(WorldModel::named(WorldName::P));
        let with = Setup { market: Some(Arc::new(market.clone())), ..without.clone() };
        let of = |setup| run(&load, setup, &policy, 1, |_| {});
        assert_eq!(of(&without), of(&with));
    }
}

#[test]
fn an_interrupted_task_runs_again_elsewhere() {
    // The task starts at 30 and is lost at 60; an instance requested elsewhere at 60 starts it at 90.
    let two = setup(vec![ending("a", 6), pool("b", &[1])], None);
    let outcome = outcome(&two, "basic", &[(0, 100)]);
    assert_eq!((outcome.interrupted_tasks, outcome.unserved_tasks), (1.0, 0.0));
    assert_eq!((outcome.wait_seconds.max, outcome.delay_seconds.max), (30.0, 90.0));
    assert_eq!((outcome.lost_hours * 3600.0).round(), 30.0);
    assert_eq!(outcome.on_demand_hours, 0.0);
}

#[test]
fn a_request_without_capacity_is_made_elsewhere_after_half_a_minute() {
    // The first request is cancelled at 30, when it has been open for 30 s.
    let two = setup(vec![pool("a", &[0]), pool("b", &[1])], None);
    let outcome = outcome(&two, "basic", &[(0, 100)]);
    assert_eq!((outcome.wait_seconds.max, outcome.cancelled_requests), (60.0, 1.0));
    assert_eq!(outcome.launches, 1.0);
}

#[test]
fn a_request_is_filled_when_capacity_comes_back() {
    let samples: Vec<u32> = (0..360).map(|sample| u32::from(sample >= 2)).collect();
    let outcome = outcome(&setup(vec![pool("a", &samples)], None), "basic", &[(0, 100)]);
    assert_eq!((outcome.wait_seconds.max, outcome.cancelled_requests), (20.0 + 30.0, 0.0));
}

#[test]
fn tasks_that_wait_too_long_are_served_on_demand() {
    // Requested on demand at 60, billed from 70, ready at 90, done at 190 and stopped at once.
    let on_demand = Some(OnDemand { after: seconds(60), price: 3.0 });
    let none = setup(vec![pool("a", &[0])], on_demand);
    let served = outcome(&none, "adaptive", &[(0, 100)]);
    assert_eq!((served.wait_seconds.max, served.unserved_tasks), (90.0, 0.0));
    assert_eq!((served.on_demand_hours * 3600.0).round(), 120.0);
    assert_eq!((served.instance_hours * 3600.0).round(), 120.0);
    let without = setup(vec![pool("a", &[0])], None);
    assert_eq!(outcome(&without, "adaptive", &[(0, 100)]).unserved_tasks, 1.0);
}

#[test]
fn the_maximum_holds_on_demand_too() {
    let on_demand = Some(OnDemand { after: seconds(60), price: 3.0 });
    let two = Setup { max_instances: 2, ..setup(vec![pool("a", &[0])], on_demand) };
    let tasks: Vec<_> = (0..20).map(|n| (n, 300)).collect();
    let outcome = outcome(&two, "adaptive", &tasks);
    assert_eq!((outcome.peak_instances, outcome.unserved_tasks), (2.0, 0.0));
}

#[test]
fn the_pool_whose_instances_live_longer_is_learned() {
    // One pool reclaims its instances every quarter of an hour, and is preferred at first.
    let samples: Vec<u32> = (0..90).map(|sample| u32::from(sample < 87)).collect();
    let both = setup(vec![pool("short", &samples), pool("long", &[1])], None);
    let short = setup(vec![pool("short", &samples)], None);
    let tasks: Vec<_> = (0..400).map(|n| (n * 120, 600)).collect();
    let (both, short) = (outcome(&both, "adaptive", &tasks), outcome(&short, "adaptive", &tasks));
    assert!(
        both.interrupted_tasks < short.interrupted_tasks / 10.0,
        "{} and {}",
        both.interrupted_tasks,
        short.interrupted_tasks
    );
}

#[test]
fn no_policy_leaves_a_task_in_a_market() {
    let load = Load::synthetic(Synthetic::Mixed, 3).cut(Duration::from_hours(30));
    let samples = |chance: u32| -> Vec<u32> {
        (0..500_u32)
            .map(|sample| u32::from(sample.wrapping_mul(2_654_435_761) >> 16 & 7 < chance))
            .collect()
    };
    let slow =
        |name, chance| SpotPool::new(name, Duration::from_mins(5), &samples(chance)).unwrap();
    let market = Market::new(vec![slow("a", 4), slow("b", 6)], Some(OnDemand::USUAL));
    let market = Some(Arc::new(market));
    for name in SimulatedPolicy::NAMES {
        let setup = Setup::of(WorldModel::named(WorldName::Z));
        let setup = Setup { max_instances: 150, market: market.clone(), ..setup };
        let outcome = run(&load, &setup, &name.parse().unwrap(), 1, |moment| {
            let there = moment.requested + moment.booting + moment.idle + moment.busy;
            assert!(there <= 150, "{name}: {moment:?}");
        });
        assert_eq!(outcome.unserved_tasks, 0.0, "{name}");
        assert!(outcome.interrupted_tasks > 0.0 && outcome.on_demand_hours > 0.0, "{name}");
    }
}

/// Returns the folder of captured loads and markets, if there is one.
#[expect(clippy::disallowed_methods, reason = "only a test")]
fn traces() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let traces = env::var("PROVISIONER_TRACES").map_or_else(|_| beside(), PathBuf::from);
    if traces.join("spot").is_dir() {
        return Some(traces);
    }
    eprintln!("skipped: no traces in {}; PROVISIONER_TRACES names them", traces.display());
    None
}

/// The goal is at most 0.34 times the delay of the best zone alone, at 1.02 times its cost at most.
#[test]
fn in_three_recorded_zones_the_goal_is_met() {
    let Some(traces) = traces() else { return };
    let load = Load::read(&traces.join("ci/gecko-3-b-linux.dat"), None).unwrap();
    let zones = [
        "aws-04-19-2023/us-east-1b_intel_64.json",
        "aws-04-22-2023/us-west-2b_v100_1.json",
        "aws-04-22-2023/us-west-2c_v100_1.json",
    ];
    let market = zones
        .map(|zone| Market::read(&traces.join("spot/preemption/1-node").join(zone)).unwrap().0)
        .into_iter()
        .reduce(Market::beside)
        .unwrap();
    let of = |market: Market| {
        let setup = Setup::of(WorldModel::named(WorldName::Z));
        let setup = Setup { market: Some(Arc::new(market)), ..setup };
        run(&load, &setup, &"adaptive".parse().unwrap(), 1, |_| {})
    };
    let best = (0..zones.len())
        .map(|zone| of(market.only(zone)))
        .min_by(|a, b| a.delay_seconds.mean.total_cmp(&b.delay_seconds.mean))
        .unwrap();
    let ours = of(market.with_on_demand(Some(OnDemand::USUAL)));
    let delay = ours.delay_seconds.mean / best.delay_seconds.mean;
    let units = ours.instance_hours + 2.0 * ours.on_demand_hours;
    let cost = units / best.instance_hours;
    assert!(
        delay <= 0.34 && cost <= 1.02,
        "{delay:.3} times the delay at {cost:.3} times the cost"
    );
    assert_eq!(ours.unserved_tasks, 0.0);
}
