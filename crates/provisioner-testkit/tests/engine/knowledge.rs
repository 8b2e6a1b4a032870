//! Which instances may be ended and which count as capacity, at each level of knowledge about running tasks.

use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::engine::{NoteKind, Plan, ReasonKind};
use provisioner::internal::settings::Settings;

use crate::stories::{calm, has_note, named, plan, round};
use provisioner_sim::deployment::{at, mins, name, secs, settings, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::Boot;
use provisioner_testkit::Driver;

const ALL: [Knowledge; 3] = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];

fn first(driver: &Driver) -> InstanceId {
    driver.world.live().next().unwrap().0.clone()
}

/// Returns a world with one task, and an image whose worker never claims it.
fn never_claiming(knowledge: Knowledge) -> Driver {
    let mut linux = worker_type(&["c7g.large"], 3);
    linux.boot_timeout = mins(10);
    let mut driver = calm(linux, knowledge);
    driver.world.faults.never_claims = 100;
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    driver
}

#[test]
fn a_machine_that_never_claims_is_not_capacity_after_the_boot_timeout() {
    for knowledge in ALL {
        let mut driver = never_claiming(knowledge);
        driver.run(at(9 * 60));
        assert_eq!(driver.world.requests.len(), 1, "{knowledge:?}: credited while it boots");
        driver.run(at(15 * 60));
        driver.assert_sound("never claims");
        assert_eq!(driver.world.requests.len(), 2, "{knowledge:?}: replaced once");
        let ended = driver.world.machines.len() - driver.world.live().count();
        let known = knowledge == Knowledge::ByInstance;
        assert_eq!(ended, usize::from(known), "{knowledge:?}: ended only where it is known");
        if !known {
            assert!(has_note(&driver.plan, NoteKind::BootTimeout), "{knowledge:?}");
        }
        // A broken image never grows the pool past its maximum.
        driver.run(at(90 * 60));
        driver.assert_sound("never claims");
        assert!(driver.world.count(&name("linux")) <= 3);
    }
}

#[test]
fn a_busy_machine_is_never_reported_as_one_that_never_claimed() {
    for knowledge in ALL {
        let mut linux = worker_type(&["c7g.large"], 3);
        linux.boot_timeout = mins(5);
        let mut driver = calm(linux, knowledge);
        driver.world.add_tasks(&name("linux"), 2, mins(60));
        driver.run(at(50 * 60));
        driver.assert_sound("busy");
        assert_eq!((driver.world.live().count(), driver.world.requests.len()), (2, 2));
        // A process without memory does not know their past, but observes their tasks.
        driver.disk.memory = None;
        let settings = Arc::clone(&driver.settings);
        driver.restart(settings);
        driver.run(at(55 * 60));
        driver.assert_sound("busy");
        assert_eq!(driver.world.live().count(), 2, "{knowledge:?}");
    }
}

#[test]
fn an_idle_machine_that_has_worked_is_left_to_end_itself() {
    for knowledge in ALL {
        let mut linux = worker_type(&["c7g.large"], 3);
        linux.boot_timeout = mins(5);
        linux.idle_timeout = mins(20);
        let mut driver = calm(linux, knowledge);
        driver.world.add_tasks(&name("linux"), 2, mins(10));
        driver.run(at(28 * 60));
        driver.assert_sound("idle");
        assert_eq!(driver.world.live().count(), 2, "{knowledge:?}");
        driver.run(at(40 * 60));
        assert_eq!(driver.world.live().count(), 0, "{knowledge:?}");
    }
}

#[test]
fn an_idle_machine_is_recognised_again_after_a_restart_without_memory() {
    // It worked long ago and is idle, but its past is not known: it is watched for the boot timeout first.
    let mut linux = worker_type(&["c7g.large"], 3);
    linux.boot_timeout = mins(5);
    linux.idle_timeout = mins(60);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 1, mins(10));
    driver.run(at(20 * 60));
    driver.disk.memory = None;
    let settings = Arc::clone(&driver.settings);
    driver.restart(settings);
    driver.run(at(24 * 60));
    assert_eq!(driver.world.live().count(), 1);
}

#[test]
fn past_max_lifetime_idle_machines_are_ended_and_busy_ones_at_twice_that() {
    for knowledge in ALL {
        let mut linux = worker_type(&["c7g.large"], 4);
        linux.max_lifetime = Some(mins(30));
        linux.idle_timeout = mins(600);
        let mut driver = calm(linux, knowledge);
        driver.world.boot = Boot::Between(secs(20), secs(20));
        driver.world.add_tasks(&name("linux"), 1, mins(600));
        driver.world.add_tasks(&name("linux"), 1, mins(5));
        driver.run(at(29 * 60));
        assert_eq!(driver.world.live().count(), 2);
        let busy = driver.world.live().find(|(id, _)| driver.world.queue.runs(id) > 0);
        let busy = busy.unwrap().0.clone();
        driver.run(at(32 * 60));
        driver.assert_sound("lifetime");
        let left: Vec<_> = driver.world.live().map(|(id, _)| id.clone()).collect();
        match knowledge {
            Knowledge::ByInstance => assert_eq!(left, std::slice::from_ref(&busy)),
            Knowledge::Unknown | Knowledge::Counted => assert_eq!(left.len(), 2),
        }
        driver.run(at(59 * 60));
        assert!(driver.world.state(&busy).unwrap().is_live(), "{knowledge:?}");
        driver.run(at(62 * 60));
        driver.assert_sound("lifetime");
        assert!(driver.world.state(&busy).is_none_or(|state| !state.is_live()), "{knowledge:?}");
        // Its task waits again, and a new machine takes it.
        driver.run(at(70 * 60));
        assert_eq!(driver.world.queue.pending(&name("linux")), 0, "{knowledge:?}");
    }
}

#[test]
fn past_max_lifetime_a_machine_is_not_counted_as_capacity() {
    let mut linux = worker_type(&["c7g.large"], 4);
    linux.max_lifetime = Some(mins(30));
    linux.idle_timeout = mins(600);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    driver.run(at(31 * 60));
    let aged = plan(&mut driver);
    assert!(aged.actions.is_empty());
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    assert_eq!(plan(&mut driver).actions.len(), 1);
}

#[test]
fn with_an_unknown_demand_machines_are_ended_only_at_twice_max_lifetime() {
    let mut linux = worker_type(&["c7g.large"], 4);
    linux.max_lifetime = Some(mins(30));
    linux.idle_timeout = mins(600);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 1, mins(5));
    driver.run(at(20 * 60));
    driver.world.queue.down = true;
    driver.run(at(58 * 60));
    assert_eq!(driver.world.live().count(), 1);
    driver.run(at(63 * 60));
    driver.assert_sound("lifetime");
    assert_eq!(driver.world.live().count(), 0);
}

#[test]
fn machines_of_a_type_no_longer_configured_are_ended_when_idle_and_only_then() {
    for knowledge in ALL {
        let types =
            [("linux", worker_type(&["c7g.large"], 4)), ("old", worker_type(&["c7g.large"], 4))];
        let mut both = settings(types);
        both.worker_types.get_mut(&name("old")).unwrap().idle_timeout = mins(600);
        let mut driver = crate::stories::with(both, knowledge);
        driver.world.add_tasks(&name("old"), 1, mins(30));
        driver.world.add_tasks(&name("old"), 1, mins(5));
        driver.run(at(10 * 60));
        let mut without = Settings::clone(&driver.settings);
        without.worker_types.remove(&name("old"));
        driver.restart(Arc::new(without));
        driver.run(at(20 * 60));
        driver.assert_sound("retired");
        let live = driver.world.live().count();
        assert_eq!(live, if knowledge == Knowledge::ByInstance { 1 } else { 2 }, "{knowledge:?}");
        driver.run(at(40 * 60));
        driver.assert_sound("retired");
        let live = driver.world.live().count();
        assert_eq!(live, if knowledge == Knowledge::ByInstance { 0 } else { 2 }, "{knowledge:?}");
        // At max-lifetime they are ended, whether or not their tasks are known.
        driver.world.advance(clock::after(driver.world.now, Duration::from_hours(24)));
        round(&mut driver);
        assert_eq!(driver.world.live().count(), 0, "{knowledge:?}");
    }
}

/// Returns a world of five machines that run long tasks and are past their maximum age.
fn five_busy_and_aged() -> Driver {
    let mut linux = worker_type(&["c7g.large"], 5);
    linux.max_lifetime = Some(mins(30));
    linux.idle_timeout = mins(600);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 5, mins(600));
    driver.run(at(31 * 60));
    assert_eq!(driver.world.live().count(), 5);
    driver
}

/// Runs a round after `pause`, as a wake-up brings it.
fn woken(driver: &mut Driver, pause: Duration) -> Plan {
    let next = clock::after(driver.world.now, pause);
    driver.world.advance(next);
    round(driver).plan
}

#[test]
fn running_that_is_empty_for_seconds_ends_no_busy_machine_however_many_wakes_come() {
    let mut driver = five_busy_and_aged();
    driver.world.queue.forgets_running = true;
    for _ in 0..9 {
        let plan = woken(&mut driver, Duration::from_millis(300));
        assert!(named(&plan, ReasonKind::MaxLifetime).is_empty());
    }
    driver.world.queue.forgets_running = false;
    let _ = woken(&mut driver, secs(1));
    assert_eq!(driver.world.live().count(), 5);
    // The same of a worker type that is no longer configured.
    let mut without = Settings::clone(&driver.settings);
    without.worker_types.clear();
    driver.restart(Arc::new(without));
    driver.world.queue.forgets_running = true;
    for _ in 0..9 {
        assert!(woken(&mut driver, Duration::from_millis(300)).actions.is_empty());
    }
}

#[test]
fn when_most_machines_leave_running_at_once_they_are_idle_a_minute_later_than_one_is() {
    for (ended, needed) in [(1, secs(60)), (2, secs(60)), (3, secs(120)), (5, secs(120))] {
        let mut driver = five_busy_and_aged();
        let ids: Vec<_> = driver.world.live().map(|(id, _)| id.clone()).take(ended).collect();
        driver.world.leave_out(ids.clone(), mins(10));
        let first = round(&mut driver);
        assert!(named(&first.plan, ReasonKind::MaxLifetime).is_empty());
        let since = driver.world.now;
        loop {
            // In truth they work on, which the plan cannot know.
            let next = clock::after(driver.world.now, secs(1));
            driver.world.advance(next);
            driver.round();
            let plan = driver.plan.clone();
            let idle = named(&plan, ReasonKind::MaxLifetime);
            let elapsed = clock::age(since, driver.world.now);
            assert_eq!(idle.is_empty(), elapsed < needed, "{ended} left, after {elapsed:?}");
            if !idle.is_empty() {
                assert_eq!(idle.len(), ended);
                break;
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_ahead_makes_no_machine_idle() {
    let mut driver = five_busy_and_aged();
    driver.world.queue.forgets_running = true;
    let _ = woken(&mut driver, secs(1));
    // Between two calls, or EC2 would refuse their signatures.
    driver.world.checks_signatures = false;
    driver.set_clock(jiff::SignedDuration::from_mins(20));
    assert!(named(&woken(&mut driver, secs(1)), ReasonKind::MaxLifetime).is_empty());
    assert!(named(&woken(&mut driver, secs(1)), ReasonKind::MaxLifetime).is_empty());
}

#[test]
fn a_machine_is_idle_only_after_a_minute_and_two_rounds() {
    let types =
        [("linux", worker_type(&["c7g.large"], 4)), ("old", worker_type(&["c7g.large"], 4))];
    let mut both = settings(types);
    both.provisioner.interval = mins(2);
    let mut driver = crate::stories::with(both, Knowledge::ByInstance);
    driver.world.add_tasks(&name("old"), 1, mins(5));
    driver.run(at(3 * 60));
    let id = first(&driver);
    let mut without = Settings::clone(&driver.settings);
    without.worker_types.remove(&name("old"));
    driver.restart(Arc::new(without));
    driver.run(at(4 * 60));
    driver.world.advance(at(8 * 60));
    assert_eq!(driver.world.queue.runs(&id), 0);
    assert!(
        named(&round(&mut driver).plan, ReasonKind::Retired).is_empty(),
        "one observation is too few"
    );
    // The queue fails in between, so that the count begins again.
    driver.world.queue.down = true;
    let _ = woken(&mut driver, mins(2));
    driver.world.queue.down = false;
    assert!(named(&woken(&mut driver, mins(2)), ReasonKind::Retired).is_empty());
    assert_eq!(named(&woken(&mut driver, mins(2)), ReasonKind::Retired), [id.to_string()]);
}

#[test]
fn machines_that_take_several_tasks_are_filled_before_others_are_requested() {
    for knowledge in ALL {
        let mut linux = worker_type(&["c7g.large"], 10);
        linux.tasks_per_instance = 4;
        let mut driver = calm(linux, knowledge);
        driver.world.add_tasks(&name("linux"), 9, mins(600));
        driver.run(at(5 * 60));
        driver.assert_sound("several tasks");
        assert_eq!(driver.world.requests.len(), 3, "{knowledge:?}");
        driver.world.add_tasks(&name("linux"), 3, mins(600));
        driver.run(at(10 * 60));
        assert_eq!(driver.world.requests.len(), 3, "{knowledge:?}");
        assert_eq!(driver.world.queue.pending(&name("linux")), 0);
    }
}

#[test]
fn the_minimum_is_maintained() {
    for knowledge in ALL {
        let mut linux = worker_type(&["c7g.large"], 5);
        linux.min_instances = 2;
        linux.idle_timeout = mins(600);
        let mut driver = calm(linux, knowledge);
        driver.run(at(20 * 60));
        driver.assert_sound("a minimum");
        assert_eq!((driver.world.live().count(), driver.world.requests.len()), (2, 2));
        let id = first(&driver);
        driver.world.end(&id, "instance-terminated-no-capacity");
        driver.run(at(40 * 60));
        assert_eq!(driver.world.live().count(), 2, "{knowledge:?}");
    }
}

#[test]
fn machines_that_keep_the_minimum_take_the_tasks_after_a_quiet_hour() {
    for knowledge in [Knowledge::Counted, Knowledge::ByInstance] {
        let mut linux = worker_type(&["c7g.large"], 5);
        linux.min_instances = 2;
        linux.idle_timeout = mins(600);
        let mut driver = calm(linux, knowledge);
        driver.run(at(60 * 60));
        driver.world.add_tasks(&name("linux"), 2, mins(10));
        // The demand is as the queue showed it before the workers took the tasks.
        driver.world.queue.requeue(&first(&driver));
        assert!(plan(&mut driver).actions.is_empty(), "{knowledge:?}");
    }
}

#[test]
fn broken_machines_that_keep_the_minimum_are_replaced_when_a_task_waits_for_them() {
    let mut linux = worker_type(&["c7g.large"], 3);
    linux.min_instances = 1;
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.faults.never_claims = 100;
    driver.run(at(40 * 60));
    assert_eq!(driver.world.requests.len(), 1);
    driver.world.faults.never_claims = 0;
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    driver.run(at(45 * 60));
    driver.assert_sound("a broken minimum");
    assert_eq!(driver.world.queue.pending(&name("linux")), 0);
    assert_eq!(driver.world.live().count(), 1);
}
