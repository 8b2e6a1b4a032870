//! Properties that hold for every plan, tried in thousands of small random cases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::{Demand, PendingTasks, Running};
use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, StatusText, WorkerTypeName, Zone,
};
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{
    Instance, InstanceState, KeyPair, Observation, OwnTags, SpotRequest, SpotRequestState,
};
use provisioner::internal::engine::{
    ActionKind, Effect, Engine, GrantedRequest, Inputs, LedgerFound, Memory, NoteKind, Outcome,
    Plan, ReasonKind, Resolved, Round, Start, StopConsent,
};
use provisioner::internal::settings::{Limits, Settings};

use provisioner_sim::deployment::{at, key, mins, name, secs, settings, worker_type};

/// Everything on which a plan depends.
#[derive(Clone, Debug)]
struct Case {
    settings: Settings,
    observation: Observation,
    /// The observations of some rounds before.
    before: Option<Observation>,
    demand: Result<Demand, String>,
}

/// The time of the decision: long after the start, so that there can be old items.
const NOW: u64 = 3 * 3600;

fn some_tags() -> impl Strategy<Value = OwnTags> {
    let types = prop_oneof![
        6 => Just(Some("alpha")),
        3 => Just(Some("beta")),
        1 => Just(Some("gone")),
        1 => Just(None),
    ];
    let keys = prop_oneof![12 => Just(key()), 1 => Just(KeyName::from("another"))];
    (types, keys, 0..4_u32).prop_map(|(worker_type, key_name, intent)| match worker_type {
        Some(worker_type) => OwnTags {
            key_name: Some(key_name),
            worker_type: Some(name(worker_type)),
            intent: Some(ClientToken::new(format!("token-{intent}"))),
        },
        None => OwnTags::default(),
    })
}

fn instance(i: u64) -> impl Strategy<Value = Instance> {
    let states = prop_oneof![
        2 => Just(InstanceState::Pending),
        8 => Just(InstanceState::Running),
        1 => Just(InstanceState::Stopping),
        1 => Just(InstanceState::Stopped),
        1 => Just(InstanceState::ShuttingDown),
        1 => Just(InstanceState::Terminated),
        1 => Just(InstanceState::Unrecognised("rebooting".to_owned())),
    ];
    (states, 0..NOW, prop::option::weighted(0.7, 0..12_u64), some_tags()).prop_map(
        move |(state, age, request, tags)| Instance {
            id: InstanceId::new(format!("i-{i:02}")),
            state,
            instance_type: InstanceType::from("c7g.large"),
            zone: Some(Zone::from("us-west-2a")),
            launch_time: at(NOW - age),
            spot_request: request.map(|request| SpotRequestId::new(format!("sir-{request:02}"))),
            other_platform: None,
            state_reason: None,
            addresses: Vec::new(),
            volumes: Vec::new(),
            tags,
        },
    )
}

fn request(i: u64) -> impl Strategy<Value = SpotRequest> {
    let states = prop_oneof![
        8 => Just(SpotRequestState::Open),
        4 => Just(SpotRequestState::Active),
        1 => Just(SpotRequestState::Closed),
        1 => Just(SpotRequestState::Cancelled),
        1 => Just(SpotRequestState::Failed),
        1 => Just(SpotRequestState::Unrecognised("thinking".to_owned())),
    ];
    let codes = prop_oneof![
        Just("pending-evaluation"),
        Just("capacity-not-available"),
        Just("price-too-low"),
        Just("bad-parameters"),
        Just("schedule-expired"),
    ];
    let price = prop::option::weighted(0.8, 50_000..200_000_u64);
    (states, codes, 0..1500_u64, prop::option::weighted(0.3, 0..12_u64), some_tags(), price)
        .prop_map(move |(state, code, age, instance, tags, price)| SpotRequest {
            id: SpotRequestId::new(format!("sir-{i:02}")),
            state,
            status_code: code.into(),
            status_message: StatusText::new(format!("{code} {i}")),
            status_time: Some(at(NOW - age / 2)),
            created: at(NOW - age),
            instance: instance.map(|instance| InstanceId::new(format!("i-{instance:02}"))),
            instance_type: InstanceType::from("c7g.large"),
            zone: Some(Zone::from("us-west-2a")),
            max_price: price.map(UsdPerHour::from_micros),
            tags,
        })
}

fn observation() -> impl Strategy<Value = Observation> {
    let instances: Vec<_> = (0..12).map(instance).collect();
    let requests: Vec<_> = (0..12).map(request).collect();
    let key_pairs = prop_oneof![Just(KeyPair::Ours), Just(KeyPair::Foreign), Just(KeyPair::Absent)];
    let kept = prop::collection::vec(any::<bool>(), 24);
    (instances, requests, key_pairs, kept).prop_map(
        |(mut instances, mut requests, key_pair, kept)| {
            let mut kept = kept.into_iter();
            instances.retain(|_| kept.next().unwrap());
            requests.retain(|_| kept.next().unwrap());
            Observation { instances, spot_requests: requests, key_pair }
        },
    )
}

fn demand() -> impl Strategy<Value = Result<Demand, String>> {
    let running = prop::collection::btree_map(0..12_u64, 1..3_u32, 0..8);
    let knowledge = 0..4_u8;
    (0..20_u64, 0..20_u64, running, knowledge).prop_map(|(alpha, beta, running, knowledge)| {
        let pending = |count| PendingTasks { count, oldest: None };
        let tasks = BTreeMap::from([(name("alpha"), running.len() as u64), (name("beta"), 0)]);
        let running = match knowledge {
            0 => return Err("connection refused".to_owned()),
            1 => Running::Unknown,
            2 => Running::Counted { tasks },
            _ => Running::ByInstance {
                tasks,
                instances: running
                    .into_iter()
                    .map(|(id, n)| (InstanceId::new(format!("i-{id:02}")), n))
                    .collect(),
            },
        };
        Ok(Demand {
            pending: [(name("alpha"), pending(alpha)), (name("beta"), pending(beta))].into(),
            running,
            ..Demand::default()
        })
    })
}

fn some_settings() -> impl Strategy<Value = Settings> {
    let limits = (prop::option::of(0..20_u64), prop::option::of(0..20_u64));
    (0..3_u64, 0..12_u64, 1..3_u32, limits).prop_map(|(min, more, slots, (instances, usd))| {
        let mut alpha = worker_type(&["c7g.large", "m7g.large"], min + more);
        alpha.min_instances = min;
        alpha.tasks_per_instance = slots;
        alpha.max_lifetime = Some(mins(100));
        let mut beta = worker_type(&["c7a.large"], 6);
        beta.request_timeout = mins(5);
        let mut settings = settings([("alpha", alpha), ("beta", beta)]);
        settings.limits = Limits {
            max_instances: instances,
            max_usd_per_hour: usd.map(|n| UsdPerHour::from_micros(100_000 * n)),
            max_usd_per_day: None,
        };
        settings
    })
}

fn case() -> impl Strategy<Value = Case> {
    (some_settings(), observation(), prop::option::of(observation()), demand()).prop_map(
        |(settings, observation, before, demand)| Case { settings, observation, before, demand },
    )
}

impl Case {
    fn engine(&self) -> Engine {
        let start = Start {
            ledger: LedgerFound::Known(Ledger::default()),
            memory: Memory::default(),
            nonce: 3,
        };
        let mut engine = Engine::new(Arc::new(self.settings.clone()), key(), start, at(NOW - 60));
        if let Some(before) = &self.before {
            let resolved = resolved();
            self.begin(&mut engine, &resolved, before, at(NOW - 60)).end(at(NOW - 60));
        }
        engine
    }

    fn begin<'e>(
        &self,
        engine: &'e mut Engine,
        resolved: &'e Resolved,
        observation: &Observation,
        now: Timestamp,
    ) -> Round<'e> {
        let inputs = Inputs { resolved, observation, observed: now, demand: self.demand.clone() };
        engine.begin_round(inputs, &mut StopConsent::default(), now)
    }

    fn plan(&self) -> Plan {
        let mut engine = self.engine();
        self.begin(&mut engine, &resolved(), &self.observation, at(NOW)).plan().clone()
    }
}

fn resolved() -> Resolved {
    let resolved = provisioner_sim::deployment::resolved(&["us-west-2a", "us-west-2b"]);
    ["alpha", "beta"].map(|worker_type| (name(worker_type), Ok(resolved.clone()))).into()
}

fn ids(plan: &Plan, which: impl Fn(&ActionKind) -> bool) -> Vec<&str> {
    let actions = plan.actions.iter().filter(|action| which(&action.kind));
    actions.flat_map(|action| action.kind.ids()).collect()
}

fn is_terminate(kind: &ActionKind) -> bool {
    matches!(kind, ActionKind::Terminate(_))
}

proptest! {
    // The cases are the same in every run; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` try others.
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_plan_never_breaks_a_fence_and_names_what_was_seen_once(case in case()) {
        let plan = case.plan();
        let broken = plan.notes.iter().find(|note| note.kind == NoteKind::CheckFailed);
        prop_assert!(broken.is_none(), "{broken:?}");
        let mut seen = BTreeSet::new();
        for action in &plan.actions {
            for id in action.kind.ids() {
                prop_assert!(seen.insert(id), "{id} twice");
                let instances = case.observation.instances.iter().map(|instance| instance.id.as_str());
                let requests = case.observation.spot_requests.iter().map(|request| request.id.as_str());
                prop_assert!(instances.chain(requests).any(|seen| seen == id), "{id} was not seen");
            }
        }
    }

    #[test]
    fn the_order_of_the_answer_changes_nothing(case in case(), seed in any::<u64>()) {
        let mut other = case.clone();
        let mut rng = provisioner_sim::rng::Rng::stream(seed, "order");
        let mut observations = vec![&mut other.observation];
        observations.extend(other.before.as_mut());
        for observation in observations {
            shuffle(&mut observation.instances, &mut rng);
            shuffle(&mut observation.spot_requests, &mut rng);
        }
        prop_assert_eq!(case.plan(), other.plan());
    }

    #[test]
    fn repeated_items_change_nothing(case in case()) {
        let mut other = case.clone();
        let again = other.observation.clone();
        other.observation.instances.extend(again.instances);
        other.observation.spot_requests.extend(again.spot_requests);
        prop_assert_eq!(case.plan(), other.plan());
    }

    #[test]
    fn resources_of_others_are_not_touched(case in case()) {
        let plan = case.plan();
        let touched: BTreeSet<_> = ids(&plan, |_| true).into_iter().collect();
        let not_ours = case.observation.key_pair != KeyPair::Ours;
        let of_others = |tags: &OwnTags| tags.key_name.as_ref().is_some_and(|name| *name != key());
        for instance in &case.observation.instances {
            let foreign = instance.tags == OwnTags::default() && instance.spot_request.is_none();
            // Tags that were seen once may be hidden now.
            let was_ours = case.before.as_ref().is_some_and(|before| {
                before.instances.iter().any(|it| it.id == instance.id)
            });
            let foreign = foreign && !was_ours;
            let of_a_request = case.observation.spot_requests.iter().any(|request| request.instance.as_ref() == Some(&instance.id));
            if of_others(&instance.tags) || (foreign && !of_a_request && not_ours) {
                prop_assert!(!touched.contains(instance.id.as_str()), "{}", instance.id);
            }
        }
        for request in &case.observation.spot_requests {
            let stray = request.tags == OwnTags::default() && case.before.is_none();
            if of_others(&request.tags) || (stray && not_ours) {
                prop_assert!(!touched.contains(request.id.as_str()), "{}", request.id);
            }
        }
    }

    #[test]
    fn no_worker_type_grows_and_shrinks_for_demand_at_once(case in case()) {
        let plan = case.plan();
        for worker_type in ["alpha", "beta"] {
            let reasons: BTreeSet<_> = plan.actions.iter()
                .filter(|action| action.worker_type == Some(name(worker_type)))
                .map(|action| action.reason.kind)
                .collect();
            let grows = reasons.contains(&ReasonKind::PendingTasks) || reasons.contains(&ReasonKind::BelowMinimum);
            prop_assert!(!(grows && reasons.contains(&ReasonKind::NoDemand)), "{reasons:?}");
        }
    }

    #[test]
    fn more_demand_never_ends_more(mut case in case(), more in 1..10_u64) {
        // Tasks that wait beside machines imply which machines work, and thereby which is ended first.
        // So some tasks wait in both cases.
        let mut other = case.clone();
        for (case, more) in [(&mut case, 1), (&mut other, 1 + more)] {
            for pending in case.demand.iter_mut().flat_map(|demand| demand.pending.values_mut()) {
                pending.count += more;
            }
        }
        let (less, more) = (case.plan(), other.plan());
        let less: BTreeSet<_> = ids(&less, is_terminate).into_iter().collect();
        let more: BTreeSet<_> = ids(&more, is_terminate).into_iter().collect();
        prop_assert!(more.is_subset(&less), "{:?}", more.difference(&less).collect::<Vec<_>>());
    }

    #[test]
    fn machines_that_run_a_task_are_not_ended_for_lack_of_demand(case in case()) {
        let plan = case.plan();
        let Ok(Demand { running: Running::ByInstance { instances, .. }, .. }) = &case.demand else { return Ok(()) };
        for action in &plan.actions {
            let for_idleness = matches!(action.reason.kind, ReasonKind::NeverClaimed | ReasonKind::Retired);
            if let (ActionKind::Terminate(ids), true) = (&action.kind, for_idleness) {
                prop_assert!(ids.iter().all(|id| !instances.contains_key(id)), "{action:?}");
            }
        }
    }

    #[test]
    fn an_unknown_demand_launches_and_ends_nothing_for_demand(mut case in case()) {
        case.demand = Err("half an answer".to_owned());
        let plan = case.plan();
        for action in &plan.actions {
            prop_assert!(!matches!(action.kind, ActionKind::Request(_)), "{action:?}");
            prop_assert!(action.reason.kind != ReasonKind::NoDemand);
            if matches!(action.kind, ActionKind::Terminate(_)) {
                let allowed = matches!(action.reason.kind, ReasonKind::Stopped | ReasonKind::MaxLifetime | ReasonKind::Stray);
                prop_assert!(allowed, "{action:?}");
            }
        }
    }

    #[test]
    fn launches_and_visible_machines_together_fit_under_the_maximum(case in case()) {
        let plan = case.plan();
        for status in &plan.worker_types {
            let asked: u64 = plan.actions.iter()
                .filter(|action| action.worker_type.as_ref().is_some_and(|name| name.as_str() == status.name))
                .filter(|action| matches!(action.kind, ActionKind::Request(_)))
                .map(|action| action.kind.count())
                .sum();
            let there = status.open_requests + status.booting + status.idle + status.busy + status.stopping;
            let max = case.settings.worker_types[&WorkerTypeName::from(status.name.as_str())].max_instances;
            prop_assert!(asked == 0 || there + asked <= max, "{there} and {asked} of {max}");
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_plan(case in case()) {
        prop_assert_eq!(case.plan(), case.plan());
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut provisioner_sim::rng::Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, usize::try_from(rng.below(i as u64 + 1)).unwrap());
    }
}

#[test]
fn a_launch_that_is_not_visible_is_not_repeated_within_the_window() {
    // No describe call shows the request of the launch: no round in the window requests another instance.
    let case = Case {
        settings: settings([
            ("alpha", worker_type(&["c7g.large"], 20)),
            ("beta", worker_type(&["c7g.large"], 20)),
        ]),
        observation: Observation { key_pair: KeyPair::Ours, ..Observation::default() },
        before: None,
        demand: Ok(Demand {
            pending: [(name("alpha"), PendingTasks { count: 5, oldest: None })].into(),
            ..Demand::default()
        }),
    };
    let mut engine = case.engine();
    let resolved = resolved();
    let mut requests = 0;
    for n in 0..30 {
        let now = clock::after(at(NOW), secs(10 * n));
        let mut round = case.begin(&mut engine, &resolved, &case.observation, now);
        while let Some(effect) = round.next_effect(now) {
            let outcome = match effect {
                Effect::Request(call) => {
                    requests += call.count;
                    let granted = (0..call.count).map(|i| GrantedRequest {
                        id: SpotRequestId::new(format!("sir-{i}")),
                        state: SpotRequestState::Open,
                    });
                    Outcome::Requested(granted.collect())
                }
                _ => Outcome::Done,
            };
            round.outcome(outcome, now);
        }
        round.end(now);
    }
    assert_eq!(requests, 5);
}
