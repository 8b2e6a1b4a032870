//! The scoreboard of `BENCHMARKS.md`: every policy on every load in every world.
//!
//! `cargo bench -p provisioner-simulate --bench scoreboard` runs the captures in `PROVISIONER_TRACES` (or
//! `../shared/traces` beside the workspace), and without them the generated loads. Other loads can be
//! chosen: `-- --load FILE --load synthetic:steady`, and worlds: `--world P`, or `--world Z` in the spot
//! market of `--spot-traces FOLDER` or, by default, in the markets beside the captures.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints tables")]
#![expect(clippy::disallowed_methods, reason = "a bench reads its own variable")]

#[path = "scoreboard/z.rs"]
mod z;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use provisioner::internal::policy::{Policy, PolicyMemory, Situation};
use provisioner_sim::rng::Rng;
use provisioner_simulate::load::{Load, SYNTHETIC_PREFIX, Synthetic};
use provisioner_simulate::policy::SimulatedPolicy;
use provisioner_simulate::report::{self, Contender};
use provisioner_simulate::simulation::{self, Outcome, Setup, WorldModel, WorldName};

/// The others are compared with the first.
const POLICIES: [&str; 8] = [
    "worker-manager",
    "worker-manager:idle-timeout=5m",
    "worker-manager:idle-timeout=2m",
    "naive-2014",
    "basic",
    "adaptive:wait-cost=5",
    "adaptive",
    "adaptive:wait-cost=100",
];
/// Our default.
const OURS: &str = "adaptive";
const WORLDS: [WorldName; 7] = [
    WorldName::P,
    WorldName::D,
    WorldName::K,
    WorldName::S300,
    WorldName::R,
    WorldName::Q,
    WorldName::I,
];
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let started = Instant::now();
    let markets = markets();
    let (loads, worlds) = arguments()?;
    let mut standings = Vec::new();
    for world in &worlds {
        standings.extend(scoreboard(*world, &loads)?);
    }
    goals(&standings);
    self_test(&loads)?;
    decision()?;
    for load in &loads {
        z::scoreboards(&markets, load)?;
    }
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Returns the spot markets of world Z that the arguments name, or else those of `BENCHMARKS.md`.
fn markets() -> Vec<z::Traces> {
    let words: Vec<_> = env::args().collect();
    let mut worlds = words.windows(2).filter(|pair| pair[0] == "--world").map(|pair| &*pair[1]);
    if words.iter().any(|word| word == "--world") && !worlds.any(|name| name == "Z") {
        return Vec::new();
    }
    let mut args = words.into_iter();
    let mut paths = Vec::new();
    while args.any(|arg| arg == "--spot-traces") {
        paths.extend(args.next().map(PathBuf::from));
    }
    if paths.is_empty() {
        return z::Traces::usual(&traces().join("spot"));
    }
    vec![z::Traces { paths, load: None }]
}

fn arguments() -> Result<(Vec<Load>, Vec<WorldName>)> {
    let mut loads = Vec::new();
    let mut worlds = Vec::new();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} takes a value"));
        match arg.as_str() {
            "--load" => loads.push(load(&value()?)?),
            "--world" => {
                let name = value()?;
                worlds.push(WorldName::by_name(&name).ok_or(format!("no world {name}"))?);
            }
            // `markets` reads it.
            "--spot-traces" => drop(value()?),
            // Cargo adds it.
            "--bench" => {}
            other => return Err(format!("{other}: --load LOAD or --world WORLD").into()),
        }
    }
    if loads.is_empty() {
        loads = captures()?;
    }
    if worlds.is_empty() {
        worlds = WORLDS.to_vec();
    }
    worlds.retain(|world| *world != WorldName::Z);
    Ok((loads, worlds))
}

fn load(name: &str) -> Result<Load> {
    match name.strip_prefix(SYNTHETIC_PREFIX) {
        Some(kind) => {
            let kind = Synthetic::by_name(kind).ok_or(format!("no load {name}"))?;
            Ok(Load::synthetic(kind, 1))
        }
        None => Ok(Load::read(Path::new(name), None)?),
    }
}

fn traces() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    env::var("PROVISIONER_TRACES").map_or_else(|_| beside(), PathBuf::from)
}

/// Returns the captures, the smallest first, or the generated loads if there are none.
fn captures() -> Result<Vec<Load>> {
    let traces = traces();
    let Ok(files) = fs::read_dir(traces.join("ci")) else {
        eprintln!("no captures in {}: generated loads are used", traces.display());
        return Ok(Synthetic::ALL.map(|kind| Load::synthetic(kind, 1)).to_vec());
    };
    let mut loads = Vec::new();
    for file in files {
        loads.push(Load::read(&file?.path(), None)?);
    }
    loads.sort_by_key(|load| load.tasks().len());
    Ok(loads)
}

fn contenders(world: WorldName) -> Result<Vec<Contender>> {
    let contender = |name: &&str| {
        let policy: SimulatedPolicy = name.parse()?;
        let setup = Setup::of(WorldModel::named(world));
        let round = policy.own_interval().unwrap_or(setup.round);
        let setup = Setup { round, ..setup };
        Ok(Contender { name: (*name).to_owned(), policy, setup, usd_per_hour: 1.0 })
    };
    POLICIES.iter().map(contender).collect()
}

/// Our default beside worker-manager on one load in one world. Times and costs are differences in percent.
struct Standing {
    world: WorldName,
    load: String,
    hours: (f64, f64),
    wait: f64,
    p95: f64,
    launches: f64,
    per_task: f64,
    over_bound: f64,
    /// The average number of busy instances.
    in_use: f64,
}

impl Standing {
    fn cost(&self) -> f64 {
        more(self.hours.0, self.hours.1)
    }
}

/// Prints a block of rows per load: hours, also as a multiple of the clairvoyant bound, waiting times,
/// launches, and launches per task.
fn scoreboard(world: WorldName, loads: &[Load]) -> Result<Vec<Standing>> {
    let contenders = contenders(world)?;
    println!("\n### World {world}\n");
    println!(
        "| load, policy | hours | | bound x | wait | | p95 | | p99 | launches | | per task | lost |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut totals = vec![0.0; contenders.len()];
    let mut standings = Vec::new();
    for load in loads {
        let restart =
            contenders.first().map(|first| first.setup.world.restart()).unwrap_or_default();
        let bounds = simulation::bounds(load, restart);
        let busy = bounds.busy_hours;
        let clairvoyant = bounds.clairvoyant_hours;
        println!(
            "| **{}**, {} tasks: bounds | {busy:.1}, {clairvoyant:.1} | | | | | | | | | | | |",
            load.name(),
            load.tasks().len()
        );
        let means: Vec<_> = report::outcomes(load, &contenders, &SEEDS, &|_, _| {})
            .iter()
            .map(|outcomes| Outcome::mean(outcomes))
            .collect();
        let first = &means[0];
        for ((mean, contender), total) in means.iter().zip(&contenders).zip(&mut totals) {
            *total += mean.instance_hours;
            let wait = &mean.wait_seconds;
            let wait_first = &first.wait_seconds;
            println!(
                "| `{}` | {:.1} | {} | {:.2} | {:.1} | {} | {:.0} | {} | {:.0} | {:.0} | {:.2}x | {:.2} | {:.1} |",
                contender.name,
                mean.instance_hours,
                beside(mean.instance_hours, first.instance_hours),
                mean.instance_hours / clairvoyant,
                wait.mean,
                beside(wait.mean, wait_first.mean),
                wait.p95,
                beside(wait.p95, wait_first.p95),
                wait.p99,
                mean.launches,
                mean.launches / first.launches,
                mean.launches / mean.tasks,
                mean.lost_hours,
            );
            if mean.unserved_tasks > 0.0 {
                return Err(format!("{} leaves tasks of {}", contender.name, load.name()).into());
            }
            if contender.name == OURS {
                standings.push(Standing {
                    world,
                    load: load.name().to_owned(),
                    hours: (mean.instance_hours, first.instance_hours),
                    wait: more(wait.mean, wait_first.mean),
                    p95: more(wait.p95, wait_first.p95),
                    launches: mean.launches / first.launches,
                    per_task: mean.launches / mean.tasks,
                    over_bound: mean.instance_hours / clairvoyant,
                    in_use: busy / hours(load.span()).max(1.0),
                });
            }
        }
    }
    println!("| **all loads together** | | | | | | | | | | | | |");
    for (total, contender) in totals.iter().zip(&contenders) {
        let beside = beside(*total, totals[0]);
        println!("| `{}` | {total:.0} | {beside} | | | | | | | | | | |", contender.name);
    }
    Ok(standings)
}

fn beside(value: f64, first: f64) -> String {
    format!("{:+.0} %", more(value, first))
}

/// Returns by how many percent `value` exceeds `first`.
fn more(value: f64, first: f64) -> f64 {
    // Both may be zero.
    if (value - first).abs() < f64::EPSILON { 0.0 } else { 100.0 * (value / first - 1.0) }
}

#[expect(clippy::cast_precision_loss, reason = "times of years in milliseconds")]
fn hours(millis: u64) -> f64 {
    millis as f64 / 3.6e6
}

/// Prints every goal for our default, with the worst load and its figure.
fn goals(standings: &[Standing]) {
    println!("\n### Goals, `{OURS}` beside `{}`\n", POLICIES[0]);
    println!("| goal | at most | worst load | |");
    println!("|---|---|---|---|");
    let in_worlds = |worlds: &[WorldName]| -> Vec<&Standing> {
        standings.iter().filter(|standing| worlds.contains(&standing.world)).collect()
    };
    let row = |goal: &str, most: f64, of: &[&Standing], figure: fn(&Standing) -> f64| {
        let worst = of.iter().max_by(|a, b| figure(a).total_cmp(&figure(b)));
        let Some(worst) = worst else { return };
        let is = figure(worst);
        let met = if is <= most { "met" } else { "missed" };
        println!("| {goal} | {most} | {is:.2} ({}, {}) | {met} |", worst.load, worst.world);
    };
    let primary = in_worlds(&[WorldName::P]);
    row("P: hours, % more", -12.0, &primary, Standing::cost);
    let sum = |of: fn(&Standing) -> f64| primary.iter().map(|standing| of(standing)).sum::<f64>();
    let all = more(sum(|standing| standing.hours.0), sum(|standing| standing.hours.1));
    let met = if all <= -18.0 { "met" } else { "missed" };
    println!("| P: hours of all loads together, % more | -18 | {all:.2} | {met} |");
    row("P: mean wait, % more", -8.0, &primary, |standing| standing.wait);
    row("P: 95th percentile of waits, % more", -12.0, &primary, |standing| standing.p95);
    let busy: Vec<_> = primary.iter().copied().filter(|standing| standing.in_use > 50.0).collect();
    row("P: hours over the bound, where over 50 are in use on average", 1.15, &busy, |standing| {
        standing.over_bound
    });
    row("P: launches, times", 2.5, &primary, |standing| standing.launches);
    row("P: launches per task", 0.3, &primary, |standing| standing.per_task);
    let constant = in_worlds(&[WorldName::D, WorldName::K]);
    row("D, K: hours, % more", -9.0, &constant, Standing::cost);
    row("D, K: mean wait, % more", 5.0, &constant, |standing| standing.wait);
    let others = in_worlds(&[WorldName::R, WorldName::Q, WorldName::S300]);
    row("R, Q, S300: hours, % more", -9.0, &others, Standing::cost);
    row("R, Q, S300: mean wait, % more", 0.0, &others, |standing| standing.wait);
}

/// Runs worker-manager in its authors' own world.
fn self_test(loads: &[Load]) -> Result<()> {
    let policy = "worker-manager".parse()?;
    println!("\n### Self-test\n");
    println!("| load | tasks | mean wait s | p99 | busy h | billed h | launched | peak |");
    println!("|---|---|---|---|---|---|---|---|");
    for load in loads {
        let outcome = simulation::run(load, &Setup::self_test(), &policy, 1, |_| {});
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {} | {} |",
            load.name(),
            outcome.tasks,
            outcome.wait_seconds.mean,
            outcome.wait_seconds.p99,
            outcome.utilisation * outcome.instance_hours,
            outcome.instance_hours,
            outcome.launches,
            outcome.peak_instances,
        );
    }
    Ok(())
}

/// Measures a decision, by the height of the demand. It prints the best of several runs, because other
/// processes share the machine.
fn decision() -> Result<()> {
    const ROUNDS: u32 = 20_000;
    const RUNS: u32 = 20;
    println!("\n### A decision\n");
    println!("| tasks | basic | worker-manager | adaptive |");
    println!("|---|---|---|---|");
    for most in [10, 1_000, 100_000] {
        let mut cells = Vec::new();
        for name in ["basic", "worker-manager", "adaptive"] {
            let policy: Policy = name.parse()?;
            let mut memory = PolicyMemory::default();
            let mut rng = Rng::stream(1, "decision");
            for n in 0..200 {
                memory
                    .record_startup(Duration::from_secs(20 + n % 31), Duration::from_secs(40 + n));
            }
            let mut busy = most / 2;
            let mut best = Duration::MAX;
            let mut second = 1_800_000_000;
            for _ in 0..RUNS {
                let started = Instant::now();
                for _ in 0..ROUNDS {
                    // The demand goes up and down, and sometimes jumps.
                    let jump = if rng.happens(0.01) { most } else { most / 20 + 2 };
                    let to = (busy + rng.below(jump)).saturating_sub(jump / 2).min(most);
                    let pending = to.saturating_sub(busy);
                    busy = to.min(busy + 1 + pending / 4);
                    second += 10;
                    let situation = Situation {
                        pending,
                        running: Some(busy),
                        busy,
                        booting: pending / 2,
                        idle: 3,
                        free_slots: pending / 2 + 3,
                        max: most * 2,
                        workers_consent: true,
                        ..Situation::nothing(Timestamp::from_second(second)?)
                    };
                    std::hint::black_box(policy.target(&situation, &mut memory));
                }
                best = best.min(started.elapsed() / ROUNDS);
            }
            cells.push(format!("{:.2} us", best.as_secs_f64() * 1e6));
        }
        println!("| up to {most} | {} |", cells.join(" | "));
    }
    Ok(())
}
