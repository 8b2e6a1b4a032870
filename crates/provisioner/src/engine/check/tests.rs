//! Plans that break a fence, made by hand, since `decide` makes none.

use std::path::Path;

use super::*;
use crate::config;
use crate::domain::demand::Demand;
use crate::domain::launch::Pool;
use crate::domain::ledger::{Granted, Ledger, LedgerId};
use crate::domain::money::{Usd, UsdPerHour};
use crate::domain::spending::Spending;
use crate::engine::decide::detail::LimitUsage;
use crate::engine::decide::plan::Action;
use crate::engine::state::index::Index;
use crate::engine::state::machine::{Class, OpenRequest};
use crate::engine::state::memory::{Fulfilled, Memory};
use crate::engine::state::other_ledgers::OtherDaemon;
use crate::settings::Settings;
use jiff::Timestamp;

/// What a decision depends on: three machines (one of them leaving), an open request, a request
/// granted and one fulfilled, at 1 USD per hour each.
struct Case {
    settings: Settings,
    index: Index,
    ledger: Ledger,
    memory: Memory,
    demand: Result<Demand, String>,
    other_daemon: Option<OtherDaemon>,
    now: Timestamp,
}

fn linux() -> WorkerTypeName {
    WorkerTypeName::from("linux")
}

fn dollars(amount: f64) -> UsdPerHour {
    UsdPerHour::from_dollars(amount).unwrap()
}

fn machine(id: &str, state: InstanceState, launched: Timestamp) -> Machine {
    Machine {
        id: InstanceId::from(id),
        rank: 0,
        state,
        pool: None,
        launched,
        price: Some(dollars(1.0)),
        intent: None,
        addresses: Vec::new(),
        volumes: Vec::new(),
        request: None,
        noticed: false,
        tagged: true,
        class: Class::Busy,
        positively_idle: false,
        agreed: false,
        aged: false,
        tasks: 1,
    }
}

impl Case {
    fn new(limits: &str) -> Self {
        let text = format!(
            "[worker-types.linux]\nimage-id = \"ami-00000000000000b86\"\n\
             instance-types = [\"m5.large\"]\nmax-instances = 7\nmax-price = 1.0\n\
             max-lifetime = \"2h\"\n[limits]\n{limits}\n"
        );
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let pool = Pool { instance_type: "m5.large".into(), zone: None };
        let price = Some(dollars(1.0));
        let mut group = Group::default();
        group.machines.push(machine("i-1", InstanceState::Running, now));
        group.machines.push(machine("i-2", InstanceState::Running, now));
        group.machines.push(machine("i-3", InstanceState::ShuttingDown, now));
        group.open.push(OpenRequest {
            id: "sir-open".into(),
            asked: now,
            status_code: "pending-evaluation".into(),
            unfillable_since: None,
            pool: pool.clone(),
            price,
            cancelled: false,
            touchable: true,
        });
        let mut case = Self {
            settings: config::parse(&text, Path::new("/")).unwrap().settings,
            index: Index::default(),
            ledger: Ledger::default(),
            memory: Memory::default(),
            demand: Ok(Demand::default()),
            other_daemon: None,
            now,
        };
        case.index.types.insert(linux(), group);
        let token = ClientToken::from("token");
        let granted = Granted {
            worker_type: linux(),
            token,
            pool,
            at: now,
            last_seen: None,
            missed: 0,
            arrived: None,
            max_price: price,
        };
        case.ledger.granted.insert("sir-granted".into(), granted);
        let fulfilled = Fulfilled { since: now, worker_type: Some(linux()), max_price: price };
        case.memory.fulfilled.insert("sir-fulfilled".into(), fulfilled);
        case
    }

    fn check(&self, decided: &Decided) -> Vec<Violation> {
        let decide = Decide {
            settings: &self.settings,
            index: &self.index,
            ledger: &self.ledger,
            memory: &self.memory,
            seen_by_intent: &BTreeMap::new(),
            in_flight: &BTreeMap::new(),
            demand: self.demand.as_ref().map_err(String::as_str),
            targets: &BTreeMap::new(),
            resolved: &BTreeMap::new(),
            tagged_lately: &BTreeMap::new(),
            other_daemon: self.other_daemon.as_ref(),
            earlier_ledgers: &BTreeMap::new(),
            now: self.now,
        };
        check(&decide, decided)
    }

    fn check_launch(&self, n: u64) -> Vec<Violation> {
        let reason = Reason { kind: ReasonKind::PendingTasks, text: String::new() };
        let goal = LaunchGoal::new(linux(), n, 0, reason);
        self.check(&Decided { goals: vec![goal], ..Decided::default() })
    }

    fn check_action(&self, kind: ActionKind, reason: ReasonKind) -> Vec<Violation> {
        let mut decided = Decided::default();
        let reason = Reason { kind: reason, text: String::new() };
        decided.plan.actions.push(Action { kind, worker_type: None, reason });
        self.check(&decided)
    }
}

#[test]
fn machines_requests_and_launches_in_flight_count_to_the_maximum() {
    let case = Case::new("");
    assert_eq!(case.check_launch(1), []);
    let worker_type = linux();
    let over = Violation::LaunchesOverMaximum { worker_type, total: 8, max: 7 };
    assert_eq!(case.check_launch(2), [over]);
}

#[test]
fn a_machine_that_leaves_does_not_count_to_the_limits() {
    let case = Case::new("max-instances = 6");
    assert_eq!(case.check_launch(1), []);
    let case = Case::new("max-instances = 5");
    let instances = Some(LimitUsage { max: 5, used: 6 });
    let usage = LimitsUsage { instances, ..LimitsUsage::default() };
    assert_eq!(case.check_launch(1), [Violation::LaunchesOverLimits(usage)]);
}

#[test]
fn dollars_are_added_up() {
    let case = Case::new("max-usd-per-hour = 6.0");
    assert_eq!(case.check_launch(1), []);
    let case = Case::new("max-usd-per-hour = 5.9");
    let text = case.check_launch(1)[0].to_string();
    assert!(text.ends_with("max-usd-per-hour 5.90, 6.00 counted with these"), "{text}");

    // Four hours to midnight count as six, and each lives for twice two: 6 * 4, and 10 are spent.
    let spent = |mut case: Case, counted_to: Timestamp| {
        let usd = Usd::from_dollars(10.0).unwrap();
        case.ledger.spending = Spending::of_day(counted_to, usd);
        case.check_launch(1)
    };
    let today = Case::new("").now;
    assert_eq!(spent(Case::new("max-usd-per-day = 34.0"), today), []);
    assert_eq!(spent(Case::new("max-usd-per-day = 33.9"), today).len(), 1);
    let yesterday = clock::before(today, std::time::Duration::from_hours(24));
    assert_eq!(spent(Case::new("max-usd-per-day = 24.0"), yesterday), []);

    let mut case = Case::new("max-usd-per-hour = 100.0");
    case.index
        .strays
        .machines
        .push(Machine { price: None, ..machine("i-stray", InstanceState::Running, case.now) });
    assert_eq!(case.check_launch(1), [Violation::LaunchesWithUnknownPrices { unpriced: 1 }]);
}

#[test]
fn a_lost_ledger_and_an_unknown_demand_launch_nothing() {
    let mut case = Case::new("");
    case.ledger.hold_until = Some(clock::after(case.now, std::time::Duration::from_mins(1)));
    case.demand = Err("down".to_owned());
    assert_eq!(case.check_launch(1), [Violation::LaunchesWithoutLedger(linux())]);
    assert_eq!(
        case.check_action(ActionKind::Request(1), ReasonKind::PendingTasks),
        [Violation::LaunchesWithoutDemand]
    );
    let open = vec![SpotRequestId::from("sir-open")];
    assert_eq!(
        case.check_action(ActionKind::Cancel(open), ReasonKind::NoDemand),
        [Violation::CancelsWithoutDemand]
    );
}

#[test]
fn beside_another_daemon_nothing_is_launched() {
    let mut case = Case::new("");
    let until = clock::after(case.now, std::time::Duration::from_mins(5));
    case.other_daemon = Some(OtherDaemon { ledger: LedgerId::new(7), until });
    assert_eq!(case.check_launch(1), [Violation::LaunchesBesideAnotherDaemon(linux())]);
}

#[test]
fn only_ours_is_touched_and_once() {
    let case = Case::new("");
    let ids = |ids: &[&str]| ids.iter().map(|id| InstanceId::from(*id)).collect::<Vec<_>>();
    let requests = ["sir-open", "sir-open", "sir-other"].map(SpotRequestId::from).to_vec();
    assert_eq!(
        case.check_action(ActionKind::Cancel(requests), ReasonKind::NoDemand),
        [
            Violation::CancelsTwice("sir-open".into()),
            Violation::CancelsUnknownRequest("sir-other".into())
        ]
    );
    let end = ActionKind::Terminate(ids(&["i-1", "i-1", "i-3", "i-other"]));
    let wrongly = |id: &str, why| Violation::TerminatesWrongly {
        id: id.into(),
        reason: ReasonKind::OverMaximum,
        why,
    };
    assert_eq!(
        case.check_action(end, ReasonKind::OverMaximum),
        [
            Violation::TerminatesTwice("i-1".into()),
            wrongly("i-3", Protection::StateUnknownOrLeaving),
            Violation::TerminatesUnknownInstance("i-other".into()),
        ]
    );
    let busy = ActionKind::Terminate(ids(&["i-1"]));
    let violations = case.check_action(busy, ReasonKind::NeverClaimed);
    assert_eq!(
        violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["terminates i-1 (never-claimed): it is not known to be idle"]
    );
    let tag = ActionKind::Tag(ids(&["i-other"]));
    assert_eq!(
        case.check_action(tag, ReasonKind::Untagged),
        [Violation::TagsUnknownInstance("i-other".into())]
    );
}

#[test]
fn at_twice_its_lifetime_a_machine_is_terminated() {
    let mut case = Case::new("");
    case.now = clock::after(case.now, std::time::Duration::from_hours(4));
    let left = ["i-1", "i-2"].map(|id| Violation::LeavesTooOld(id.into()));
    assert_eq!(case.check(&Decided::default()), left);
    let end = ActionKind::Terminate(vec!["i-1".into(), "i-2".into()]);
    assert_eq!(case.check_action(end, ReasonKind::MaxLifetime), []);
}
