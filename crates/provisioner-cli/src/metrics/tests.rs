use std::collections::BTreeSet;
use std::path::Path;

use provisioner::internal::config;
use provisioner::internal::daemon::QueueRead;
use provisioner::internal::daemon::StopListener;
use provisioner::internal::domain::ids::{InstanceId, InstanceType, SpotRequestId, Zone};
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::prices::SpotPrices;
use provisioner::internal::domain::refusal::{Refusal, RefusalClass};
use provisioner::internal::engine::{Action, Machines, Note, NoteKind, Reason, ReasonKind, Report};
use provisioner::internal::status::RoundRecord;

use super::*;
use crate::doc_tests::monitoring::promtool;

#[path = "../../../../tests/support/openmetrics.rs"]
mod openmetrics;

use openmetrics::Family;

fn settings(names: &[&str]) -> Settings {
    let mut text =
        "[limits]\nmax-instances = 30\nmax-usd-per-hour = 2.5\nmax-usd-per-day = 20\n".to_owned();
    for name in names {
        text.push_str(
            &[
                "[worker-types.",
                name,
                "]\nimage-id = \"ami-00000000000000b86\"\ninstance-types = [\"m5.large\"]\n",
                "max-price = 0.1\nmax-instances = 20\n",
            ]
            .concat(),
        );
    }
    config::parse(&text, Path::new("/")).unwrap().settings
}

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn status(name: &str, pending: u64) -> WorkerTypeStatus {
    let oldest_pending = (pending > 0).then(|| "2026-11-23T11:58:30Z".parse().unwrap());
    WorkerTypeStatus {
        name: name.to_owned(),
        pending,
        open_requests: 2,
        wanted: pending + 1,
        oldest_pending,
        ..WorkerTypeStatus::default()
    }
}

/// A plan with this many pending tasks of each type.
fn plan(pending: &[(&str, u64)]) -> Plan {
    let worker_types = pending.iter().map(|(name, pending)| status(name, *pending)).collect();
    Plan { worker_types, ..Plan::default() }
}

fn done(plan: Plan, executed: Vec<ActionOutcome>) -> RoundEnd {
    RoundEnd::Done(Report {
        demand_known: plan.demand_known(),
        plan,
        executed,
        wake: noon(),
        incomplete: false,
        throttled: false,
    })
}

fn executed(kind: ActionKind, result: ActionResult) -> ActionOutcome {
    let reason = Reason { kind: ReasonKind::PendingTasks, text: "because".to_owned() };
    ActionOutcome { action: Action { kind, worker_type: None, reason }, launch: None, result }
}

fn machines(name: Option<&str>, usage: Usage, zone: &str, count: u64) -> Machines {
    let pool = Pool { instance_type: InstanceType::from("m5.large"), zone: Some(Zone::from(zone)) };
    Machines { worker_type: name.map(WorkerTypeName::from), usage, pool: Some(pool), count }
}

/// The knowledge of a daemon, and its clock.
struct Life {
    metrics: Metrics,
    settings: Settings,
    now: Instant,
    machines: Vec<Machines>,
    read: QueueRead,
}

impl Life {
    fn new(names: &[&str]) -> Self {
        let settings = settings(names);
        Self {
            metrics: Metrics::new(CallCounter::default(), Some(StopListener::default()), &settings),
            settings,
            now: Instant::now(),
            machines: Vec::new(),
            read: QueueRead { outcome: Some(Ok(())), ..QueueRead::default() },
        }
    }

    /// A round that ends this many seconds after the last.
    fn round(&mut self, seconds: u64, end: &RoundEnd) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        let mut prices = SpotPrices::default();
        let known = machines(None, Usage::Busy, "us-west-2a", 1).pool.unwrap();
        let found = [(known.clone(), UsdPerHour::from_micros(40_000))].into();
        prices.learn(&BTreeSet::from([known]), &found, noon());
        let turn = RoundSummary {
            settings: &self.settings,
            read: &self.read,
            end,
            ended: noon(),
            took: Duration::from_millis(300),
            machines: &self.machines,
            prices: &prices,
            record: &RoundRecord::default(),
            last_success: Some(noon()),
            failed_rounds: 0,
            next: Duration::from_secs(10),
        };
        self.metrics.update(&turn, self.now);
        self
    }

    fn families(&self) -> Vec<Family> {
        let text = self.metrics.render(TextFormat::OpenMetrics).unwrap();
        openmetrics::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The value of a series, written `name{label="value"}`; `None` if it is absent.
    fn value(&self, series: &str) -> Option<f64> {
        let shown = |sample: &openmetrics::Sample| {
            let labels = sample.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
            let labels = labels.collect::<Vec<_>>().join(",");
            if labels.is_empty() {
                sample.name.clone()
            } else {
                format!("{}{{{labels}}}", sample.name)
            }
        };
        let samples = self.families().into_iter().flat_map(|family| family.samples);
        samples.into_iter().find(|sample| shown(sample) == series).map(|sample| sample.value)
    }
}

fn failed() -> RoundEnd {
    let error = provisioner::internal::aws::Error {
        operation: "DescribeInstances",
        resource: "key-name `x`".to_owned(),
        refusal: refusal(RefusalClass::Transient),
    };
    RoundEnd::Failed { error, wake: noon() }
}

fn refusal(class: RefusalClass) -> Refusal {
    Refusal { class, code: "Code".to_owned(), message: String::new(), request_id: None }
}

#[test]
fn a_round_is_counted() {
    let mut life = Life::new(&["linux", "windows"]);
    life.machines = vec![
        machines(Some("linux"), Usage::Busy, "us-west-2a", 3),
        machines(Some("linux"), Usage::Booting, "us-west-2b", 2),
        machines(Some("gone"), Usage::Idle, "us-west-2a", 1),
        machines(None, Usage::Busy, "us-west-2a", 4),
    ];
    let ids = |n: usize| (0..n).map(|n| InstanceId::new(format!("i-{n}"))).collect::<Vec<_>>();
    let requests = |n: usize| (0..n).map(|n| SpotRequestId::new(format!("sir-{n}"))).collect();
    let actions = vec![
        executed(ActionKind::Request(5), ActionResult::Done(requests(3))),
        executed(ActionKind::Request(4), ActionResult::Refused(refusal(RefusalClass::NoCapacity))),
        executed(ActionKind::Terminate(ids(2)), ActionResult::Done(Vec::new())),
        executed(ActionKind::Tag(ids(7)), ActionResult::Unknown(refusal(RefusalClass::Transient))),
    ];
    let mut plan = plan(&[("linux", 5), ("windows", 0)]);
    for _ in 0..2 {
        plan.notes.push(Note::new(None, NoteKind::StrayKept, String::new()));
    }
    life.round(0, &done(plan, actions));
    for (series, value) in [
        ("provisioner_reconcile_total{outcome=\"done\"}", 1.0),
        ("provisioner_reconcile_total{outcome=\"failed\"}", 0.0),
        ("provisioner_reconcile_duration_seconds_count", 1.0),
        ("provisioner_reconcile_duration_seconds_bucket{le=\"0.25\"}", 0.0),
        ("provisioner_reconcile_duration_seconds_bucket{le=\"0.5\"}", 1.0),
        ("provisioner_last_success_timestamp_seconds", 1_795_435_200.0),
        ("provisioner_failed_rounds", 0.0),
        ("provisioner_actions_total{kind=\"request\",outcome=\"done\"}", 3.0),
        ("provisioner_actions_total{kind=\"request\",outcome=\"refused\"}", 4.0),
        ("provisioner_actions_total{kind=\"terminate\",outcome=\"done\"}", 2.0),
        ("provisioner_actions_total{kind=\"tag\",outcome=\"unknown\"}", 7.0),
        ("provisioner_actions_total{kind=\"cancel\",outcome=\"done\"}", 0.0),
        ("provisioner_notes{kind=\"stray-kept\"}", 2.0),
        ("provisioner_queue_reads_total{outcome=\"ok\"}", 1.0),
        ("provisioner_pending_tasks{worker_type=\"linux\"}", 5.0),
        ("provisioner_oldest_pending_seconds{worker_type=\"linux\"}", 90.0),
        ("provisioner_oldest_pending_seconds{worker_type=\"windows\"}", 0.0),
        ("provisioner_desired_instances{worker_type=\"linux\"}", 6.0),
        ("provisioner_instances{state=\"busy\",worker_type=\"linux\"}", 3.0),
        ("provisioner_instances{state=\"booting\",worker_type=\"linux\"}", 2.0),
        ("provisioner_instances{state=\"idle\",worker_type=\"windows\"}", 0.0),
        ("provisioner_instances{state=\"idle\",worker_type=\"_other\"}", 1.0),
        ("provisioner_instances{state=\"busy\",worker_type=\"_other\"}", 4.0),
        ("provisioner_spot_requests{state=\"open\",worker_type=\"linux\"}", 2.0),
        ("provisioner_hourly_cost_dollars{state=\"busy\",worker_type=\"linux\"}", 0.12),
        ("provisioner_hourly_cost_dollars{state=\"booting\",worker_type=\"linux\"}", 0.0),
        ("provisioner_unpriced_instances{state=\"booting\",worker_type=\"linux\"}", 2.0),
        ("provisioner_max_instances{worker_type=\"linux\"}", 20.0),
        ("provisioner_limit_instances", 30.0),
        ("provisioner_limit_hourly_dollars", 2.5),
        ("provisioner_limit_daily_dollars", 20.0),
    ] {
        assert_eq!(life.value(series), Some(value), "{series}");
    }
}

#[test]
fn unknown_values_are_left_out() {
    let mut life = Life::new(&["linux"]);
    life.round(0, &done(plan(&[("linux", 5)]), Vec::new()));
    let mut unknown = plan(&[("linux", 0)]);
    unknown.notes.push(Note::new(None, NoteKind::DemandUnknown, String::new()));
    life.read = QueueRead { outcome: Some(Err("too-slow")), ..QueueRead::default() };
    life.round(10, &done(unknown, Vec::new()));
    assert_eq!(life.value("provisioner_pending_tasks{worker_type=\"linux\"}"), None);
    assert_eq!(life.value("provisioner_desired_instances{worker_type=\"linux\"}"), None);
    assert_eq!(life.value("provisioner_queue_reads_total{outcome=\"too-slow\"}"), Some(1.0));
    assert_eq!(life.value("provisioner_reconcile_total{outcome=\"demand-unknown\"}"), Some(1.0));
}

#[test]
fn a_failed_round_leaves_the_last_picture() {
    let mut life = Life::new(&["linux"]);
    life.machines = vec![machines(Some("linux"), Usage::Busy, "us-west-2a", 3)];
    life.round(0, &done(plan(&[("linux", 5)]), Vec::new()));
    life.round(10, &failed());
    assert_eq!(life.value("provisioner_reconcile_total{outcome=\"failed\"}"), Some(1.0));
    assert_eq!(life.value("provisioner_pending_tasks{worker_type=\"linux\"}"), Some(5.0));
    let busy = "provisioner_instances{state=\"busy\",worker_type=\"linux\"}";
    assert_eq!(life.value(busy), Some(3.0));
}

#[test]
fn waiting_adds_up_between_rounds_that_know() {
    let mut life = Life::new(&["linux"]);
    let series = "provisioner_task_waiting_while_allowed_seconds_total{worker_type=\"linux\"}";
    assert_eq!(life.value(series), Some(0.0));
    life.round(0, &done(plan(&[("linux", 5)]), Vec::new()));
    assert_eq!(life.value(series), Some(0.0));
    life.round(10, &done(plan(&[("linux", 2)]), Vec::new()));
    assert_eq!(life.value(series), Some(50.0));
    life.round(5, &failed());
    life.round(100, &done(plan(&[("linux", 3)]), Vec::new()));
    assert_eq!(life.value(series), Some(50.0), "what happened meanwhile is not known");
    let mut full = plan(&[("linux", 40)]);
    full.notes.push(Note::new(Some(&"linux".into()), NoteKind::AtMaximum, String::new()));
    life.round(10, &done(full, Vec::new()));
    assert_eq!(life.value(series), Some(80.0));
    life.round(10, &done(plan(&[("linux", 0)]), Vec::new()));
    assert_eq!(life.value(series), Some(100.0), "only the two that requests are open for");
}

#[test]
fn waits_are_added_up() {
    let mut life = Life::new(&["linux"]);
    for name in ["linux", "gone"] {
        let mut waits = TaskWaits::default();
        waits.record(Duration::from_secs(45));
        life.read.waits.insert(name.into(), waits);
    }
    let end = done(plan(&[("linux", 0)]), Vec::new());
    life.round(0, &end).round(10, &end);
    let series = |rest: &str| format!("provisioner_task_wait_seconds_{rest}");
    assert_eq!(life.value(&series("count{worker_type=\"linux\"}")), Some(2.0));
    assert_eq!(life.value(&series("sum{worker_type=\"linux\"}")), Some(90.0));
    let bucket = |bound| series(&format!("bucket{{le=\"{bound}\",worker_type=\"linux\"}}"));
    assert_eq!(life.value(&bucket("30.0")), Some(0.0));
    assert_eq!(life.value(&bucket("60.0")), Some(2.0));
    assert_eq!(life.value(&series("count{worker_type=\"gone\"}")), None);
}

#[test]
fn a_removed_worker_type_vanishes() {
    let mut life = Life::new(&["linux", "windows"]);
    life.machines = vec![machines(Some("windows"), Usage::Busy, "us-west-2a", 1)];
    life.round(0, &done(plan(&[("linux", 5), ("windows", 5)]), Vec::new()));
    assert!(life.metrics.render(TextFormat::OpenMetrics).unwrap().contains("windows"));
    life.settings = settings(&["linux"]);
    life.round(10, &failed());
    let text = life.metrics.render(TextFormat::OpenMetrics).unwrap();
    assert!(!text.contains("windows"), "{text}");
    let other = "provisioner_instances{state=\"busy\",worker_type=\"_other\"}";
    assert_eq!(life.value(other), Some(1.0));
}

/// `docs/metrics.md` has the names, types and labels that are rendered.
#[test]
fn the_document_has_every_metric() {
    let document = include_str!("../../../../docs/metrics.md");
    let mut told = BTreeSet::new();
    for row in document.lines().filter(|line| line.starts_with("| `p")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        assert!(!meaning.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels: BTreeSet<_> = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        told.insert((name.trim_matches('`').to_owned(), kind.to_owned(), labels));
    }

    let mut life = Life::new(&["linux"]);
    life.machines = vec![machines(Some("linux"), Usage::Busy, "us-west-2a", 3)];
    let mut plan = plan(&[("linux", 5)]);
    plan.notes.push(Note::new(None, NoteKind::StrayKept, String::new()));
    life.metrics.attempts.add("DescribeInstances", None);
    life.round(0, &done(plan, Vec::new()));
    let mut rendered = BTreeSet::new();
    for Family { name, kind, samples, .. } in life.families() {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let mut labels: BTreeSet<_> =
            samples.iter().flat_map(|sample| sample.labels.keys().cloned()).collect();
        labels.remove("le");
        assert!(!samples.is_empty(), "{name}");
        rendered.insert((format!("{name}{suffix}"), kind, labels));
    }
    assert_eq!(told, rendered);
}

#[test]
fn promtool_finds_nothing_in_what_everybody_but_prometheus_is_answered() {
    assert_eq!(TextFormat::accepted("*/*"), TextFormat::Prometheus);
    let mut life = Life::new(&["linux"]);
    life.machines = vec![machines(Some("linux"), Usage::Busy, "us-west-2a", 3)];
    life.metrics.attempts.add("DescribeInstances", None);
    life.round(0, &done(plan(&[("linux", 5)]), Vec::new()));
    let text = life.metrics.render(TextFormat::Prometheus).unwrap();
    let linted = |text: &str| promtool(&["check", "metrics"], text);
    assert!(linted(&text).is_none_or(|found| found == Ok(())), "{:?}", linted(&text));
    assert!(text.contains("# TYPE provisioner_reconcile_total counter\n"), "{text}");
    let samples = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let open = life.metrics.render(TextFormat::OpenMetrics).unwrap();
    assert_eq!(samples(&text).len(), samples(&open).len());
    // OpenMetrics is not what promtool reads.
    assert!(linted(&open).is_none_or(|found| found.is_err()));
}

#[test]
fn a_failed_reload_is_a_metric() {
    let life = Life::new(&[]);
    let name = "provisioner_config_last_reload_successful";
    assert_eq!(life.value(name), Some(1.0));
    life.metrics.reloaded(false);
    assert_eq!(life.value(name), Some(0.0));
    life.metrics.reloaded(true);
    assert_eq!(life.value(name), Some(1.0));
}
