//! worker-manager's estimator in the peer's own world gives the peer's own figures. So does the bound.
//!
//! The loads are captures of Firefox CI that are not part of the project. Where they are absent, this is
//! skipped, and says so.

use std::env;
use std::path::{Path, PathBuf};

use super::*;
use crate::load::Load;

/// Where the captures are, if anywhere.
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
    // The figures are rounded: half of a last digit is no difference.
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
    let restart = World::named(WorldName::P).restart();
    for (name, busy, clairvoyant) in figures {
        let load = Load::read(&captures.join(format!("{name}.dat")), None).unwrap();
        let bounds = bounds(&load, restart);
        within_one_percent(name, bounds.busy_hours, busy);
        within_one_percent(name, bounds.clairvoyant_hours, clairvoyant);
    }
}
