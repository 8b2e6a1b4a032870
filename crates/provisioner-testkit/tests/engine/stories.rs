//! Failures of other provisioners, as examples.

use std::sync::Arc;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{InstanceId, InstanceType};
use provisioner::internal::domain::observed::{
    InstanceState, Observation, OwnTags, SpotRequestState,
};
use provisioner::internal::engine::{ActionKind, NoteKind, Plan, ReasonKind, StopConsent};
use provisioner::internal::settings::{Settings, WorkerType};

use provisioner_sim::deployment::{at, key, mins, name, secs, settings, start, worker_type};
use provisioner_sim::driver::{End, Read};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::{Boot, World};
use provisioner_testkit::Driver;

pub(crate) const ZONES: [&str; 2] = ["us-west-2a", "us-west-2b"];

pub(crate) fn calm(linux: WorkerType, knowledge: Knowledge) -> Driver {
    with(settings([("linux", linux)]), knowledge)
}

pub(crate) fn with(settings: Settings, knowledge: Knowledge) -> Driver {
    Driver::new(World::new(Arc::new(settings), knowledge, 1, start()), &ZONES)
}

/// Decides on this observation, but carries out nothing.
fn plan_at(driver: &mut Driver, observation: Observation) -> Plan {
    let read = Read { observation, demand: driver.world.queue.demand(|_| true) };
    driver.begin(&read).plan().clone()
}

/// Observes and decides, but carries out nothing.
pub(crate) fn plan(driver: &mut Driver) -> Plan {
    driver.plan_only().unwrap()
}

pub(crate) fn round(driver: &mut Driver) -> provisioner::internal::engine::Report {
    let End::Round(report) = driver.round() else { unreachable!("nothing crashes here") };
    driver.assert_sound("a story");
    *report
}

fn requested(plan: &Plan) -> u64 {
    let requests =
        plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::Request(_)));
    requests.map(|action| action.kind.count()).sum()
}

pub(crate) fn named(plan: &Plan, reason: ReasonKind) -> Vec<String> {
    let of_reason = plan.actions.iter().filter(|action| action.reason.kind == reason);
    of_reason.flat_map(|action| action.kind.ids()).map(str::to_owned).collect()
}

pub(crate) fn has_note(plan: &Plan, kind: NoteKind) -> bool {
    plan.notes.iter().any(|note| note.kind == kind)
}

/// Launches a tagged instance of `linux`.
fn machine(driver: &mut Driver) -> InstanceId {
    let tags = OwnTags { key_name: Some(key()), worker_type: Some(name("linux")), intent: None };
    let instance_type = InstanceType::from("c7g.large");
    driver.world.launch(&key(), Some(name("linux")), instance_type, tags, false)
}

#[test]
fn five_pending_and_five_booting_launch_nothing() {
    let mut driver = calm(worker_type(&["c7g.large"], 100), Knowledge::ByInstance);
    driver.world.boot = Boot::Between(mins(3), mins(3));
    driver.world.add_tasks(&name("linux"), 5, mins(600));
    driver.run(at(60));
    assert_eq!(driver.world.live().count(), 5);
    assert_eq!(driver.world.queue.pending(&name("linux")), 5);
    assert_eq!(driver.world.requests.len(), 5);
    assert!(plan(&mut driver).actions.is_empty());
}

#[test]
fn twenty_five_pending_and_ten_booting_launch_fifteen() {
    for knowledge in [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance] {
        let mut driver = calm(worker_type(&["c7g.large"], 100), knowledge);
        driver.world.boot = Boot::Between(mins(3), mins(3));
        for _ in 0..10 {
            machine(&mut driver);
        }
        driver.world.advance(at(30));
        driver.world.add_tasks(&name("linux"), 25, mins(600));
        assert_eq!(requested(&plan(&mut driver)), 15, "{knowledge:?}");
    }
}

#[test]
fn busy_machines_are_not_capacity_for_waiting_tasks() {
    let mut driver = calm(worker_type(&["c7g.large"], 100), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    driver.run(at(5 * 60));
    assert_eq!(driver.world.queue.pending(&name("linux")), 0);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    assert_eq!(requested(&plan(&mut driver)), 2);
}

#[test]
fn a_request_past_its_time_is_seen_cancelled_before_it_is_replaced_elsewhere() {
    let mut linux = worker_type(&["c7g.large"], 1);
    linux.request_timeout = mins(2);
    let mut driver = calm(linux, Knowledge::ByInstance);
    driver.world.faults.never_filled = 100;
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    round(&mut driver);
    driver.world.faults.never_filled = 0;
    driver.run(at(119));
    assert_eq!(driver.world.calls.len(), 1);

    // Its cancellation becomes visible late.
    driver.world.faults.lag = mins(4);
    driver.run(at(131));
    let request = driver.world.requests.iter().next().unwrap().clone();
    assert_eq!(request.truth().state, SpotRequestState::Cancelled);
    let shown = |driver: &Driver| {
        let request = driver.world.requests.iter().next().unwrap();
        request.record.seen(driver.world.now).unwrap().state != SpotRequestState::Open
    };
    driver.world.faults.lag = secs(0);
    while !shown(&driver) {
        assert_eq!(driver.world.calls.len(), 1, "replaced before it was seen cancelled");
        round(&mut driver);
        let next = clock::after(driver.world.now, secs(10));
        driver.world.advance(next);
    }
    round(&mut driver);
    assert_eq!(driver.world.calls.len(), 2);
    assert_ne!(
        driver.world.calls[0].pool, driver.world.calls[1].pool,
        "asked for in the same pool"
    );
    assert_eq!(driver.world.count(&name("linux")), 1);
}

#[test]
fn a_request_fulfilled_between_observation_and_cancellation_counts_once() {
    // The demand falls, the request is fulfilled before its cancellation arrives, and the demand rises again.
    for lag in [secs(0), mins(4)] {
        for saves_memory in [true, false] {
            let mut driver = calm(worker_type(&["c7g.large"], 1), Knowledge::ByInstance);
            driver.saves_memory = saves_memory;
            driver.world.faults.never_filled = 100;
            driver.world.add_tasks(&name("linux"), 1, mins(600));
            round(&mut driver);
            driver.world.advance(at(10));
            driver.world.queue.withdraw(&name("linux"), 0);
            driver.world.faults.lag = lag;
            // The observation comes first, then the fulfilment, then the cancellation.
            let read = driver.read().unwrap();
            let now = driver.world.now;
            let inputs = read.inputs(&driver.resolved, now);
            let mut round = driver.engine.begin_round(inputs, &mut StopConsent::default(), now);
            assert_eq!(named(round.plan(), ReasonKind::NoDemand).len(), 1);
            let id = driver.world.requests.iter().next().unwrap().truth().id.clone();
            driver.world.fulfil(&id);
            while let Some(effect) = round.next_effect(driver.world.now) {
                let outcome = driver.world.execute(&effect);
                round.outcome(outcome, driver.world.now);
            }
            round.end(driver.world.now);
            let request = driver.world.requests.get(&id).unwrap().truth();
            assert_eq!(request.state, SpotRequestState::Cancelled);
            assert!(request.instance.is_some());
            if !saves_memory {
                let settings = Arc::clone(&driver.settings);
                driver.restart(settings);
            }
            driver.world.add_tasks(&name("linux"), 1, mins(600));
            driver.world.faults.never_filled = 0;
            driver.run(at(20 * 60));
            driver.assert_sound("a cancel race");
            assert_eq!(driver.world.requests.len(), 1, "lag {lag:?}: bought twice");
            assert_eq!(driver.world.queue.pending(&name("linux")), 0);
        }
    }
}

#[test]
fn when_demand_falls_only_open_requests_are_cancelled_and_in_the_same_round() {
    let mut driver = calm(worker_type(&["c7g.large"], 100), Knowledge::ByInstance);
    driver.world.boot = Boot::Between(mins(5), mins(5));
    driver.world.add_tasks(&name("linux"), 4, mins(600));
    driver.run(at(60));
    driver.world.faults.never_filled = 100;
    driver.world.add_tasks(&name("linux"), 6, mins(600));
    driver.run(at(90));
    assert_eq!((driver.world.open().count(), driver.world.live().count()), (6, 4));
    driver.world.queue.withdraw(&name("linux"), 1);
    let report = round(&mut driver);
    assert_eq!(named(&report.plan, ReasonKind::NoDemand).len(), 6);
    assert_eq!((driver.world.open().count(), driver.world.live().count()), (0, 4));
    let kills = |action: &provisioner::internal::engine::Action| {
        matches!(action.kind, ActionKind::Terminate(_))
    };
    assert!(!report.plan.actions.iter().any(kills));
}

#[test]
fn over_a_maximum_requests_go_first_then_booting_then_idle_then_the_youngest_busy() {
    let mut driver = calm(worker_type(&["c7g.large"], 100), Knowledge::ByInstance);
    driver.world.boot = Boot::Between(secs(20), secs(20));
    let older = machine(&mut driver);
    driver.world.advance(at(30));
    let younger = machine(&mut driver);
    driver.world.advance(at(90));
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    let idle = machine(&mut driver);
    driver.world.advance(at(150));
    // The third task goes back, so that its machine has worked and is idle now.
    round(&mut driver);
    driver.world.queue.requeue(&idle);
    driver.world.queue.withdraw(&name("linux"), 0);
    driver.world.advance(at(160));
    round(&mut driver);
    driver.world.boot = Boot::Between(mins(10), mins(10));
    driver.world.faults.never_filled = 100;
    driver.world.add_tasks(&name("linux"), 0, mins(600));
    let booting = machine(&mut driver);
    driver.world.advance(at(195));
    assert_eq!(driver.world.queue.runs(&older) + driver.world.queue.runs(&younger), 2);

    let expected = [booting, idle, younger, older];
    for max in (0..=4).rev() {
        let mut settings = Settings::clone(&driver.settings);
        settings.worker_types.get_mut(&name("linux")).unwrap().max_instances = max;
        driver.disk.memory = Some(driver.engine.memory().clone());
        driver.restart(Arc::new(settings));
        let plan = plan(&mut driver);
        let gone = named(&plan, ReasonKind::OverMaximum);
        let n = 4 - usize::try_from(max).unwrap();
        let wanted: Vec<_> = expected[..n].iter().map(ToString::to_string).collect();
        assert_eq!(gone, wanted, "max {max}");
    }
}

#[test]
fn over_a_maximum_nothing_is_ended_for_requests_that_can_still_be_cancelled() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 4, mins(600));
    driver.run(at(5 * 60));
    driver.world.faults.never_filled = 100;
    driver.world.faults.lag = mins(4);
    driver.world.add_tasks(&name("linux"), 4, mins(600));
    round(&mut driver);
    assert_eq!(driver.world.open().count(), 4);
    let mut lowered = Settings::clone(&driver.settings);
    lowered.worker_types.get_mut(&name("linux")).unwrap().max_instances = 4;
    driver.restart(Arc::new(lowered));
    driver.run(at(15 * 60));
    driver.assert_sound("a lowered maximum");
    let busy = driver.world.live().filter(|(id, _)| driver.world.queue.runs(id) > 0).count();
    assert_eq!((busy, driver.world.open().count()), (4, 0));
}

#[test]
fn an_unknown_demand_does_nothing_for_demand() {
    let mut driver = calm(worker_type(&["c7g.large"], 4), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    driver.run(at(5 * 60));
    driver.world.faults.never_filled = 100;
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    round(&mut driver);
    driver.world.queue.down = true;
    let mut lowered = Settings::clone(&driver.settings);
    lowered.worker_types.get_mut(&name("linux")).unwrap().max_instances = 1;
    driver.restart(Arc::new(lowered));
    driver.world.advance(at(6 * 60));
    let report = round(&mut driver);
    assert!(!report.demand_known);
    assert!(has_note(&report.plan, NoteKind::DemandUnknown));
    let kills = |action: &provisioner::internal::engine::Action| {
        matches!(action.kind, ActionKind::Terminate(_))
    };
    assert!(!report.plan.actions.iter().any(kills), "{:?}", report.plan.actions);
    assert_eq!(driver.world.live().count(), 2);
}

#[test]
fn strays_and_others_are_kept_where_the_key_pair_is_not_ours() {
    use provisioner::internal::domain::observed::KeyPair;
    for (key_pair, limit) in
        [(KeyPair::Foreign, None), (KeyPair::Foreign, Some(1)), (KeyPair::Ours, None)]
    {
        let mut configured = settings([("linux", worker_type(&["c7g.large"], 4))]);
        configured.limits.max_instances = limit;
        let mut driver = with(configured, Knowledge::ByInstance);
        driver.world.key_pair = key_pair;
        let c7g = InstanceType::from("c7g.large");
        let stray = driver.world.launch(&key(), None, c7g.clone(), OwnTags::default(), true);
        let theirs = OwnTags { key_name: Some("theirs".into()), ..OwnTags::default() };
        let disputed = driver.world.launch(&key(), None, c7g, theirs, true);
        driver.run(at(10 * 60));
        driver.assert_sound("strays");
        assert_eq!(driver.world.state(&disputed), Some(InstanceState::Running));
        let kept = driver.world.state(&stray) == Some(InstanceState::Running);
        assert_eq!(kept, key_pair == KeyPair::Foreign, "{key_pair:?}, limit {limit:?}");
    }
}

#[test]
fn an_instance_whose_request_is_not_visible_is_a_stray_only_after_the_window() {
    let mut driver = calm(worker_type(&["c7g.large"], 4), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 1, mins(600));
    round(&mut driver);
    // A process without memory finds the instance of a request that no describe call shows.
    driver.world.hide_requests(mins(4));
    driver.disk = provisioner_sim::driver::Disk::default();
    let settings = Arc::clone(&driver.settings);
    driver.restart(settings);
    driver.run(at(3 * 60));
    assert!(has_note(&driver.plan, NoteKind::UnresolvedInstance));
    assert_eq!(driver.world.live().count(), 1);
    driver.run(at(10 * 60));
    driver.assert_sound("an unresolved instance");
    assert_eq!((driver.world.live().count(), driver.world.requests.len()), (1, 1));
}

#[test]
fn a_stopped_instance_counts_to_the_maximum_and_is_ended() {
    let mut driver = calm(worker_type(&["c7g.large"], 2), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 3, mins(600));
    driver.run(at(5 * 60));
    let id = driver.world.live().next().unwrap().0.clone();
    driver.world.stop(&id);
    let stopping = plan(&mut driver);
    assert_eq!(requested(&stopping), 0, "a stopping instance counts to the maximum");
    assert_eq!(stopping.worker_types[0].stopping, 1);
    driver.run(at(10 * 60));
    driver.assert_sound("a stopped instance");
    assert!(driver.world.state(&id).is_none_or(|state| !state.is_live()));
    assert_eq!(driver.world.live().count(), 2);
}

#[test]
fn a_terminated_instance_that_still_shows_as_running_does_not_end_another() {
    let mut driver = calm(worker_type(&["c7g.large"], 10), Knowledge::ByInstance);
    driver.world.boot = Boot::Between(secs(20), secs(20));
    driver.world.add_tasks(&name("linux"), 6, mins(600));
    driver.run(at(5 * 60));
    assert_eq!(driver.world.live().count(), 6);
    let mut lowered = Settings::clone(&driver.settings);
    lowered.worker_types.get_mut(&name("linux")).unwrap().max_instances = 3;
    driver.restart(Arc::new(lowered));
    driver.world.faults.lag = mins(5);
    let first = round(&mut driver);
    assert_eq!(named(&first.plan, ReasonKind::OverMaximum).len(), 3);
    driver.run(at(15 * 60));
    driver.assert_sound("a lowered maximum");
    let ended = driver.world.machines.len() - driver.world.live().count();
    assert_eq!((driver.world.live().count(), ended), (3, 3));
}

#[test]
fn an_unanswered_launch_is_not_repeated_over_a_lowered_maximum() {
    for saves_memory in [true, false] {
        let mut driver = calm(worker_type(&["c7g.large"], 4), Knowledge::ByInstance);
        driver.saves_memory = saves_memory;
        driver.world.add_tasks(&name("linux"), 2, mins(600));
        driver.run(at(60));
        driver.world.faults.lost_before = 100;
        driver.world.add_tasks(&name("linux"), 2, mins(600));
        round(&mut driver);
        driver.world.faults.lost_before = 0;
        let mut lowered = Settings::clone(&driver.settings);
        lowered.worker_types.get_mut(&name("linux")).unwrap().max_instances = 3;
        driver.restart(Arc::new(lowered));
        let calls = driver.world.calls.len();
        driver.world.advance(at(80));
        let report = round(&mut driver);
        assert!(has_note(&report.plan, NoteKind::Unanswered));
        driver.run(at(30 * 60));
        assert_eq!(driver.world.calls.len(), calls);
        // Describe calls alone settle it after half an hour and a visibility window. Then there is room
        // for one.
        driver.run(at(50 * 60));
        driver.assert_sound("a lowered maximum");
        assert_eq!(driver.world.count(&name("linux")), 3);
    }
}

#[test]
fn the_instance_of_an_unanswered_launch_counts_while_pages_go_backwards() {
    let mut driver = calm(worker_type(&["c7g.large"], 1), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    driver.world.faults.lost_after = 100;
    round(&mut driver);
    driver.world.faults.lost_after = 0;
    assert_eq!((driver.engine.ledger().intents.len(), driver.world.live().count()), (1, 1));
    // The instance is visible before its request names it, and then neither is visible.
    let mut shown = driver.world.describe(&driver.engine.tracked()).unwrap();
    for request in &mut shown.spot_requests {
        (request.state, request.instance) = (SpotRequestState::Open, None);
    }
    let hidden = Observation { key_pair: shown.key_pair, ..Observation::default() };
    for observation in [shown, hidden] {
        driver.world.advance(clock::after(driver.world.now, secs(10)));
        assert_eq!(requested(&plan_at(&mut driver, observation)), 0);
    }
    assert!(driver.engine.ledger().intents.is_empty());
}

#[test]
fn one_machine_of_unknown_price_that_is_no_longer_configured_stops_no_launch() {
    let linux = worker_type(&["c7g.large"], 4);
    let dear = linux.max_price.unwrap();
    let mut settings = settings([("linux", linux)]);
    settings.limits.max_usd_per_hour = Some(dear.times(3));
    let mut driver = with(settings, Knowledge::ByInstance);
    let tags = OwnTags { key_name: Some(key()), worker_type: Some(name("old")), intent: None };
    driver.world.launch(&key(), Some(name("old")), InstanceType::from("c7g.large"), tags, false);
    driver.world.add_tasks(&name("linux"), 4, mins(600));
    let report = round(&mut driver);
    // It counts at the highest price of our own.
    assert_eq!(requested(&report.plan), 2, "{:#?}", report.plan);
    assert!(has_note(&report.plan, NoteKind::AtLimit));
    assert!(!has_note(&report.plan, NoteKind::PriceUnknown));
}

#[test]
fn a_request_that_is_closed_with_the_notice_counts_while_its_instance_may_run() {
    let mut driver = calm(worker_type(&["c7g.large"], 1), Knowledge::ByInstance);
    driver.world.add_tasks(&name("linux"), 2, mins(600));
    round(&mut driver);
    let (id, _) = driver.world.live().next().unwrap();
    let id = id.clone();
    driver.world.interrupt(&id);
    let shown = driver.world.describe(&driver.engine.tracked()).unwrap();
    assert_eq!(shown.spot_requests[0].state, SpotRequestState::Closed);
    assert_eq!(shown.instances[0].state, InstanceState::Pending);
    // The request is known to be closed before the instance is visible, and again when a
    // page goes back to a time before the instance was.
    let without = Observation { instances: Vec::new(), ..shown.clone() };
    for observation in [&without, &shown, &without] {
        driver.world.advance(clock::after(driver.world.now, secs(10)));
        assert_eq!(requested(&plan_at(&mut driver, observation.clone())), 0);
    }
    // Once it has ended, it is replaced.
    driver.run(at(15 * 60));
    driver.assert_sound("an interruption");
    assert_ne!(driver.world.live().next().map(|(id, _)| id.clone()), Some(id));
    assert_eq!(driver.world.live().count(), 1);
}
