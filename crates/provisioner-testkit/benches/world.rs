//! The speed of the whole engine in the simulated world, in virtual time.
//!
//! `cargo bench -p provisioner-testkit --bench world` runs every case in its own process and prints the time
//! that it took; `-- CASE…` runs the named cases (`gecko`, `week`, `'week, adaptive'`, `places`, `seeds`). A week
//! takes a quarter of an hour, and is run only where it is named. The capture is read
//! from `PROVISIONER_TRACES` (or `../shared/traces` beside the workspace); without it that case is skipped.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints tables")]
#![expect(clippy::disallowed_methods, reason = "a bench reads its own variable")]

#[path = "world/places.rs"]
mod places;
#[path = "world/replay.rs"]
mod replay;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use provisioner::internal::domain::clock;
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::WorkerType;
use provisioner_sim::deployment::{mins, name, secs, settings, start, worker_type};
use provisioner_sim::driver::{Driver, End};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::rng::{Lognormal, Rng};
use provisioner_sim::world::{Boot, World};
use provisioner_simulate::load::{Load, Task};
use provisioner_testkit::random;

use replay::Replay;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A case to run.
struct Case {
    name: &'static str,
    load: &'static str,
    policy: &'static str,
}

const CASES: [Case; 6] = [
    Case { name: "gecko", load: "gecko", policy: "basic" },
    Case { name: "gecko, adaptive", load: "gecko", policy: "adaptive" },
    Case { name: "week", load: "week", policy: "basic" },
    Case { name: "week, adaptive", load: "week", policy: "adaptive" },
    Case { name: "places", load: "", policy: "" },
    Case { name: "seeds", load: "", policy: "" },
];

fn main() -> Result<()> {
    let named: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [only, name] = named.as_slice()
        && only == "--only"
    {
        let case = CASES.iter().find(|case| case.name == name);
        return run(case.ok_or(format!("there is no case `{name}`"))?);
    }
    if let Some(unknown) = named.iter().find(|name| CASES.iter().all(|case| case.name != *name)) {
        let all: Vec<_> = CASES.iter().map(|case| format!("`{}`", case.name)).collect();
        return Err(format!("there is no case `{unknown}`, but {}", all.join(", ")).into());
    }
    println!(
        "| case | tasks | rounds | machines at the peak | launched | wait, mean | CPU | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for Case { name, .. } in CASES {
        let is_long = name.starts_with("week");
        if named.is_empty() && is_long || !named.is_empty() && !named.iter().any(|it| it == name) {
            continue;
        }
        let status = Command::new(env::current_exe()?).args(["--only", name]).status()?;
        if !status.success() {
            return Err(format!("{name} failed").into());
        }
    }
    Ok(())
}

fn run(case: &Case) -> Result<()> {
    let load = match case.load {
        "gecko" => gecko()?,
        "week" => Some(week()?),
        _ if case.name == "places" => {
            find_places();
            return Ok(());
        }
        _ => return seeds(),
    };
    let Some(load) = load else { return Ok(()) };
    let driver = driver(case.policy.parse()?);
    let (before, began) = (cpu()?, Instant::now());
    let mut replay = Replay::new(driver, name("linux"), load.tasks());
    replay.run();
    let (took, wall, mib) = (cpu()? - before, began.elapsed(), peak_memory()?);
    let world = &replay.driver.world;
    if world.queue.served.finished != load.tasks().len() as u64 {
        return Err("not every task was finished".into());
    }
    println!(
        "| {} | {} | {} | {} | {} | {:.1} s | {took:.2} s | {mib:.0} MiB |",
        case.name,
        load.tasks().len(),
        replay.rounds,
        replay.peak,
        world.machines.len(),
        world.queue.served.waits.mean().as_secs_f64(),
    );
    eprintln!("{}: {:.2} s of wall time", case.name, wall.as_secs_f64());
    Ok(())
}

fn find_places() {
    println!(
        "\n| of nine places empty | seconds until 100 tasks have instances | launching calls | instances |"
    );
    println!("|---|---|---|---|");
    for empty in [0, 5, 8] {
        let served = places::served(100, empty);
        let seconds = served.seconds.map_or_else(|| "never".to_owned(), |it| it.to_string());
        println!("| {empty} | {seconds} | {} | {} |", served.calls, served.instances);
    }
}

/// Plays random worlds with random faults and judges every step, like the tests.
fn seeds() -> Result<()> {
    const SEEDS: u32 = 100;
    let before = cpu()?;
    let mut rounds = 0;
    for seed in 0..SEEDS {
        let (world, mut chaos) = random::world(&random::Case::new(seed.into()));
        let mut driver = provisioner_testkit::Driver::new(world, &random::ZONES);
        let mut ends = None;
        while ends.is_none_or(|ends| driver.world.now < ends) {
            if ends.is_none() {
                if chaos.goes_on(&driver.world) {
                    // Crashes of the process are left out.
                    let _ = chaos.disturb(&mut driver.world, &driver.settings);
                } else {
                    random::heal(&mut driver.world);
                    ends = Some(clock::after(driver.world.now, mins(45)));
                }
            }
            let wake = match driver.round() {
                End::Round(report) => report.wake,
                End::Blind(wake) => wake,
                End::Crashed => driver.clock(),
            };
            driver.wait(wake);
            rounds += 1;
        }
        driver.assert_sound(&format!("seed {seed}"));
    }
    let took = cpu()? - before;
    println!(
        "\n{SEEDS} random worlds, plain, {rounds} rounds: {:.1} seeds per second of CPU time",
        f64::from(SEEDS) / took
    );
    Ok(())
}

/// Creates a driver with one worker type in a world without faults. Half of the boots take up to a minute.
fn driver(policy: Policy) -> Driver {
    let linux = WorkerType { policy, ..worker_type(&["c7g.large"], 20_000) };
    let settings = Arc::new(settings([("linux", linux)]));
    let mut world = World::new(settings, Knowledge::ByInstance, 1, start());
    world.boot = Boot::Lognormal(Lognormal::new(secs(60), secs(200)));
    let mut driver = Driver::new(world, &["us-west-2a", "us-west-2b"]);
    // Nothing crashes, so nothing reads it.
    driver.saves_memory = false;
    driver
}

fn gecko() -> Result<Option<Load>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let traces = env::var("PROVISIONER_TRACES").map_or_else(|_| beside(), PathBuf::from);
    let path = traces.join("ci/gecko-3-b-linux.dat");
    if !path.exists() {
        eprintln!("no capture in {}: that case is left out", traces.display());
        return Ok(None);
    }
    Ok(Some(Load::read(&path, None)?))
}

/// A million tasks in seven days, as a large CI has them: five working days with their rhythm, two quiet
/// ones, and a burst now and then.
fn week() -> Result<Load> {
    const TASKS: usize = 1_000_000;
    let mut rng = Rng::stream(1, "week");
    let durations = Lognormal::new(Duration::from_mins(19), Duration::from_mins(200));
    // How busy each minute is, as a running sum.
    let mut sum = 0.0;
    let sums: Vec<f64> = (0..7 * 24 * 60_u32)
        .map(|minute| {
            let day = minute / (24 * 60);
            let hour = f64::from(minute % (24 * 60)) / 60.0;
            let rhythm = 0.5 - 0.5 * (hour / 24.0 * std::f64::consts::TAU).cos();
            sum += if day < 5 { 0.15 + rhythm.powi(3) } else { 0.15 };
            sum
        })
        .collect();
    let mut tasks = Vec::with_capacity(TASKS);
    while tasks.len() < TASKS {
        let at = rng.unit() * sum;
        let minute = sums.partition_point(|sum| *sum < at) as u64;
        let created = minute * 60_000 + rng.below(60_000);
        // Pushes bring many tasks at once.
        for _ in 0..=rng.below(40) {
            let duration = durations.draw(&mut rng).as_millis();
            tasks.push(Task { created, duration: u64::try_from(duration)? });
        }
    }
    tasks.truncate(TASKS);
    Ok(Load::new("week", tasks))
}

/// CPU time of this process so far, in seconds.
fn cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or("no name in /proc/self/stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || -> Result<f64> { Ok(fields.next().ok_or("too short")?.parse()?) };
    // In ticks of USER_HZ, which is 100 on every architecture of Linux.
    Ok((next()? + next()?) / 100.0)
}

/// The most memory this process had, in MiB.
fn peak_memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
