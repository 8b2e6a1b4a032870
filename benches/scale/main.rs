//! What `provisionerd run` takes at scale: memory, calls and time per round with up to 20,000 instances in
//! 100 worker types, and how soon after `POST /wake` the launching call is on the wire.
//!
//! `cargo bench --bench scale`; after `--`, `--rounds N` and `--wakes N` for more or fewer of them,
//! `--instances N` for one size only, and `--program FILE` for another build of the program.
//!
//! The program runs as it is shipped, against the simulated EC2 behind its loopback door and a queue beside it.
//! Everything shares the machine's cores.
#![expect(clippy::print_stdout, reason = "the figures are what a benchmark is for")]
#![expect(clippy::expect_used, reason = "a benchmark has nobody to report errors to")]

mod http;
#[path = "../../tests/support/openmetrics.rs"]
mod openmetrics;
mod program;
mod stand_in;
mod tasks;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use http::{Client, Fetched};
use program::{Daemon, Pace};
use stand_in::{Calls, StandIn};
use tasks::Tasks;
use world::{every_tenth, worker_type, world};

/// Rounds until everything has been seen: user data, key pair, prices, machines known twice.
const WARM_UP: usize = 5;
const ROUNDS: usize = 20;
const PENDING: usize = 10_000;
const WAKES: usize = 300;
const HELPS: usize = 50;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1).expect("a value after each option"))
    };
    let number = |name| value(name).map(|text| text.parse::<usize>().expect("a number"));
    let program = value("--program").map_or(program::BUILT, String::as_str);
    let client = Client::new();
    by_itself(program);
    println!("\nrounds with {PENDING} pending tasks, every worker type at its maximum:");
    println!(
        "{:>9} {:>8} {:>7} {:>7} {:>13} {:>9} {:>8} {:>7} {:>5} {:>6} {:>8} {:>5} {:>11}",
        "instances",
        "peak MiB",
        "now MiB",
        "of file",
        "calls (pages)",
        "MiB/round",
        "round ms",
        "bare ms",
        "ratio",
        "CPU ms",
        "bare CPU",
        "ratio",
        "memory.json"
    );
    let sizes = number("--instances").map_or(vec![1_000, 10_000, 20_000], |size| vec![size]);
    for machines in sizes {
        rounds(program, &client, machines, number("--rounds").unwrap_or(ROUNDS));
    }
    match number("--wakes").unwrap_or(WAKES) {
        0 => {}
        wakes => wake_ups(program, &client, 1_000, wakes),
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

/// The program by itself.
fn by_itself(program: &str) {
    let size = fs::metadata(program).expect("the program is there").len();
    println!("stripped binary: {:.1} MiB", mib(size / 1024));
    let mut times: Vec<Duration> = (0..HELPS)
        .map(|_| {
            let began = Instant::now();
            let status = Command::new(program).arg("--help").stdout(Stdio::null()).status();
            assert!(status.expect("the program starts").success());
            began.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "--help: median {:.1} ms, fastest {:.1}, slowest {:.1} of {HELPS}; under 20 ms: {}",
        ms(at(&times, 50)),
        ms(times[0]),
        ms(at(&times, 100)),
        verdict(ms(at(&times, 50)) < 20.0)
    );
}

/// Rounds in which there is nothing to do.
fn rounds(program: &str, client: &Client, machines: usize, rounds: usize) {
    let world = world(machines);
    let tasks = Tasks::new(&world, PENDING, every_tenth(&world));
    let stand_in = StandIn::start(world, tasks);
    let bare = bare(client, &stand_in);
    let pages = bare.pages();

    let pace = Pace { interval: "1s", min_interval: "100ms" };
    let mut daemon = Daemon::start(program, &stand_in, pace, 0);
    // Those of the bare client are among them.
    let asked = stand_in.rounds().len();
    daemon.until("warms up", |_| (stand_in.rounds().len() > asked + WARM_UP).then_some(()));
    let (before, usage_before) = (daemon.rounds(client), daemon.usage());
    let seen = stand_in.rounds().len();
    daemon.until("goes on", |_| (stand_in.rounds().len() > seen + rounds).then_some(()));
    let (after, usage) = (daemon.rounds(client), daemon.usage());

    let calls = stand_in.rounds();
    let most = calls[seen..].iter().map(n_calls).max().unwrap_or_default();
    assert!(
        calls[seen..].iter().all(|calls| calls.keys().all(|call| call.starts_with("Describe"))),
        "there is nothing to do: {calls:?}"
    );
    let n_rounds = after.count - before.count;
    let round = Duration::from_secs_f64((after.seconds - before.seconds) / n_rounds);
    let processor = usage.processor.saturating_sub(usage_before.processor).div_f64(n_rounds);
    println!(
        "{machines:>9} {:>8.1} {:>7.1} {:>7.1} {:>13} {:>9.1} {:>8.0} {:>7.0} {:>5.1} {:>6.0} {:>8.0} {:>5.1} {:>11}",
        mib(usage.peak_kib),
        mib(usage.resident_kib),
        mib(usage.file_kib),
        format!("{most} ({pages})"),
        mib(bare.bytes() as u64 / 1024),
        ms(round),
        ms(bare.time),
        round.div_duration_f64(bare.time),
        ms(processor),
        ms(bare.processor),
        processor.div_duration_f64(bare.processor),
        daemon.memory_file().map_or(0, |file| file.len()),
    );
    assert!(most >= pages, "every page is asked for");
    println!(
        "{:>9} bytes per instance: {}, and of its spot request: {}",
        "",
        bare.instances.bytes / machines,
        bare.requests.bytes / machines
    );
    println!("{:>9} calls: pages and at most two: {}", "", verdict(most <= pages + 2));
    if machines == 20_000 {
        println!("{:>9} peak under 60 MiB: {}", "", verdict(mib(usage.peak_kib) < 60.0));
    }
}

/// The medians of several fetches.
fn bare(client: &Client, stand_in: &StandIn) -> Fetched {
    let all: Vec<Fetched> = (0..9).map(|_| client.fetch_all(stand_in)).collect();
    let median = |of: fn(&Fetched) -> Duration| {
        let mut times: Vec<Duration> = all.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    Fetched {
        time: median(|fetched| fetched.time),
        processor: median(|fetched| fetched.processor),
        ..all[0]
    }
}

fn n_calls(calls: &Calls) -> usize {
    calls.values().sum()
}

/// From a wake-up to the launching call that it brings. At the end there are `most` instances, all of which
/// have a task.
fn wake_ups(program: &str, client: &Client, most: usize, wakes: usize) {
    let machines = most.saturating_sub(wakes);
    let world = world(machines);
    let tasks = Tasks::new(&world, 0, BTreeSet::new());
    let stand_in = StandIn::start(world, tasks);
    let bare = bare(client, &stand_in);
    let pace = Pace { interval: "10s", min_interval: "1s" };
    let mut daemon = Daemon::start(program, &stand_in, pace, wakes);
    daemon.until("runs a round", |daemon| (daemon.rounds(client).count >= 1.0).then_some(()));
    let launches = stand_in.launches();
    let mut times: Vec<Duration> = (0..wakes)
        .map(|number| {
            // Past `min-interval`, and not in step with anything.
            thread::sleep(Duration::from_millis(1_020 + (number as u64 * 7_919) % 200));
            stand_in.task(&worker_type(number * 37));
            let began = Instant::now();
            client.post(&format!("{}/wake", daemon.url()));
            let launched = launches.recv_timeout(Duration::from_secs(30));
            let launched = launched.unwrap_or_else(|_| panic!("no launch; {}", daemon.log_end()));
            launched.duration_since(began)
        })
        .collect();
    assert_eq!(stand_in.machines(), machines + wakes);
    times.sort();
    println!(
        "\nfrom POST /wake to the launching call, {machines} instances and one more by each of {wakes} wake-ups: \
         p50 {:.0} ms, p99 {:.0}, slowest {:.0} (a bare client fetches the same pages in {:.0} ms)",
        ms(at(&times, 50)),
        ms(at(&times, 99)),
        ms(at(&times, 100)),
        ms(bare.time),
    );
    println!("p99 under 250 ms: {}", verdict(ms(at(&times, 99)) < 250.0));
}
