//! Measures a round at full size: 1,000 worker types, 1,000,000 pending tasks, 100,000 instances, each with
//! its active spot request. Runs at 10 and 30 % of that show that the cost grows linearly.
//!
//! `cargo bench -p provisioner --no-default-features --bench round`
//!
//! Targets: a round with a full new observation under 250 ms; one in which nothing changed under 5 ms.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::{Demand, PendingTasks, Running};
use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::launch::{ResolvedPlacement, ResolvedWorkerType};
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{
    Instance, InstanceState, KeyPair, Observation, OwnTags, SpotRequest, SpotRequestState,
};
use provisioner::internal::engine::{
    Effect, Engine, GrantedRequest, Inputs, LedgerFound, Memory, Outcome, Report, Resolved, Round,
    Start, StopConsent,
};
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::{
    AskRunning, Aws, Limits, Provisioner, QueueSettings, Server, Settings, Strays, WorkerType,
};

const RUNS: usize = 9;

/// The dimensions of one run.
#[derive(Clone, Copy)]
struct Size {
    percent: u64,
    worker_types: u64,
    tasks: u64,
    instances: u64,
}

impl Size {
    fn new(percent: u64) -> Self {
        Self {
            percent,
            worker_types: 10 * percent,
            tasks: 10_000 * percent,
            instances: 1_000 * percent,
        }
    }
}

fn start() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn key() -> KeyName {
    KeyName::from("provisioner-test-0b9e1f9e-4c1e-4f0e-8a2e-6f6f3b1f7d11")
}

fn name(i: u64) -> WorkerTypeName {
    WorkerTypeName::new(format!("worker-type-{i:04}"))
}

fn settings(size: Size, max_instances: u64) -> Settings {
    let worker_type = WorkerType {
        instance_types: ["c7g.large", "c7a.large", "m7g.large"].map(InstanceType::from).into(),
        max_price: Some(UsdPerHour::from_micros(100_000)),
        policy: Policy::BASIC,
        max_instances,
        ..WorkerType::example()
    };
    Settings {
        provisioner: Provisioner {
            key_name: Some(key()),
            retired: Vec::new(),
            provisioner_id: None,
            interval: Duration::from_secs(10),
            min_interval: Duration::from_secs(1),
            strays: Strays::Terminate,
            adopt_key_name: false,
            visibility_window: Duration::from_mins(5),
            max_failed_rounds: 0,
            state_dir: None,
        },
        limits: Limits {
            max_instances: Some(1_000_000),
            max_usd_per_hour: Some(UsdPerHour::from_micros(1_000_000_000_000)),
            max_usd_per_day: None,
        },
        aws: Aws::default(),
        queue: QueueSettings {
            base_url: "http://localhost:8314/0.1.0".to_owned(),
            running: AskRunning::Auto,
            worker_type_pointer: vec!["workerType".to_owned()],
            timeout: Duration::from_secs(10),
            token_file: None,
        },
        server: Server { listen: None, hosts: Vec::new(), workers: None },
        worker_types: (0..size.worker_types).map(|i| (name(i), worker_type.clone())).collect(),
        retired_max_lifetime: Some(Duration::from_hours(24)),
    }
}

fn id(prefix: &str, i: u64) -> String {
    // The ids are spread like those of EC2.
    format!("{prefix}-0{:016x}", i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn observation(size: Size) -> Observation {
    let mut observation = Observation { key_pair: KeyPair::Ours, ..Observation::default() };
    for i in 0..size.instances {
        let tags = OwnTags {
            key_name: Some(key()),
            worker_type: Some(name(i % size.worker_types)),
            intent: Some(ClientToken::new(id("token", i / 50))),
        };
        let launched = clock::after(start(), Duration::from_secs(i % 3600));
        let (instance, request) = (InstanceId::new(id("i", i)), SpotRequestId::new(id("sir", i)));
        observation.instances.push(Instance {
            id: instance.clone(),
            state: InstanceState::Running,
            instance_type: InstanceType::from("c7g.large"),
            zone: Some(Zone::from("us-west-2a")),
            launch_time: launched,
            spot_request: Some(request.clone()),
            other_platform: None,
            state_reason: None,
            addresses: Vec::new(),
            volumes: Vec::new(),
            tags: tags.clone(),
        });
        observation.spot_requests.push(SpotRequest {
            id: request,
            state: SpotRequestState::Active,
            status_code: "fulfilled".into(),
            status_message: "Your spot request is fulfilled.".into(),
            status_time: Some(launched),
            created: launched,
            instance: Some(instance),
            instance_type: InstanceType::from("c7g.large"),
            zone: Some(Zone::from("us-west-2a")),
            max_price: Some(UsdPerHour::from_micros(100_000)),
            tags,
        });
    }
    // The adapter returns it in this order.
    observation.instances.sort_by(|a, b| a.id.cmp(&b.id));
    observation.spot_requests.sort_by(|a, b| a.id.cmp(&b.id));
    observation
}

fn demand(size: Size) -> Demand {
    let per_type = size.tasks / size.worker_types;
    let pending = PendingTasks { count: per_type, oldest: Some(start()) };
    // Nine tenths of the instances run a task.
    let busy = (0..size.instances).filter(|i| i % 10 != 0);
    let mut tasks: BTreeMap<WorkerTypeName, u64> = BTreeMap::new();
    let mut instances = BTreeMap::new();
    for i in busy {
        *tasks.entry(name(i % size.worker_types)).or_default() += 1;
        instances.insert(InstanceId::new(id("i", i)), 1);
    }
    Demand {
        pending: (0..size.worker_types).map(|i| (name(i), pending)).collect(),
        running: Running::ByInstance { tasks, instances },
        ..Demand::default()
    }
}

/// Carries out a round in a world where every call succeeds at once.
fn carry_out(mut round: Round<'_>, now: Timestamp, next_id: &mut u64) -> Report {
    while let Some(effect) = round.next_effect(now) {
        let outcome = match effect {
            Effect::Request(call) => Outcome::Requested(
                (0..call.count)
                    .map(|_| {
                        *next_id += 1;
                        let id = SpotRequestId::new(id("sir", *next_id));
                        GrantedRequest { id, state: SpotRequestState::Open }
                    })
                    .collect(),
            ),
            Effect::PersistLedger(_)
            | Effect::Cancel(_)
            | Effect::Terminate(_)
            | Effect::Tag { .. } => Outcome::Done,
        };
        round.outcome(outcome, now);
    }
    round.end(now)
}

fn engine(size: Size, max_instances: u64) -> Engine {
    let start_from = Start {
        ledger: LedgerFound::Known(Ledger::default()),
        memory: Memory::default(),
        nonce: 7,
    };
    Engine::new(Arc::new(settings(size, max_instances)), key(), start_from, start())
}

fn resolved(size: Size) -> Resolved {
    let zones = ["us-west-2a", "us-west-2b", "us-west-2c"];
    let placement = |zone: &&str| ResolvedPlacement::new(Some(Zone::from(*zone)), None);
    let resolved = |i: u64| {
        let resolved = ResolvedWorkerType {
            image_id: "ami-0123456789abcdef0".to_owned(),
            security_group_ids: vec!["sg-0123456789abcdef0".to_owned()],
            user_data: None,
            placements: zones.iter().map(placement).collect(),
            lasting_devices: Vec::new(),
        };
        (name(i), Ok(resolved))
    };
    (0..size.worker_types).map(resolved).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Measures the medians of a first round, which launches, and of a round without anything to do.
struct Figures {
    launching: Duration,
    observing: Duration,
}

fn measure(size: Size) -> Figures {
    let observation = observation(size);
    let demand = demand(size);
    let later = |seconds: u64| clock::after(start(), Duration::from_secs(7200 + seconds));
    let resolved = resolved(size);
    let mut launching = Vec::new();
    let mut observing = Vec::new();
    for _ in 0..RUNS {
        // Every worker type is at its maximum.
        let mut next_id = 1_000_000_000;
        let mut full = engine(size, 100);
        let round = |engine: &mut Engine, at: u64, next_id: &mut u64| {
            let now = later(at);
            let demand = Ok(demand.clone());
            let began = Instant::now();
            let inputs =
                Inputs { resolved: &resolved, observation: &observation, observed: now, demand };
            let round = engine.begin_round(inputs, &mut StopConsent::default(), now);
            let report = carry_out(round, now, next_id);
            (began.elapsed(), report)
        };
        round(&mut full, 0, &mut next_id);
        let (time, report) = round(&mut full, 10, &mut next_id);
        observing.push(time);
        assert!(report.plan.actions.is_empty(), "{:?}", report.plan.actions.first());

        // There is room for ten more of each.
        let mut growing = engine(size, 110);
        let (time, report) = round(&mut growing, 0, &mut next_id);
        launching.push(time);
        // Each type wants to; EC2's limits let one burst through at a time.
        assert!(report.executed.len() >= 50, "{} launches", report.executed.len());
    }
    Figures { launching: median(launching), observing: median(observing) }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() {
    println!(
        "median of {RUNS} runs, in ms; in brackets: times the row above, where the size grows by the same"
    );
    println!(
        "{:>5} {:>6} {:>9} {:>9} | {:>22} {:>22}",
        "size", "types", "tasks", "instances", "nothing to do", "every type launches"
    );
    let mut before: Option<(Size, Figures)> = None;
    for percent in [10, 30, 100] {
        let size = Size::new(percent);
        let figures = measure(size);
        let cell = |time: Duration, then: Option<Duration>| match then {
            Some(then) => format!("{:.2} (x{:.1})", ms(time), ms(time) / ms(then)),
            None => format!("{:.2}", ms(time)),
        };
        let then = before.as_ref().map(|(_, figures)| figures);
        println!(
            "{:>4}% {:>6} {:>9} {:>9} | {:>22} {:>22}",
            size.percent,
            size.worker_types,
            size.tasks,
            size.instances,
            cell(figures.observing, then.map(|then| then.observing)),
            cell(figures.launching, then.map(|then| then.launching)),
        );
        before = Some((size, figures));
    }
    let Some((_, full)) = before else { return };
    let verdict = |time: Duration, target: f64| if ms(time) < target { "met" } else { "MISSED" };
    println!(
        "target: a round under 250 ms: {}",
        verdict(full.observing.max(full.launching), 250.0)
    );
}
