//! The table of `BENCHMARKS.md` on the value of knowing more about workers: one policy in world P, with
//! every level of knowledge.
//!
//! `cargo bench -p provisioner-simulate --bench knowledge` runs two generated loads, and two captures if
//! they are in `PROVISIONER_TRACES` (or `../shared/traces` beside the workspace). Other loads and policies
//! can be chosen: `-- --load FILE --policy basic`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "a bench reads its own variable")]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use provisioner_simulate::load::{Load, Synthetic};
use provisioner_simulate::policy::SimulatedPolicy;
use provisioner_simulate::report::{self, Contender};
use provisioner_simulate::simulation::{Outcome, Setup, WorkerKnowledge, WorldModel, WorldName};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// A load with long pauses, and one that is large and steady.
const CAPTURES: [&str; 2] = ["mobile-1-decision", "gecko-3-b-linux"];
/// Without consent the idle timeout decides when workers stop; with consent the policy does.
const IDLE_TIMEOUTS: [Duration; 2] = [Duration::from_mins(15), Duration::from_mins(2)];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let started = Instant::now();
    let (loads, policy) = arguments()?;
    let contenders = contenders(policy.parse()?);
    println!("\n### What is known of workers, under `{policy}`, world P\n");
    println!("| load, what is known | hours | | wait s | | p95 s | launches |");
    println!("|---|---|---|---|---|---|---|");
    for load in &loads {
        println!("| **{}**, {} tasks | | | | | | |", load.name(), load.tasks().len());
        let outcomes = report::outcomes(load, &contenders, &SEEDS, &|_, _| {});
        let means: Vec<_> = outcomes.iter().map(|outcomes| Outcome::mean(outcomes)).collect();
        for (mean, contender) in means.iter().zip(&contenders) {
            let hours = mean.instance_hours;
            let wait = &mean.wait_seconds;
            println!(
                "| {} | {hours:.1} | {} | {:.1} | {} | {:.0} | {:.0} |",
                contender.name,
                beside(hours, means[0].instance_hours),
                wait.mean,
                beside(wait.mean, means[0].wait_seconds.mean),
                wait.p95,
                mean.launches,
            );
        }
    }
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn beside(value: f64, first: f64) -> String {
    format!("{:+.0} %", 100.0 * (value / first - 1.0))
}

fn contenders(policy: SimulatedPolicy) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for knowledge in WorkerKnowledge::ALL {
        for idle_timeout in IDLE_TIMEOUTS {
            let setup =
                Setup { knowledge, idle_timeout, ..Setup::of(WorldModel::named(WorldName::P)) };
            let minutes = idle_timeout.as_secs() / 60;
            let name = format!("`{}`, idle-timeout {minutes} min", knowledge.as_str());
            contenders.push(Contender { name, policy, setup, usd_per_hour: 1.0 });
        }
    }
    contenders
}

fn arguments() -> Result<(Vec<Load>, String)> {
    let mut loads = Vec::new();
    let mut policy = "adaptive".to_owned();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} takes a value"));
        match arg.as_str() {
            "--load" => loads.push(Load::read(Path::new(&value()?), None)?),
            "--policy" => policy = value()?,
            // Cargo adds it.
            "--bench" => {}
            other => return Err(format!("{other}: --load FILE or --policy POLICY").into()),
        }
    }
    if loads.is_empty() {
        loads =
            [Synthetic::Steady, Synthetic::BurstyCi].map(|kind| Load::synthetic(kind, 1)).to_vec();
        loads.extend(captures()?);
    }
    Ok((loads, policy))
}

/// Reads the [`CAPTURES`] that exist.
fn captures() -> Result<Vec<Load>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let traces = env::var("PROVISIONER_TRACES").map_or_else(|_| beside(), PathBuf::from);
    let mut loads = Vec::new();
    for name in CAPTURES {
        let file = traces.join("ci").join(format!("{name}.dat"));
        if file.exists() {
            loads.push(Load::read(&file, None)?);
        } else {
            eprintln!("no capture {}", file.display());
        }
    }
    Ok(loads)
}
