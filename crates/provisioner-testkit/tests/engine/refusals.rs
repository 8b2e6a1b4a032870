//! How refusals are answered: the next pool in the same round, memory that grows and never excludes the
//! only option, quotas, and broken worker types that stop no other.

use std::collections::BTreeSet;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::refusal::{Refusal, RefusalClass};
use provisioner::internal::engine::memory;
use provisioner::internal::engine::{Effect, Note, NoteKind, Outcome, Report, StopConsent};

use crate::stories::{ZONES, calm, has_note, round, with};
use provisioner_sim::deployment::{at, mins, name, secs, settings, worker_type};
use provisioner_sim::driver::Read;
use provisioner_sim::queue::Knowledge;
use provisioner_testkit::Driver;

/// Returns the launching calls since `from`, with their pools, counts and answers.
fn asked(driver: &Driver, from: usize) -> Vec<(String, u32, String)> {
    let calls = driver.world.calls[from..].iter();
    calls.map(|call| (call.pool.to_string(), call.count, call.answer.clone())).collect()
}

fn times(driver: &Driver) -> Vec<u64> {
    let calls = driver.world.calls.iter();
    calls.map(|call| clock::age(provisioner_sim::deployment::start(), call.at).as_secs()).collect()
}

/// Runs rounds until `until`, at the times that the engine requests.
fn rounds(driver: &mut Driver, until: u64) -> Vec<Report> {
    let mut reports = Vec::new();
    while driver.world.now < at(until) {
        let report = round(driver);
        driver.wait(report.wake);
        reports.push(report);
    }
    reports
}

#[test]
fn each_pool_is_asked_once_in_a_round_in_order_of_preference() {
    let mut driver = calm(worker_type(&["c7g.large", "m7g.large"], 10), Knowledge::ByInstance);
    for pool in ["c7g.large in us-west-2a", "c7g.large in us-west-2b", "m7g.large in us-west-2a"] {
        driver.world.pools.dry.insert(pool.to_owned());
    }
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    let report = round(&mut driver);
    let no = "InsufficientInstanceCapacity".to_owned();
    assert_eq!(
        asked(&driver, 0),
        [
            ("c7g.large in us-west-2a".to_owned(), 3, no.clone()),
            ("c7g.large in us-west-2b".to_owned(), 3, no.clone()),
            ("m7g.large in us-west-2a".to_owned(), 3, no),
            ("m7g.large in us-west-2b".to_owned(), 3, "3 granted".to_owned()),
        ]
    );
    // A refusal makes the next round come soon. Another pool served the request, so nothing was withheld.
    assert_eq!(report.wake, clock::after(driver.world.now, secs(1)));
    assert!(!report.incomplete);
}

#[test]
fn the_rest_of_a_partial_grant_is_requested_elsewhere() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver.world.faults.partial = 100;
    driver.world.add_tasks(&name("linux"), 8, mins(600));
    round(&mut driver);
    let asked = asked(&driver, 0);
    let granted: usize = driver.world.requests.len();
    let pools: BTreeSet<_> = asked.iter().map(|(pool, ..)| pool).collect();
    assert_eq!(pools.len(), asked.len(), "a pool was asked twice: {asked:?}");
    if let [(_, first, said), (_, second, _)] = asked.as_slice() {
        let got: u32 = said.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(*second, first - got);
    }
    assert!(granted <= 8);
    rounds(&mut driver, 60);
    assert_eq!(driver.world.requests.len(), 8);
}

#[test]
fn all_pools_refuse_and_each_is_asked_at_most_once_a_round() {
    let mut driver = calm(worker_type(&["c7g.large", "m7g.large"], 10), Knowledge::ByInstance);
    for zone in ZONES {
        driver.world.pools.dry.insert(format!("c7g.large in {zone}"));
        driver.world.pools.dry.insert(format!("m7g.large in {zone}"));
    }
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    let mut longest = 0;
    let mut from = 0;
    let mut last = 0;
    while driver.world.now < at(60 * 60) {
        let report = round(&mut driver);
        let asked = asked(&driver, from);
        from = driver.world.calls.len();
        let pools: BTreeSet<_> = asked.iter().map(|(pool, ..)| pool).collect();
        assert_eq!(pools.len(), asked.len(), "a pool was asked twice in a round");
        if asked.is_empty() {
            assert!(has_note(&report.plan, NoteKind::CoolingDown), "no reason: {:?}", report.plan);
            assert!(report.incomplete);
        } else {
            let now = clock::age(provisioner_sim::deployment::start(), driver.world.now).as_secs();
            longest = longest.max(now - last);
            last = now;
        }
        driver.wait(report.wake);
    }
    assert!(longest <= 61, "starved for {longest} s");
    // The four pools are not hammered either: each may be asked once a minute.
    assert!(
        driver.world.calls.len() < 4 * 70 + 20,
        "{} calls in an hour",
        driver.world.calls.len()
    );
}

#[test]
fn the_only_option_is_tried_again_within_a_minute_at_growing_pauses() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver
        .resolved
        .insert(name("linux"), Ok(provisioner_sim::deployment::resolved(&["us-west-2a"])));
    driver.world.pools.dry.insert("c7g.large in us-west-2a".to_owned());
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    rounds(&mut driver, 30 * 60);
    let times = times(&driver);
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause <= 61), "starved: {pauses:?}");
    assert!(pauses.is_sorted_by(|a, b| a <= b || a.abs_diff(*b) <= 10), "{pauses:?}");
    assert!(pauses.last().unwrap() >= &50, "no growing: {pauses:?}");
    driver.world.pools.dry.clear();
    rounds(&mut driver, 30 * 60 + 62);
    assert_eq!(driver.world.requests.len(), 1);
}

#[test]
fn a_pool_that_refused_is_passed_over_for_longer_each_time() {
    let mut driver = calm(worker_type(&["c7g.large"], 500), Knowledge::ByInstance);
    driver.world.pools.dry.insert("c7g.large in us-west-2a".to_owned());
    // One more task arrives every ten seconds. The second zone takes them, and the first is tried
    // now and then.
    for second in (0..3000).step_by(10) {
        driver.world.add_tasks(&name("linux"), 1, mins(600));
        rounds(&mut driver, second + 10);
    }
    let refused: Vec<_> = driver
        .world
        .calls
        .iter()
        .filter(|call| call.pool.to_string() == "c7g.large in us-west-2a")
        .map(|call| clock::age(provisioner_sim::deployment::start(), call.at).as_secs())
        .collect();
    let pauses: Vec<_> = refused.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 4, "{refused:?}");
    for pair in pauses.windows(2) {
        assert!(pair[1] + 11 >= (pair[0] * 2).min(600), "{pauses:?}");
    }
    assert!(pauses.iter().all(|pause| *pause <= 612), "{pauses:?}");
    assert!(driver.world.queue.pending(&name("linux")) < 20);
}

#[test]
fn a_quota_halves_the_count_down_to_one_and_then_closes_its_group_alone() {
    let types = [
        ("compute", worker_type(&["c7g.large", "c7a.large"], 50)),
        ("graphics", worker_type(&["g5.xlarge"], 50)),
    ];
    let mut driver = with(settings(types), Knowledge::ByInstance);
    driver.world.quotas.insert('c', 6);
    driver.world.add_tasks(&name("compute"), 20, mins(600));
    driver.world.add_tasks(&name("graphics"), 5, mins(600));
    let report = round(&mut driver);
    let counts: Vec<_> = asked(&driver, 0)
        .iter()
        .filter(|(pool, ..)| pool.starts_with('c'))
        .map(|(_, count, said)| (*count, said.ends_with("granted")))
        .collect();
    assert_eq!(
        counts,
        [(20, false), (10, false), (5, true), (5, false), (2, false), (1, true), (1, false)]
    );
    assert!(has_note(&report.plan, NoteKind::QuotaExceeded));
    assert!(report.incomplete);
    assert_eq!(driver.world.count(&name("graphics")), 5);

    // It is tried again, at growing pauses, and used as soon as there is more.
    let before = driver.world.calls.len();
    rounds(&mut driver, 20 * 60);
    let tries = driver.world.calls.len() - before;
    assert!((2..=100).contains(&tries), "{tries}");
    driver.world.quotas.clear();
    rounds(&mut driver, 32 * 60);
    assert_eq!(driver.world.queue.pending(&name("compute")), 0);
}

#[test]
fn after_one_quota_is_used_up_the_rest_is_requested_under_another() {
    let mut driver = calm(worker_type(&["c7g.large", "g5.xlarge"], 50), Knowledge::ByInstance);
    driver.world.quotas.insert('c', 0);
    driver.world.add_tasks(&name("linux"), 16, mins(600));
    round(&mut driver);
    let last = asked(&driver, 0).pop().unwrap();
    assert_eq!(
        (last.0.as_str(), last.1),
        ("g5.xlarge in us-west-2a", 16),
        "{:?}",
        asked(&driver, 0)
    );
}

#[test]
fn broken_worker_types_stop_no_other() {
    let types = ["bad", "broken", "good", "unauthorized", "unresolved"]
        .map(|name| (name, worker_type(&["c7g.large"], 50)));
    let mut driver = with(settings(types), Knowledge::ByInstance);
    driver.world.bad.insert(name("bad"));
    driver.world.refused.insert(name("broken"), "InvalidParameterValue".to_owned());
    driver.world.refused.insert(name("unauthorized"), "UnauthorizedOperation".to_owned());
    driver.resolved.insert(name("unresolved"), Err("there is no parameter `/ami`".to_owned()));
    for worker_type in ["bad", "broken", "good", "unauthorized", "unresolved"] {
        driver.world.add_tasks(&name(worker_type), 2, mins(600));
    }
    let report = round(&mut driver);
    assert!(has_note(&report.plan, NoteKind::Unresolved));
    assert_eq!(driver.world.count(&name("good")), 2);
    let reports = rounds(&mut driver, 30 * 60);
    assert_eq!(driver.world.queue.pending(&name("good")), 0);

    // The others are paused, and their notes repeat EC2's message.
    let last = &reports.last().unwrap().plan;
    for (worker_type, code) in [
        ("bad", "bad-parameters"),
        ("broken", "InvalidParameterValue"),
        ("unauthorized", "UnauthorizedOperation"),
    ] {
        let paused = last.notes.iter().find(|note| {
            note.kind == NoteKind::Paused && note.worker_type == Some(name(worker_type))
        });
        let paused = paused.unwrap_or_else(|| panic!("`{worker_type}` is not paused: {last:?}"));
        assert!(paused.text.contains(code), "{}", paused.text);
    }
}

#[test]
fn three_failures_pause_and_the_pauses_double() {
    for spot_status in [false, true] {
        let mut driver = calm(worker_type(&["c7g.large"], 50), Knowledge::ByInstance);
        if spot_status {
            driver.world.bad.insert(name("linux"));
        } else {
            driver.world.refused.insert(name("linux"), "InvalidAMIID.NotFound".to_owned());
        }
        driver.world.add_tasks(&name("linux"), 3, mins(600));
        rounds(&mut driver, 70 * 60);
        let times = times(&driver);
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[..2].iter().all(|pause| *pause <= 30), "{pauses:?}");
        for (pause, expected) in pauses[2..].iter().zip([60, 120, 240, 480, 960]) {
            assert!((expected..=expected + 30).contains(pause), "{pauses:?}");
        }
        // Once it is fixed, the next attempt succeeds, and the count begins again.
        driver.world.bad.clear();
        driver.world.refused.clear();
        rounds(&mut driver, 130 * 60);
        assert_eq!(driver.world.queue.pending(&name("linux")), 0);
        assert!(memory::failing_worker_types(driver.engine.memory()).next().is_none());
    }
}

#[test]
fn throttling_makes_pauses_and_loses_nothing() {
    let mut driver = calm(worker_type(&["c7g.large"], 50), Knowledge::ByInstance);
    driver.world.faults.throttled = 100;
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    rounds(&mut driver, 10 * 60);
    assert!(driver.world.calls.is_empty());
    let tried = driver.story().iter().filter(|line| line.contains(" request 3 c7g")).count();
    assert!((8..=30).contains(&tried), "{tried} tries in ten minutes");
    driver.world.faults.throttled = 0;
    rounds(&mut driver, 12 * 60);
    assert_eq!(driver.world.requests.len(), 3);
}

fn five_requests_that_no_task_needs() -> (Driver, Read) {
    let mut driver = calm(worker_type(&["c7g.large"], 50), Knowledge::ByInstance);
    driver.world.faults.never_filled = 100;
    driver.world.add_tasks(&name("linux"), 5, mins(600));
    round(&mut driver);
    driver.world.advance(at(10));
    driver.world.queue.withdraw(&name("linux"), 0);
    let read = driver.read().unwrap();
    (driver, read)
}

#[test]
fn one_bad_id_does_not_stop_a_bulk_call() {
    let (mut driver, read) = five_requests_that_no_task_needs();
    let inputs = read.inputs(&driver.resolved, driver.world.now);
    let now = driver.world.now;
    let mut round = driver.engine.begin_round(inputs, &mut StopConsent::default(), now);
    driver.world.faults.bulk_not_found = 100;
    let second = driver.world.requests.iter().nth(1).unwrap().truth().id.clone();
    driver.world.forget_request(&second);
    let mut calls = 0;
    while let Some(effect) = round.next_effect(driver.world.now) {
        let outcome = driver.world.execute(&effect);
        calls += u32::from(matches!(effect, Effect::Cancel(_)));
        round.outcome(outcome, driver.world.now);
    }
    let report = round.end(driver.world.now);
    assert_eq!((calls, driver.world.open().count()), (2, 0));
    assert!(!report.incomplete);
}

/// An IAM policy with tag conditions denies one untagged request, and EC2 then denies the complete call.
#[test]
fn a_request_that_a_policy_denies_does_not_stop_a_bulk_call() {
    let (mut driver, read) = five_requests_that_no_task_needs();
    let inputs = read.inputs(&driver.resolved, driver.world.now);
    let now = driver.world.now;
    let mut round = driver.engine.begin_round(inputs, &mut StopConsent::default(), now);
    let second = driver.world.requests.iter().nth(1).unwrap().truth().id.clone();
    while let Some(effect) = round.next_effect(driver.world.now) {
        let outcome = match &effect {
            Effect::Cancel(ids) if ids.contains(&second) => Outcome::Refused(Refusal {
                class: RefusalClass::Unauthorized,
                code: "UnauthorizedOperation".to_owned(),
                message: format!("not authorized on arn:aws:ec2:::spot-instances-request/{second}"),
                request_id: None,
            }),
            _ => driver.world.execute(&effect),
        };
        round.outcome(outcome, driver.world.now);
    }
    let report = round.end(driver.world.now);
    let open: Vec<_> = driver.world.open().map(|request| request.id.clone()).collect();
    assert_eq!(open, [second]);
    assert!(report.incomplete);
}

#[test]
fn a_request_that_cannot_be_filled_is_moved_after_half_a_minute() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver.world.pools.free.insert("c7g.large in us-west-2a".to_owned(), 0);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    rounds(&mut driver, 29);
    assert_eq!(driver.world.calls.len(), 1);
    rounds(&mut driver, 60);
    assert_eq!(driver.world.calls.len(), 2);
    assert_eq!(driver.world.calls[1].pool.to_string(), "c7g.large in us-west-2b");
    assert_eq!(driver.world.live().count(), 2);
    assert_eq!(driver.world.open().count(), 0);
}

#[test]
fn a_request_that_cannot_be_filled_waits_where_there_is_nothing_else() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver
        .resolved
        .insert(name("linux"), Ok(provisioner_sim::deployment::resolved(&["us-west-2a"])));
    driver.world.pools.free.insert("c7g.large in us-west-2a".to_owned(), 0);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    let reports = rounds(&mut driver, 5 * 60);
    assert_eq!(driver.world.calls.len(), 1);
    assert!(has_note(&reports.last().unwrap().plan, NoteKind::WaitingForCapacity));
    driver.world.pools.free.clear();
    rounds(&mut driver, 6 * 60);
    assert_eq!(driver.world.live().count(), 2);
}

#[test]
fn failures_are_counted_in_a_row_and_a_successful_launch_ends_the_row() {
    for knowledge in [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance] {
        let mut linux = worker_type(&["c7g.large"], 50);
        linux.boot_timeout = mins(3);
        let mut driver = calm(linux, knowledge);
        for time in 0..5 {
            // Two launches fail, and the third succeeds.
            driver.world.refused.insert(name("linux"), "InvalidAMIID.NotFound".to_owned());
            driver.world.add_tasks(&name("linux"), 1, mins(600));
            let begun = driver.world.calls.len();
            while driver.world.calls.len() < begun + 2 {
                let report = round(&mut driver);
                driver.wait(report.wake);
            }
            driver.world.refused.clear();
            rounds(&mut driver, (time + 1) * 1200);
            assert!(
                memory::failing_worker_types(driver.engine.memory()).next().is_none(),
                "{knowledge:?}"
            );
            assert_eq!(driver.world.queue.pending(&name("linux")), 0, "{knowledge:?}, {time}");
        }
    }
}

#[test]
fn instances_that_start_and_never_claim_count_as_failures_in_a_row() {
    let mut linux = worker_type(&["c7g.large"], 1);
    linux.boot_timeout = mins(5);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.faults.never_claims = 100;
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    let reports = rounds(&mut driver, 4 * 3600);
    assert!((4..=12).contains(&driver.world.calls.len()), "{} launches", driver.world.calls.len());
    assert!(reports.iter().any(|report| has_note(&report.plan, NoteKind::Paused)));
}

/// Returns a world of two worker types with the instance profile `fresh` and three tasks each, and another
/// with the profile `old`.
fn with_profile() -> Driver {
    let of_profile = |profile: &str| {
        let mut of_profile = worker_type(&["c7g.large"], 50);
        of_profile.iam_instance_profile = Some(profile.to_owned());
        of_profile
    };
    let types = [("linux", "fresh"), ("more", "fresh"), ("other", "old")]
        .map(|(name, profile)| (name, of_profile(profile)));
    let mut driver = with(settings(types), Knowledge::ByInstance);
    driver.world.unknown_profiles.insert("fresh".to_owned());
    for worker_type in ["linux", "more"] {
        driver.world.add_tasks(&name(worker_type), 3, mins(600));
    }
    driver
}

#[test]
fn a_fresh_instance_profile_is_waited_for() {
    let mut driver = with_profile();
    let first = round(&mut driver);
    // One call suffices for all worker types with that profile, and the note of each names the profile.
    assert_eq!(driver.world.calls.len(), 1, "{:?}", asked(&driver, 0));
    for worker_type in ["linux", "more"] {
        let waits = |note: &&Note| note.worker_type == Some(name(worker_type));
        let note = first.plan.notes.iter().find(waits).expect(worker_type);
        assert_eq!(note.kind, NoteKind::ProfileNotVisible);
        assert!(note.text.contains("`fresh`"), "{}", note.text);
    }
    assert!(first.incomplete);
    driver.wait(first.wake);

    let reports = rounds(&mut driver, 4 * 60);
    assert!((10..=25).contains(&driver.world.calls.len()), "{} calls", driver.world.calls.len());
    assert!(reports.iter().all(|report| has_note(&report.plan, NoteKind::ProfileNotVisible)));
    assert!(memory::failing_worker_types(driver.engine.memory()).next().is_none());

    driver.world.unknown_profiles.clear();
    rounds(&mut driver, 4 * 60 + 12);
    assert_eq!(driver.world.requests.len(), 6);
    rounds(&mut driver, 6 * 60);
    let learned = driver.engine.memory();
    assert!(memory::unknown_profiles(learned).next().is_none(), "{learned:?}");
    assert!(memory::failing_worker_types(learned).next().is_none(), "{learned:?}");
}

#[test]
fn a_profile_that_stays_unknown_is_a_mistake() {
    let mut driver = with_profile();
    let reports = rounds(&mut driver, 30 * 60);
    for worker_type in ["linux", "more"] {
        let of_type = |note: &&Note| note.worker_type == Some(name(worker_type));
        let note = reports.last().unwrap().plan.notes.iter().find(of_type).expect(worker_type);
        assert_eq!(note.kind, NoteKind::Paused);
        for words in ["Invalid IAM Instance Profile", "iam-instance-profile", "validate --aws"] {
            assert!(note.text.contains(words), "{}", note.text);
        }
    }
    // It is tried every ten seconds for five minutes, then at growing pauses.
    assert!(driver.world.calls.len() < 60, "{} calls", driver.world.calls.len());

    // A profile that was known and is gone is waited for again, since it may be created again.
    driver.world.unknown_profiles.clear();
    rounds(&mut driver, 120 * 60);
    assert_eq!(driver.world.requests.len(), 6);
    driver.world.unknown_profiles.insert("fresh".to_owned());
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    let report = round(&mut driver);
    assert!(has_note(&report.plan, NoteKind::ProfileNotVisible));
}

#[test]
fn another_profile_is_not_held_up() {
    let mut driver = with_profile();
    driver.world.add_tasks(&name("other"), 2, mins(600));
    round(&mut driver);
    assert_eq!(driver.world.count(&name("other")), 2);
}

#[test]
fn accepted_requests_that_fail_for_a_fresh_profile_are_repeated_too() {
    let mut linux = worker_type(&["c7g.large"], 50);
    linux.iam_instance_profile = Some("fresh".to_owned());
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.bad.insert(name("linux"));
    driver.world.bad_because = provisioner_sim::world::unknown_profile("fresh");
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    rounds(&mut driver, 4 * 60);
    assert!((8..=30).contains(&driver.world.calls.len()), "{} calls", driver.world.calls.len());
    assert!(memory::failing_worker_types(driver.engine.memory()).next().is_none());
    // The wait has an end.
    let reports = rounds(&mut driver, 15 * 60);
    let paused = |note: &&Note| note.kind == NoteKind::Paused;
    let paused = reports.last().unwrap().plan.notes.iter().find(paused).expect("a pause");
    assert!(paused.text.contains("iam-instance-profile"), "{}", paused.text);
}

#[test]
fn a_lost_launch_with_a_fresh_profile_stays_open_and_is_not_hammered() {
    let mut driver = with_profile();
    driver.world.faults.lost_before = 100;
    round(&mut driver);
    driver.world.faults.lost_before = 0;
    assert_eq!(driver.engine.ledger().intents.len(), 2);
    rounds(&mut driver, 2 * 60);
    let calls = driver.world.calls.len();
    assert!((10..=40).contains(&calls), "{calls} calls");
    assert_eq!(driver.engine.ledger().intents.len(), 2);
    driver.world.unknown_profiles.clear();
    rounds(&mut driver, 3 * 60);
    assert_eq!(driver.world.requests.len(), 6);
    assert!(driver.engine.ledger().intents.is_empty());
}

/// However short the interval is, one refusal is one call.
#[test]
fn a_round_ends_when_a_profile_is_unknown() {
    let mut driver = with_profile();
    let mut settings = (*driver.world.settings).clone();
    settings.provisioner.interval = std::time::Duration::from_nanos(1);
    settings.provisioner.min_interval = settings.provisioner.interval;
    driver.restart(std::sync::Arc::new(settings));
    driver.world.faults.slow = secs(2);
    round(&mut driver);
    assert!(driver.world.calls.len() <= 2, "{:?}", asked(&driver, 0));
}
