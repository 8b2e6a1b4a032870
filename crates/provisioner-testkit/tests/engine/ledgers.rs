//! What the ledger knows: what was spent, which launches are ours, and what a clock that is off must not change.

use std::sync::Arc;

use jiff::SignedDuration;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{ClientToken, InstanceType};
use provisioner::internal::domain::ledger::{Ledger, LedgerId};
use provisioner::internal::domain::money::{Usd, UsdPerHour};
use provisioner::internal::domain::observed::OwnTags;
use provisioner::internal::engine::NoteKind;
use provisioner::internal::settings::Settings;

use crate::stories::{calm, has_note, round};
use provisioner_sim::deployment::{at, key, mins, name, secs, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;
use provisioner_testkit::Driver;

fn linux() -> Driver {
    calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance)
}

fn restart(driver: &mut Driver) {
    let settings = Arc::clone(&driver.settings);
    driver.restart(settings);
}

/// Sets the clock where no call notices: EC2 refuses those that are signed with a clock that is far off, so that
/// there would be nothing to decide. A clock that is set between two calls is not noticed.
fn set_clock_between_calls(driver: &mut Driver, ahead: SignedDuration) {
    driver.world.checks_signatures = false;
    driver.set_clock(ahead);
}

fn run_for(driver: &mut Driver, time: std::time::Duration) {
    let until = clock::after(driver.world.now, time);
    driver.run(until);
}

fn spent(driver: &Driver) -> Usd {
    driver.engine.ledger().spending.on_day_of(driver.clock())
}

/// Returns a world in which three machines have run for two hours under a limit per day.
fn two_hours_of_three() -> Driver {
    let mut driver = linux();
    let mut settings = Settings::clone(&driver.settings);
    settings.limits.max_usd_per_day = Some(Usd::from_dollars(100.0).unwrap());
    restart_under(&mut driver, settings);
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    driver.run(at(2 * 3600));
    assert!(spent(&driver) > Usd::from_dollars(0.5).unwrap(), "{}", spent(&driver));
    driver
}

fn restart_under(driver: &mut Driver, settings: Settings) {
    driver.restart(Arc::new(settings));
}

#[test]
fn what_was_spent_survives_the_loss_of_the_ledger_or_of_the_soft_state() {
    for loses_ledger in [false, true] {
        let mut driver = two_hours_of_three();
        // A machine of which EC2 shows nothing any more has cost, too.
        let before = spent(&driver);
        if loses_ledger {
            driver.disk.ledger = None;
        } else {
            driver.disk.memory = None;
        }
        restart(&mut driver);
        let report = round(&mut driver);
        let now = spent(&driver);
        assert!(now.plus(Usd::from_dollars(0.02).unwrap()) >= before, "{now} of {before}");
        assert!(now <= before.plus(Usd::from_dollars(0.05).unwrap()), "{now} of {before}");
        assert!(!has_note(&report.plan, NoteKind::SpendingLowerBound));
    }
}

#[test]
fn when_both_are_lost_what_ec2_still_shows_counts_and_is_said_to_be_a_lower_bound() {
    let mut driver = two_hours_of_three();
    let before = spent(&driver);
    let id = driver.world.live().next().unwrap().0.clone();
    driver.world.end(&id, "instance-terminated-no-capacity");
    driver.disk.memory = None;
    driver.disk.ledger = None;
    restart(&mut driver);
    let report = round(&mut driver);
    assert!(spent(&driver) >= before, "{} of {before}: the ended one counts too", spent(&driver));
    assert!(has_note(&report.plan, NoteKind::SpendingLowerBound));
    assert!(!has_note(&round(&mut linux()).plan, NoteKind::SpendingLowerBound), "nothing was lost");
}

#[test]
fn one_round_with_the_clock_a_day_off_opens_no_limit() {
    for hours in [24, -24, 48] {
        let mut driver = two_hours_of_three();
        let before = spent(&driver);
        set_clock_between_calls(&mut driver, SignedDuration::from_hours(hours));
        let _ = driver.round();
        driver.set_clock(SignedDuration::ZERO);
        run_for(&mut driver, secs(20));
        let after = spent(&driver);
        assert!(
            after >= before && after <= before.plus(Usd::from_dollars(0.02).unwrap()),
            "{hours}: {after}, {before} before"
        );
    }
}

#[test]
fn the_ledger_on_disk_is_never_far_behind_what_was_spent() {
    let mut driver = two_hours_of_three();
    driver.run(at(3 * 3600));
    let on_disk = driver.disk.ledger.as_ref().unwrap().spending.on_day_of(driver.clock());
    let two_minutes = UsdPerHour::from_dollars(0.3).unwrap().over(mins(2));
    assert!(on_disk.plus(two_minutes) >= spent(&driver), "{on_disk} of {}", spent(&driver));
}

#[test]
fn a_hold_that_began_two_days_ahead_ends_when_the_clock_is_right_again() {
    let mut driver = linux();
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    set_clock_between_calls(&mut driver, SignedDuration::from_hours(48));
    driver.disk.ledger = None;
    restart(&mut driver);
    run_for(&mut driver, secs(30));
    driver.set_clock(SignedDuration::ZERO);
    run_for(&mut driver, mins(6));
    assert_eq!(driver.world.queue.pending(&name("linux")), 0);
}

#[test]
fn pauses_and_cool_downs_learned_two_days_ahead_hold_nothing_up_afterwards() {
    for restarts in [false, true] {
        let mut driver = linux();
        driver.world.add_tasks(&name("linux"), 2, mins(600));
        set_clock_between_calls(&mut driver, SignedDuration::from_hours(48));
        driver.world.refused.insert(name("linux"), "InvalidParameterValue".to_owned());
        run_for(&mut driver, mins(3));
        driver.world.refused.clear();
        driver.set_clock(SignedDuration::ZERO);
        if restarts {
            restart(&mut driver);
        }
        run_for(&mut driver, mins(12));
        driver.assert_sound("a clock that was ahead");
        assert_eq!(driver.world.queue.pending(&name("linux")), 0);
    }
}

#[test]
fn a_few_rounds_with_the_clock_ahead_forget_no_launch_on_its_way() {
    for lost_after in [0, 100] {
        let mut driver = linux();
        driver.world.faults.lag = mins(4);
        driver.world.faults.lost_after = lost_after;
        driver.world.add_tasks(&name("linux"), 3, mins(600));
        let _ = driver.round();
        driver.world.faults.lost_after = 0;
        set_clock_between_calls(&mut driver, SignedDuration::from_hours(48));
        for _ in 0..3 {
            let next = clock::after(driver.world.now, secs(10));
            driver.world.advance(next);
            let _ = driver.round();
        }
        driver.set_clock(SignedDuration::ZERO);
        run_for(&mut driver, mins(10));
        driver.assert_sound("a clock that was ahead");
        assert_eq!(driver.world.requests.len(), 3, "lost {lost_after}");
    }
}

#[test]
fn an_unanswered_launch_that_the_configuration_has_withdrawn_is_waited_out() {
    type Change = fn(&mut Driver, &mut Settings);
    let changes: [(&str, Change); 4] = [
        ("nothing", |_, _| {}),
        ("image", |driver, _| {
            for resolved in driver.resolved.values_mut().flatten() {
                resolved.image_id = "ami-0000000000000new1".to_owned();
            }
        }),
        ("type", |_, settings| {
            let linux = settings.worker_types.get_mut(&name("linux")).unwrap();
            linux.instance_types = vec![InstanceType::from("m7g.large")];
        }),
        ("price", |_, settings| {
            let linux = settings.worker_types.get_mut(&name("linux")).unwrap();
            linux.max_price = Some(UsdPerHour::from_dollars(0.05).unwrap());
        }),
    ];
    for (what, change) in changes {
        let mut driver = linux();
        driver.world.faults.lost_before = 100;
        driver.world.add_tasks(&name("linux"), 1, mins(600));
        let _ = round(&mut driver);
        let unanswered = driver.engine.ledger().intents.values().next().unwrap().call.clone();
        driver.world.faults.lost_before = 0;
        let mut settings = Settings::clone(&driver.settings);
        change(&mut driver, &mut settings);
        driver.reconfigure(Arc::new(settings));
        run_for(&mut driver, mins(4));
        let repeated =
            driver.world.requests.iter().any(|request| request.call.token == unanswered.token);
        assert_eq!(repeated, what == "nothing", "{what}");
        assert_eq!(has_note(&driver.plan, NoteKind::Unanswered), what != "nothing", "{what}");
        run_for(&mut driver, mins(3));
        driver.assert_sound("withdrawn");
        assert_eq!(driver.world.requests.len(), 1, "{what}: asked for as configured now");
        assert_eq!(driver.world.queue.pending(&name("linux")), 0, "{what}");
    }
}

#[test]
fn a_clock_that_is_two_days_ahead_for_some_rounds_ends_no_busy_machine() {
    let mut linux = worker_type(&["c7g.large"], 10);
    linux.max_lifetime = Some(mins(24 * 60));
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    driver.run(at(20 * 60));
    set_clock_between_calls(&mut driver, SignedDuration::from_hours(49));
    run_for(&mut driver, mins(1));
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    run_for(&mut driver, mins(5));
    driver.set_clock(SignedDuration::ZERO);
    run_for(&mut driver, mins(5));
    driver.assert_sound("a clock that was ahead");
    assert_eq!((driver.world.live().count(), driver.world.requests.len()), (4, 4));
}

/// Launches an instance as a daemon with another ledger does.
fn launched_elsewhere(world: &mut World, ledger: &LedgerId) {
    let uuid = "01a2076b-4400-7001-8000-000000000001";
    let tags = OwnTags {
        key_name: Some(key()),
        worker_type: Some(name("linux")),
        intent: Some(ClientToken::new(format!("{ledger}-{uuid}"))),
    };
    world.launch(&key(), Some(name("linux")), InstanceType::from("c7g.large"), tags, false);
}

fn other() -> LedgerId {
    LedgerId::new(0xdead_beef)
}

/// Adds a task that no machine can take, and returns whether a machine is asked for it in the next round.
fn asks_for_more(driver: &mut Driver) -> bool {
    let before = driver.world.requests.len();
    let free = driver.world.live().count() as u64 + 1;
    driver.world.add_tasks(&name("linux"), free, mins(600));
    let _ = round(driver);
    driver.world.requests.len() > before
}

#[test]
fn a_daemon_beside_another_one_holds_its_launches_and_says_so() {
    let mut driver = linux();
    run_for(&mut driver, mins(6));
    launched_elsewhere(&mut driver.world, &other());
    let report = round(&mut driver);
    let note = report.plan.notes.iter().find(|note| note.kind == NoteKind::OtherDaemon).unwrap();
    assert!(note.text.contains(&other().to_string()) && note.text.contains("--assume-alone"));
    assert!(report.incomplete);
    assert!(!asks_for_more(&mut driver));
    // It goes on.
    run_for(&mut driver, mins(4));
    launched_elsewhere(&mut driver.world, &other());
    run_for(&mut driver, mins(4));
    assert!(has_note(&driver.plan, NoteKind::OtherDaemon));
    // It has ended.
    run_for(&mut driver, mins(2));
    assert!(!has_note(&driver.plan, NoteKind::OtherDaemon));
    assert!(asks_for_more(&mut driver), "five minutes after the last launch of the other");
}

#[test]
fn an_operator_may_say_that_there_is_no_other_daemon() {
    let mut driver = linux();
    driver.engine.assume_alone();
    run_for(&mut driver, mins(6));
    launched_elsewhere(&mut driver.world, &other());
    assert!(asks_for_more(&mut driver));
}

#[test]
fn two_daemons_on_two_hosts_do_not_go_on_beside_each_other() {
    let mut here = linux();
    let mut there = linux();
    there.disk.ledger = Some(Ledger { id: Some(other()), ..Ledger::default() });
    restart(&mut there);
    // Both count what the other shows, but late: both ask for the same tasks.
    here.world.faults.lag = mins(4);
    let mut held = false;
    for i in 0..90 {
        if i % 6 == 0 {
            here.world.add_tasks(&name("linux"), 1, mins(600));
        }
        let _ = here.round();
        held |= has_note(&here.plan, NoteKind::OtherDaemon);
        std::mem::swap(&mut here.world, &mut there.world);
        let _ = there.round();
        held |= has_note(&there.plan, NoteKind::OtherDaemon);
        std::mem::swap(&mut here.world, &mut there.world);
        let next = clock::after(here.world.now, secs(10));
        here.world.advance(next);
    }
    assert!(held, "the first that sees the other holds its launches");
}

#[test]
fn a_restored_backup_a_moved_host_and_a_rolling_change_stop_no_launch() {
    // The host was moved, and its state with it: the same ledger.
    let mut driver = linux();
    assert!(asks_for_more(&mut driver));
    restart(&mut driver);
    assert!(asks_for_more(&mut driver));
    // A backup was restored, or the state was left behind: the machines are of another ledger.
    driver.disk.ledger = Some(Ledger { id: Some(other()), ..Ledger::default() });
    restart(&mut driver);
    run_for(&mut driver, secs(30));
    assert!(has_note(&driver.plan, NoteKind::EarlierLedger));
    assert!(asks_for_more(&mut driver));
    // The old host goes on for some minutes while the new one begins.
    let mut driver = linux();
    run_for(&mut driver, mins(4));
    launched_elsewhere(&mut driver.world, &other());
    assert!(asks_for_more(&mut driver));
}

#[test]
fn copied_tags_stop_launches_for_the_visibility_window_at_most() {
    let mut driver = linux();
    run_for(&mut driver, mins(20));
    let ours = driver.engine.ledger().id.clone().unwrap();
    launched_elsewhere(&mut driver.world, &ours);
    assert!(asks_for_more(&mut driver), "a copy of a machine of ours");
    launched_elsewhere(&mut driver.world, &other());
    assert!(!asks_for_more(&mut driver), "a copy of a machine of long ago");
    run_for(&mut driver, mins(5));
    assert!(asks_for_more(&mut driver));
}
