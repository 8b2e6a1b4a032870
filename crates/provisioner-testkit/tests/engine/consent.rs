//! Workers that ask whether to stop.

use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::engine::{LEASE, NoteKind, ReasonKind, WorkerReport};
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::WorkerType;
use provisioner_sim::deployment::{
    at, mins, name, secs, settings, stop_secret, worker_server, worker_type,
};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::Habits;
use provisioner_testkit::Driver;

use crate::stories::{has_note, named, round, with};

const ALL: [Knowledge; 3] = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];

fn linux() -> WorkerType {
    WorkerType { policy: Policy::default(), ..worker_type(&["c7g.large"], 20) }
}

fn asking(linux: WorkerType, knowledge: Knowledge) -> Driver {
    let mut settings = settings([("linux", linux)]);
    settings.server.workers = Some(worker_server());
    with(settings, knowledge)
}

/// Returns a world in which `n` tasks of two minutes have run, and `n` machines are idle.
fn after_work(linux: WorkerType, knowledge: Knowledge, n: u64) -> Driver {
    let mut driver = asking(linux, knowledge);
    driver.world.add_tasks(&name("linux"), n, mins(2));
    while driver.world.queue.served.finished < n {
        step(&mut driver);
    }
    assert_eq!(driver.world.live().count() as u64, n, "{knowledge:?}");
    driver
}

fn step(driver: &mut Driver) -> provisioner::internal::engine::Report {
    let report = round(driver);
    driver.wait(report.wake);
    report
}

/// Runs rounds until a worker has been told to stop.
fn until_promised(driver: &mut Driver) {
    for _ in 0..400 {
        if driver.stop_listener().counts().promised > 0 {
            return;
        }
        step(driver);
    }
    unreachable!("no worker is told to stop: {:?}", driver.stop_listener().counts());
}

#[test]
fn idle_machines_are_ended_when_their_workers_agree_and_no_sooner() {
    for knowledge in ALL {
        let mut driver = after_work(linux(), knowledge, 3);
        let mut ended = Vec::new();
        while driver.world.live().next().is_some() {
            let report = step(&mut driver);
            ended.extend(named(&report.plan, ReasonKind::WorkerAgreed));
            assert!(driver.world.now < at(3 * 3600), "{knowledge:?}");
        }
        assert_eq!(ended.len(), 3, "{knowledge:?}: each by its own word");
        let counts = driver.stop_listener().counts();
        assert_eq!((counts.promised, counts.agreed, counts.lapsed), (3, 3, 0), "{knowledge:?}");
        assert_eq!(driver.world.queue.served.lost_runs, 0);
    }
}

#[test]
fn a_machine_is_ended_in_the_round_after_its_worker_agrees() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 1);
    while driver.stop_listener().counts().agreed == 0 {
        let report = step(&mut driver);
        assert!(named(&report.plan, ReasonKind::WorkerAgreed).is_empty());
    }
    let report = round(&mut driver);
    assert_eq!(named(&report.plan, ReasonKind::WorkerAgreed).len(), 1);
    assert_eq!(driver.world.live().count(), 0);
}

#[test]
fn the_minimum_stays_whichever_workers_ask() {
    for policy in ["adaptive", "basic", "worker-manager"] {
        for knowledge in ALL {
            let kept = WorkerType {
                min_instances: 2,
                idle_timeout: mins(3),
                policy: policy.parse().unwrap(),
                ..linux()
            };
            let mut driver = after_work(kept, knowledge, 5);
            driver.run(at(3 * 3600));
            driver.assert_sound("the minimum");
            assert_eq!(driver.world.live().count(), 2, "{policy}, {knowledge:?}");
            let counts = driver.stop_listener().counts();
            assert_eq!((counts.promised, counts.lapsed), (3, 0), "{policy}, {knowledge:?}");
        }
    }
}

#[test]
fn a_policy_without_a_number_lets_go_after_the_idle_timeout() {
    let basic = WorkerType { policy: Policy::BASIC, idle_timeout: mins(10), ..linux() };
    let mut driver = after_work(basic, Knowledge::ByInstance, 1);
    let idle_since = driver.world.now;
    while driver.world.live().next().is_some() {
        step(&mut driver);
    }
    let idle = provisioner::internal::domain::clock::age(idle_since, driver.world.now);
    assert!(idle >= mins(10) && idle < mins(13), "{idle:?}");
}

#[test]
fn a_worker_that_continues_despite_a_promise_counts_again() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 1);
    driver.world.keep_habits(Habits { goes_on: 100, ..Habits::default() });
    until_promised(&mut driver);
    let report = step(&mut driver);
    let status = &report.plan.worker_types[0];
    assert_eq!((status.idle, status.stopping), (0, 1), "promised: no capacity");
    while !has_note(&round(&mut driver).plan, NoteKind::PromiseLapsed) {
        driver.wait(provisioner::internal::domain::clock::after(driver.world.now, secs(10)));
        assert!(driver.stop_listener().counts().promised <= 1);
    }
    let status = &driver.plan.worker_types[0];
    assert_eq!((status.idle, status.stopping), (1, 0));
    assert_eq!(driver.world.live().count(), 1, "it never said that it stops");
}

#[test]
fn a_machine_that_takes_a_task_after_a_promise_is_not_ended() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 1);
    driver.world.keep_habits(Habits { goes_on: 100, ..Habits::default() });
    until_promised(&mut driver);
    driver.world.add_tasks(&name("linux"), 1, mins(20));
    assert_eq!(driver.world.queue.pending(&name("linux")), 0, "it took it");
    let report = step(&mut driver);
    assert_eq!(report.plan.worker_types[0].busy, 1);
    assert_eq!(driver.stop_listener().counts().withdrawn, 1);
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(15)));
    driver.assert_sound("busy again");
    assert_eq!((driver.world.live().count(), driver.world.queue.running_in_all()), (1, 1));
}

#[test]
fn tasks_that_arrive_after_a_promise_get_the_machine_and_no_other_is_launched() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 1);
    let launched = driver.world.requests.len();
    // The worker is told to stop, and reports that it is stopping only after half a minute.
    driver.world.keep_habits(Habits { dawdles: 100, ..Habits::default() });
    until_promised(&mut driver);
    driver.world.add_tasks(&name("linux"), 1, mins(2));
    assert_eq!(driver.world.queue.pending(&name("linux")), 1, "it takes no more tasks");
    step(&mut driver);
    assert_eq!(driver.stop_listener().counts().withdrawn, 1);
    while driver.world.queue.pending(&name("linux")) > 0 {
        step(&mut driver);
    }
    assert_eq!(driver.world.requests.len(), launched);
    assert_eq!(
        (driver.stop_listener().counts().agreed, driver.stop_listener().counts().too_late),
        (0, 1)
    );
}

#[test]
fn no_worker_stops_while_the_demand_is_unknown() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 2);
    driver.world.queue.down = true;
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(90)));
    driver.assert_sound("unknown demand");
    assert_eq!((driver.world.live().count(), driver.stop_listener().counts().promised), (2, 0));

    driver.world.queue.down = false;
    driver.world.keep_habits(Habits { dawdles: 100, ..Habits::default() });
    until_promised(&mut driver);
    let there = driver.world.live().count();
    driver.world.queue.down = true;
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(30)));
    driver.assert_sound("a promise before the demand was lost");
    assert_eq!(driver.world.live().count(), there);
    assert_eq!(driver.stop_listener().counts().agreed, 0);
}

#[test]
fn a_restart_forgets_promises_and_makes_none_before_they_have_lapsed() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 2);
    driver.world.keep_habits(Habits { dawdles: 100, ..Habits::default() });
    until_promised(&mut driver);
    driver.restart(Arc::clone(&driver.settings));
    let restarted = driver.world.now;
    while driver.stop_listener().counts().promised == 0 {
        step(&mut driver);
    }
    assert!(provisioner::internal::domain::clock::age(restarted, driver.world.now) >= LEASE);
    driver.world.keep_habits(Habits::default());
    driver.run(at(4 * 3600));
    driver.assert_sound("a restart");
    assert_eq!(driver.world.live().count(), 0);
}

#[test]
fn a_worker_that_agreed_with_a_process_that_died_works_again() {
    let mut driver = after_work(linux(), Knowledge::ByInstance, 1);
    while driver.stop_listener().counts().agreed == 0 {
        step(&mut driver);
    }
    driver.crash_at = Some(driver.steps + 1);
    assert!(matches!(driver.round(), provisioner_sim::driver::End::Crashed));
    driver.crash_at = None;
    driver.restart(Arc::clone(&driver.settings));
    driver.world.add_tasks(&name("linux"), 1, mins(2));
    let launched = driver.world.requests.len();
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(5)));
    driver.assert_sound("a crash after the word");
    assert_eq!(driver.world.queue.served.finished, 2);
    assert_eq!(driver.world.requests.len(), launched, "by the machine that was there");
}

#[test]
fn without_knowledge_of_the_queue_workers_show_which_machines_are_idle() {
    let plain = WorkerType { boot_timeout: mins(5), ..linux() };
    let mut driver = after_work(plain, Knowledge::Unknown, 2);
    driver.world.add_tasks(&name("linux"), 1, mins(30));
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(6)));
    let report = round(&mut driver);
    let status = &report.plan.worker_types[0];
    assert_eq!((status.idle, status.busy, status.booting), (1, 1, 0), "{status:?}");
}

#[test]
fn machines_of_a_retired_worker_type_are_ended_when_they_ask() {
    let mut driver = after_work(linux(), Knowledge::Unknown, 2);
    let mut settings = (*driver.settings).clone();
    settings.worker_types.clear();
    driver.restart(Arc::new(settings));
    driver.run(provisioner::internal::domain::clock::after(driver.world.now, mins(10)));
    driver.assert_sound("retired");
    assert_eq!(driver.world.live().count(), 0);
}

#[test]
fn a_surplus_is_ended_at_once_where_workers_consent() {
    let gone = |asks: bool| {
        let mut settings = settings([("linux", linux())]);
        settings.server.workers = asks.then(worker_server);
        let mut driver = with(settings, Knowledge::ByInstance);
        driver.world.add_tasks(&name("linux"), 10, mins(5));
        driver.run(at(600));
        let done = driver.world.now;
        while driver.world.live().next().is_some() {
            step(&mut driver);
        }
        provisioner::internal::domain::clock::age(done, driver.world.now)
    };
    let (asked, alone) = (gone(true), gone(false));
    assert!(asked + Duration::from_mins(2) < alone, "{asked:?} instead of {alone:?}");
}

#[test]
fn repeated_calls_hold_the_same_token() {
    let mut driver = asking(linux(), Knowledge::ByInstance);
    driver.world.faults.lost_after = 100;
    driver.world.add_tasks(&name("linux"), 1, mins(2));
    round(&mut driver);
    let before = driver.engine.ledger().intents.clone();
    assert!(before.values().all(|intent| intent.call.user_data.is_some()) && before.len() == 1);
    driver.restart(Arc::clone(&driver.settings));
    assert_eq!(driver.engine.ledger().intents, before);
    driver.world.faults.lost_after = 0;
    // EC2 would refuse a different token as a mismatch, and another instance would be launched.
    driver.run(at(600));
    assert_eq!((driver.world.requests.len(), driver.world.queue.served.finished), (1, 1));
}

#[test]
fn a_worker_that_asks_and_never_takes_a_task_is_not_capacity() {
    for knowledge in ALL {
        let broken = WorkerType { boot_timeout: mins(5), ..linux() };
        let mut driver = asking(broken, knowledge);
        driver.world.faults.never_claims = 100;
        driver.world.add_tasks(&name("linux"), 1, mins(10));
        while driver.world.calls.len() < 2 {
            let call = driver.world.live().next().and_then(|(_, machine)| machine.call.clone());
            let id = driver.world.live().next().map(|(id, _)| id.clone());
            if let (Some(call), Some(id)) = (call, id) {
                let token = stop_secret().token(&call.token);
                let from = driver.world.machines.get(&id).unwrap().truth().addresses[0];
                let now = driver.world.now;
                let _ = driver.stop_listener().hear(&id, &token, from, WorkerReport::Idle, now);
            }
            step(&mut driver);
            assert!(driver.world.now < at(900), "{knowledge:?}: the task waits for ever");
        }
        assert!(driver.world.now > at(300), "{knowledge:?}: not before it can have booted");
    }
}
