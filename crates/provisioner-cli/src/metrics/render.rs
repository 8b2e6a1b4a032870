//! The text of `GET /metrics`, in the `OpenMetrics` format.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet as NoLabels};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use provisioner::internal::aws::CallCounts;
use provisioner::internal::daemon::StopListener;
use provisioner::internal::domain::demand::TaskWaits;
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner::internal::engine::{StopConsentCounts, Usage};

use super::{Metrics, Picture, process, seconds};

/// A format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// `OpenMetrics` 1.0, for those who ask for it, as Prometheus does.
    OpenMetrics,
    /// Prometheus's own text format 0.0.4, which everything else reads (`promtool check metrics`).
    Prometheus,
}

impl TextFormat {
    /// Returns the format for a request with this `Accept` header.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes an `OpenMetrics` text in Prometheus's format. They differ for what we write in two points: there,
/// the family of a counter has the name of its sample, with `_total`; and there is no mark at the end.
fn to_prometheus(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                // Writing to a String cannot fail.
                let _ = writeln!(written, "# HELP {name}{total} {help}");
            }
            let _ = writeln!(written, "# TYPE {name}{total} {kind}");
        } else if !line.starts_with('#') {
            written.push_str(line);
            written.push('\n');
        }
    }
    written
}

impl Metrics {
    /// Returns the text of all metrics as of now.
    pub(crate) fn render(&self, format: TextFormat) -> Result<String, fmt::Error> {
        let scrape = Scrape {
            picture: self.picture(),
            attempts: self.attempts.counts(),
            asks: self.stop_listener.as_ref().map(StopListener::counts),
            started: self.started,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let mut body = String::new();
        text::encode(&mut body, &registry)?;
        Ok(match format {
            TextFormat::OpenMetrics => body,
            TextFormat::Prometheus => to_prometheus(&body),
        })
    }
}

/// One scrape, all of it from the same moment.
#[derive(Debug)]
struct Scrape {
    picture: Arc<Picture>,
    attempts: CallCounts,
    /// `None` if the daemon does not listen for workers.
    asks: Option<StopConsentCounts>,
    started: Timestamp,
}

type Labels<'a> = [(&'static str, &'a str)];

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.loop_and_calls(&mut to)?;
        self.asks(&mut to)?;
        self.tasks(&mut to)?;
        self.capacity(&mut to)?;
        self.process(&mut to)
    }
}

impl Scrape {
    fn loop_and_calls(&self, to: &mut Families<'_>) -> fmt::Result {
        let Picture { rounds, durations, actions, queue_reads, notes, .. } = &*self.picture;
        let mut family = to.counter("provisioner_reconcile", "Rounds by outcome")?;
        for (outcome, count) in rounds {
            family.count(&[("outcome", outcome)], *count)?;
        }
        let mut family = to.histogram(
            "provisioner_reconcile_duration_seconds",
            "Duration of rounds, including the waiting for EC2 and the queue",
        )?;
        family.spread(&[], durations.sum(), durations.bounds(), durations.counts())?;
        let mut family = to.gauge(
            "provisioner_last_success_timestamp_seconds",
            "When the last round ended that read EC2 and the queue and decided",
        )?;
        if let Some(at) = self.picture.last_success {
            family.value(&[], unix(at))?;
        }
        let mut family = to.gauge("provisioner_failed_rounds", "Consecutive rounds that failed")?;
        family.whole(&[], self.picture.failed_rounds.into())?;
        let mut family = to.gauge(
            "provisioner_config_last_reload_successful",
            "1 if the configuration in force is the one that was asked for last, else 0",
        )?;
        family.whole(&[], self.picture.reload_successful.into())?;
        let mut family = to.counter(
            "provisioner_actions",
            "Instances and spot requests by kind and outcome of the action on them",
        )?;
        for ((kind, outcome), count) in actions {
            family.count(&[("kind", kind), ("outcome", outcome)], *count)?;
        }
        let mut family = to.gauge(
            "provisioner_notes",
            "Notes of the last decided round on what it withheld or found",
        )?;
        for (kind, count) in notes {
            family.whole(&[("kind", kind)], *count)?;
        }
        let mut family =
            to.counter("provisioner_aws_requests", "HTTP requests to AWS, including retries")?;
        for ((operation, class), count) in &self.attempts {
            let outcome = class.map_or("ok", RefusalClass::as_str);
            family.count(&[("operation", operation), ("outcome", outcome)], *count)?;
        }
        let mut family =
            to.counter("provisioner_queue_reads", "Reads of the queue, one per round")?;
        for (outcome, count) in queue_reads {
            family.count(&[("outcome", outcome)], *count)?;
        }
        Ok(())
    }

    fn asks(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(counts) = self.asks else { return Ok(()) };
        let StopConsentCounts {
            promised,
            stayed,
            busy,
            agreed,
            too_late,
            lapsed,
            withdrawn,
            wrong_token,
            wrong_address,
            no_such_instance,
        } = counts;
        let mut family = to.counter(
            "provisioner_worker_asks",
            "Questions of workers whether to stop, by outcome",
        )?;
        for (outcome, count) in [
            ("stop", promised),
            ("stay", stayed),
            ("busy", busy),
            ("stopping", agreed),
            ("too-late", too_late),
            ("wrong-token", wrong_token),
            ("wrong-address", wrong_address),
            ("no-such-instance", no_such_instance),
        ] {
            family.count(&[("outcome", outcome)], count)?;
        }
        let mut family = to.counter(
            "provisioner_worker_promises_ended",
            "Workers that were told to stop and did not, by reason",
        )?;
        for (why, count) in [("lapsed", lapsed), ("withdrawn", withdrawn)] {
            family.count(&[("why", why)], count)?;
        }
        Ok(())
    }

    fn tasks(&self, to: &mut Families<'_>) -> fmt::Result {
        let Picture { worker_types, demand_known, ended, .. } = &*self.picture;
        // An unknown value is left out, because a zero would look like an empty queue.
        let known = if *demand_known { worker_types.as_slice() } else { &[] };
        let mut family = to.gauge("provisioner_pending_tasks", "Waiting tasks")?;
        for status in known {
            family.whole(&[("worker_type", &status.name)], status.pending)?;
        }
        let mut family = to.gauge(
            "provisioner_oldest_pending_seconds",
            "Age of the oldest waiting task, 0 if there is none",
        )?;
        for status in known {
            let age = match (status.pending, status.oldest_pending, ended) {
                (0, _, _) => Some(0.0),
                (_, Some(oldest), Some(ended)) => {
                    Some(seconds((*ended - oldest).try_into().unwrap_or_default()))
                }
                _ => None,
            };
            if let Some(age) = age {
                family.value(&[("worker_type", &status.name)], age)?;
            }
        }
        let mut family = to.gauge(
            "provisioner_desired_instances",
            "Total number of instances that the policy wants",
        )?;
        for status in known {
            family.whole(&[("worker_type", &status.name)], status.wanted)?;
        }
        let mut family = to.histogram(
            "provisioner_task_wait_seconds",
            "Time from the creation of a task to its start",
        )?;
        for (name, waits) in &self.picture.waits {
            let bounds = TaskWaits::BOUNDS.into_iter().map(seconds);
            let labels = [("worker_type", name.as_str())];
            family.spread(&labels, seconds(waits.total()), bounds, waits.counts())?;
        }
        let mut family = to.counter(
            "provisioner_task_waiting_while_allowed_seconds",
            "Task-seconds waited while no maximum, limit or hold explained it",
        )?;
        for (name, sum) in &self.picture.waited_while_allowed {
            family.sum(&[("worker_type", name.as_str())], *sum)?;
        }
        Ok(())
    }

    fn capacity(&self, to: &mut Families<'_>) -> fmt::Result {
        let Picture { worker_types, instances, costs, maximums, limits, .. } = &*self.picture;
        let mut family = to.gauge("provisioner_instances", "Instances by what they do")?;
        for ((name, usage), count) in instances {
            family.whole(&[("worker_type", name), ("state", usage.as_str())], *count)?;
        }
        let mut family = to.gauge(
            "provisioner_spot_requests",
            "Open spot requests, and launches whose answer is not known",
        )?;
        for status in worker_types {
            let labels = [("worker_type", status.name.as_str()), ("state", "open")];
            family.whole(&labels, status.open_requests)?;
        }
        let costing = || costs.iter().filter(|((_, usage), _)| *usage != Usage::Stopping);
        let mut family = to.gauge(
            "provisioner_hourly_cost_dollars",
            "Hourly cost of the instances at the current spot prices, as far as these are known",
        )?;
        for ((name, usage), cost) in costing() {
            let labels = [("worker_type", name.as_str()), ("state", usage.as_str())];
            family.value(&labels, cost.usd_per_hour.dollars())?;
        }
        let mut family = to.gauge(
            "provisioner_unpriced_instances",
            "Instances with an unknown price, which the hourly cost leaves out",
        )?;
        for ((name, usage), cost) in costing() {
            let labels = [("worker_type", name.as_str()), ("state", usage.as_str())];
            family.whole(&labels, cost.unknown_price_machines)?;
        }
        let mut family =
            to.gauge("provisioner_max_instances", "max-instances of the worker type")?;
        for (name, maximum) in maximums {
            family.whole(&[("worker_type", name.as_str())], *maximum)?;
        }
        let mut family = to.gauge("provisioner_limit_instances", "limits.max-instances, if set")?;
        if let Some(limit) = limits.max_instances {
            family.whole(&[], limit)?;
        }
        let mut family =
            to.gauge("provisioner_limit_hourly_dollars", "limits.max-usd-per-hour, if set")?;
        if let Some(limit) = limits.max_usd_per_hour {
            family.value(&[], limit.dollars())?;
        }
        let mut family =
            to.gauge("provisioner_limit_daily_dollars", "limits.max-usd-per-day, if set")?;
        if let Some(limit) = limits.max_usd_per_day {
            family.value(&[], limit.dollars())?;
        }
        Ok(())
    }

    fn process(&self, to: &mut Families<'_>) -> fmt::Result {
        let mut family =
            to.gauge("provisioner_build_info", "1, with the version of the program")?;
        let version = env!("CARGO_PKG_VERSION");
        family.whole(&[("version", version), ("revision", crate::REVISION)], 1)?;
        let mut family =
            to.gauge("process_start_time_seconds", "When the daemon began to measure")?;
        family.value(&[], unix(self.started))?;
        let mut family = to.counter(
            "provisioner_log_lines_lost",
            "Lines of the log that could not be written to stderr",
        )?;
        family.count(&[], crate::stderr::dropped())?;
        let mut family = to.gauge("process_resident_memory_bytes", "Resident memory")?;
        if let Some(bytes) = process::resident_memory_bytes() {
            family.whole(&[], bytes)?;
        }
        let mut family = to.gauge("process_open_fds", "Open file descriptors")?;
        if let Some(count) = process::open_fds() {
            family.whole(&[], count)?;
        }
        Ok(())
    }
}

/// Writes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter(&mut self, name: &'static str, help: &str) -> Result<Family<'_>, fmt::Error> {
        self.family(name, help, MetricType::Counter)
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> Result<Family<'_>, fmt::Error> {
        self.family(name, help, MetricType::Gauge)
    }

    fn histogram(&mut self, name: &'static str, help: &str) -> Result<Family<'_>, fmt::Error> {
        self.family(name, help, MetricType::Histogram)
    }

    fn family(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
    ) -> Result<Family<'_>, fmt::Error> {
        Ok(Family(self.0.encode_descriptor(name, help, None, kind)?))
    }
}

/// One family, whose samples follow.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn count(&mut self, labels: &Labels<'_>, count: u64) -> fmt::Result {
        self.labelled(labels, |to| to.encode_counter::<NoLabels, _, f64>(&count, None))
    }

    fn sum(&mut self, labels: &Labels<'_>, sum: f64) -> fmt::Result {
        self.labelled(labels, |to| to.encode_counter::<NoLabels, _, f64>(&sum, None))
    }

    fn whole(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        self.labelled(labels, |to| to.encode_gauge(&value))
    }

    fn value(&mut self, labels: &Labels<'_>, value: f64) -> fmt::Result {
        self.labelled(labels, |to| to.encode_gauge(&value))
    }

    /// Writes a histogram, with one more count than bounds.
    fn spread(
        &mut self,
        labels: &Labels<'_>,
        sum: f64,
        bounds: impl Iterator<Item = f64>,
        counts: &[u64],
    ) -> fmt::Result {
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
        let count = counts.iter().sum();
        self.labelled(labels, |to| to.encode_histogram::<NoLabels>(sum, count, &buckets, None))
    }

    fn labelled(
        &mut self,
        labels: &Labels<'_>,
        sample: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        // An empty set of labels would be written as `{}`.
        if labels.is_empty() {
            sample(&mut self.0)
        } else {
            sample(&mut self.0.encode_family(&labels)?)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are exact for 100,000 years")]
fn unix(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
