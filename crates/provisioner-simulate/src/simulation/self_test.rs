//! worker-manager's estimator gives its authors' own figures in their own world, and so do the bounds.
//!
//! The loads are captures of Firefox CI that are not part of the project. Where they are absent, these
//! tests are skipped and say so. A second implementation of that world, second by second, is always
//! compared with the simulation on generated loads.

use std::collections::VecDeque;
use std::env;
use std::path::{Path, PathBuf};

use super::*;
use crate::load::{Load, Synthetic, Task};

/// Returns the folder of the captures, if there is one.
#[expect(clippy::disallowed_methods, reason = "only a test")]
fn captures() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let traces = env::var("PROVISIONER_TRACES").map_or_else(|_| beside(), PathBuf::from);
    let captures = traces.join("ci");
    if captures.is_dir() {
        return Some(captures);
    }
    eprintln!("skipped: no captures in {}; PROVISIONER_TRACES names them", captures.display());
    None
}

fn within_one_percent(what: &str, is: f64, should: f64) {
    // The figures are rounded, so that half of a last digit is no difference.
    let off = (is - should).abs();
    assert!(off <= should * 0.01 + 0.05, "{what}: {is}, not {should}");
}

#[test]
fn worker_manager_gives_the_peers_figures() {
    let Some(captures) = captures() else { return };
    let policy = "worker-manager".parse().unwrap();
    let figures = [
        ("mobile-1-decision", 240., 9.81, 20.98, 9.1, 52.5, 115., 4.),
        ("mobile-3-decision", 295., 10.54, 20.98, 7.6, 66.6, 164., 7.),
        ("mobile-3-b-linux-large", 5254., 13.35, 20.99, 654.4, 1786.2, 3439., 267.),
        ("gecko-3-b-linux", 36511., 4.13, 20.93, 6758.3, 11054.6, 7832., 504.),
    ];
    for (name, tasks, mean, p99, busy, billed, launched, peak) in figures {
        let load = Load::read(&captures.join(format!("{name}.dat")), None).unwrap();
        let outcome = run(&load, &Setup::self_test(), &policy, 1, |_| {});
        let check = |what, is, should| within_one_percent(&format!("{name}: {what}"), is, should);
        check("tasks", outcome.tasks, tasks);
        check("mean wait", outcome.wait_seconds.mean, mean);
        check("p99 wait", outcome.wait_seconds.p99, p99);
        check("busy hours", outcome.utilisation * outcome.instance_hours, busy);
        check("billed hours", outcome.instance_hours, billed);
        check("launches", outcome.launches, launched);
        check("peak", outcome.peak_instances, peak);
        assert!(outcome.unserved_tasks < 0.5, "{name}: {}", outcome.unserved_tasks);
    }
}

#[test]
fn the_bounds_are_those_that_were_measured() {
    let Some(captures) = captures() else { return };
    let figures = [
        ("mobile-1-decision", 9.1, 13.4),
        ("mobile-3-decision", 7.6, 12.9),
        ("mobile-3-b-linux-large", 654., 747.),
        ("gecko-3-b-linux", 6758., 7137.),
    ];
    let restart = WorldModel::named(WorldName::P).restart();
    for (name, busy, clairvoyant) in figures {
        let load = Load::read(&captures.join(format!("{name}.dat")), None).unwrap();
        let bounds = bounds(&load, restart);
        within_one_percent(name, bounds.busy_hours, busy);
        within_one_percent(name, bounds.clairvoyant_hours, clairvoyant);
    }
}

/// Simulates the peer's world as plainly as possible: every second, booting instances become ready, tasks
/// end, tasks are created, the longest idle workers take them, workers idle for 15 min stop, and the
/// estimator requests instances. Returns tasks, seconds of waiting, seconds billed, launches and the peak.
fn second_by_second(load: &Load) -> [f64; 5] {
    let mut tasks = load.tasks().iter().peekable();
    let mut waiting: VecDeque<u64> = VecDeque::new();
    let mut idle: VecDeque<u64> = VecDeque::new();
    let mut booting: Vec<u64> = Vec::new();
    let mut running: Vec<u64> = Vec::new();
    let mut now = 0;
    let mut waited = 0;
    let mut billed = 0;
    let mut launches = 0;
    let mut peak = 0;
    loop {
        let ready = booting.extract_if(.., |at| *at <= now).count();
        let ended = running.extract_if(.., |at| *at <= now).count();
        idle.extend(std::iter::repeat_n(now, ready + ended));
        while let Some(task) = tasks.next_if(|task| task.created <= now * 1000) {
            waiting.push_back(task.duration);
        }
        while let (Some(duration), Some(_)) = (waiting.front(), idle.front()) {
            running.push(now + duration.div_ceil(1000));
            let _ = (waiting.pop_front(), idle.pop_front());
        }
        idle.retain(|since| now - since < 900);
        // The estimator requests an instance for every waiting task, up to 1,000 instances in all.
        let there = booting.len() + running.len() + idle.len();
        let asked =
            waiting.len().saturating_sub(booting.len()).min(1000_usize.saturating_sub(there));
        booting.extend(std::iter::repeat_n(now + 20, asked));
        launches += asked;
        peak = peak.max(there + asked);
        if there + asked == 0 && tasks.peek().is_none() {
            break;
        }
        waited += waiting.len();
        billed += there + asked;
        now += 1;
    }
    [load.tasks().len(), waited, billed, launches, peak].map(outcome::count)
}

#[test]
fn a_second_simulation_of_the_peers_world_agrees() {
    let policy = "worker-manager".parse().unwrap();
    for kind in [Synthetic::BurstyCi, Synthetic::FlashCrowd] {
        // Whole seconds, so that both simulate the same load.
        let load = Load::synthetic(kind, 1);
        let whole = load.tasks().iter().map(|task| {
            let round_up = |millis: u64| millis.div_ceil(1000) * 1000;
            Task { created: round_up(task.created), duration: round_up(task.duration) }
        });
        let load = Load::new(kind.as_str(), whole.collect());
        let [tasks, waited, billed, launches, peak] = second_by_second(&load);
        let outcome = run(&load, &Setup::self_test(), &policy, 1, |_| {});
        let check = |what, is, should| within_one_percent(&format!("{kind}: {what}"), is, should);
        check("tasks", outcome.tasks, tasks);
        check("mean wait", outcome.wait_seconds.mean, waited / tasks);
        check("billed hours", outcome.instance_hours, billed / 3600.0);
        check("launches", outcome.launches, launches);
        check("peak", outcome.peak_instances, peak);
    }
}
