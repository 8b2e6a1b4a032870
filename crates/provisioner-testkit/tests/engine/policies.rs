//! Every policy in the complete engine.

use std::time::Duration;

use provisioner::internal::engine::{ActionKind, NoteKind, Plan, ReasonKind};
use provisioner::internal::settings::WorkerType;

use crate::stories::{calm, has_note, plan, round, with};
use provisioner_sim::deployment::{at, mins, name, secs, settings, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::Boot;
use provisioner_testkit::Driver;

const IN_PRODUCTION: [&str; 5] =
    ["basic", "worker-manager", "worker-manager:ratio=0.5", "worker-manager-deployed", "adaptive"];

/// Returns a worker type whose workers end themselves after a minute, so that the next tasks need new ones.
fn linux(policy: &str, max: u64) -> WorkerType {
    let policy = policy.parse().unwrap();
    WorkerType { policy, idle_timeout: mins(1), ..worker_type(&["c7g.large"], max) }
}

fn asked(plan: &Plan) -> u64 {
    let requests =
        plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::Request(_)));
    requests.map(|action| action.kind.count()).sum()
}

/// Returns a world with varying boots after two hours in which two tasks arrived every five minutes.
fn after_two_hours(policy: &str) -> Driver {
    let mut driver = calm(linux(policy, 40), Knowledge::ByInstance);
    driver.world.boot = Boot::Between(secs(30), mins(5));
    driver.world.faults.fill = mins(2);
    for n in 0..24 {
        driver.world.add_tasks(&name("linux"), 2, secs(90));
        driver.run(at(n * 300 + 300));
    }
    driver.assert_sound(policy);
    driver
}

#[test]
fn every_policy_serves_every_task() {
    for policy in IN_PRODUCTION {
        let mut driver = after_two_hours(policy);
        driver.run(at(25 * 300 + 300));
        assert_eq!(driver.world.queue.pending(&name("linux")), 0, "{policy}");
        assert!(driver.world.machines.len() >= 2, "{policy}");
    }
}

#[test]
fn requests_that_no_task_needs_are_cancelled_in_the_same_round() {
    for policy in IN_PRODUCTION {
        let mut driver = calm(linux(policy, 40), Knowledge::ByInstance);
        driver.world.faults.fill = mins(30);
        driver.world.add_tasks(&name("linux"), 30, mins(10));
        round(&mut driver);
        assert!(driver.world.open().count() >= 4, "{policy}");
        driver.world.queue.withdraw(&name("linux"), 0);
        driver.wait(at(30));
        let report = round(&mut driver);
        assert_eq!(driver.world.open().count(), 0, "{policy}: {:?}", report.plan.actions);
        let mut reasons = report.plan.actions.iter().map(|action| action.reason.kind);
        assert!(reasons.any(|reason| reason == ReasonKind::NoDemand), "{policy}");
    }
}

#[test]
fn startup_times_are_learned_and_lead_to_requests_in_excess() {
    let mut driver = after_two_hours("adaptive");
    driver.world.add_tasks(&name("linux"), 6, mins(10));
    let plan = plan(&mut driver);
    let reason = &plan.actions.iter().find(|action| action.reason.kind == ReasonKind::PendingTasks);
    let text = &reason.unwrap().reason.text;
    assert!(asked(&plan) > 6, "{plan:#?}");
    for words in [" requests for each of ", " startups half took ", "wait-cost 10"] {
        assert!(text.contains(words), "{text}");
    }
    // A policy without experience requests no more than is needed.
    let mut first = calm(linux("adaptive", 40), Knowledge::ByInstance);
    first.world.add_tasks(&name("linux"), 6, mins(10));
    assert_eq!(asked(&crate::stories::plan(&mut first)), 6);
}

#[test]
fn learned_startup_times_survive_a_restart() {
    let mut driver = after_two_hours("adaptive");
    let settings = std::sync::Arc::clone(&driver.settings);
    driver.restart(settings);
    driver.world.add_tasks(&name("linux"), 6, mins(10));
    assert!(asked(&plan(&mut driver)) > 6, "{:#?}", driver.plan);
}

#[test]
fn nothing_is_requested_in_excess_while_calls_are_throttled() {
    let mut driver = after_two_hours("adaptive");
    driver.world.add_tasks(&name("linux"), 6, mins(10));
    driver.world.faults.throttled = 100;
    round(&mut driver);
    driver.world.faults.throttled = 0;
    assert!(asked(&plan(&mut driver)) <= 6, "{:#?}", driver.plan);
}

/// Requests in excess do not take the room that the tasks of another worker type need, and are no reason to
/// report that a limit binds.
#[test]
fn limits_serve_the_needs_of_tasks_first() {
    let mut two = settings([("linux", linux("adaptive", 40)), ("other", linux("basic", 40))]);
    two.limits.max_instances = Some(20);
    let mut driver = with(two, Knowledge::ByInstance);
    driver.world.boot = Boot::Between(secs(30), mins(5));
    driver.world.faults.fill = mins(2);
    for n in 0..24 {
        driver.world.add_tasks(&name("linux"), 2, secs(90));
        driver.run(at(n * 300 + 300));
    }
    let there = driver.world.live().count() as u64;
    driver.world.add_tasks(&name("linux"), 6, mins(10));
    driver.world.add_tasks(&name("other"), 4, mins(10));
    let plan = plan(&mut driver);
    let of = |worker_type: &str| {
        let actions =
            plan.actions.iter().filter(|action| action.worker_type == Some(name(worker_type)));
        actions.map(|action| action.kind.count()).sum::<u64>()
    };
    assert_eq!(of("other"), 4, "{plan:#?}");
    assert!(of("linux") + there <= 16 && of("linux") > 0, "{plan:#?}");
    assert!(!has_note(&plan, NoteKind::AtLimit), "{plan:#?}");
}

#[test]
fn instances_kept_in_advance_do_not_count_as_broken() {
    // Bursts of four every twenty minutes: the level is kept, and there are no claims in between.
    let quick = linux("adaptive:wait-cost=1000", 40).policy;
    let kept = WorkerType {
        policy: quick,
        boot_timeout: mins(5),
        idle_timeout: mins(60),
        ..linux("basic", 40)
    };
    let mut driver = calm(kept, Knowledge::ByInstance);
    driver.world.boot = Boot::Between(secs(60), secs(60));
    for n in 0..30 {
        driver.world.add_tasks(&name("linux"), 4, Duration::from_mins(3));
        driver.run(at(n * 1200 + 1200));
    }
    driver.assert_sound("kept");
    assert_eq!(driver.world.queue.pending(&name("linux")), 0);
    let live = driver.world.live().count();
    assert!((4..=8).contains(&live), "{live} instances for 4 tasks at a time");
}
