//! `provisionerd simulate`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use provisioner::internal::domain::duration;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner_simulate::policy::SimulatedPolicy;

/// The argument of `--load` that stands for the load that the daemon recorded.
pub(crate) const RECORDED: &str = "recorded";

/// `provisionerd simulate`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd simulate --load synthetic:bursty-ci
  provisionerd simulate --load tasks.csv --policy basic --policy adaptive
  provisionerd simulate --load tasks.csv --worker-type linux --policy basic
  provisionerd simulate --load tasks.csv --plot plot.svg --output json
  provisionerd simulate --load recorded --worker-type linux
  provisionerd simulate --load recorded --worker-type linux --against new.toml
  provisionerd simulate --load tasks.csv --world Z --spot-traces traces/

A load is a CSV or JSON Lines file with `created` (in seconds, or RFC 3339),
`duration` (in seconds) and optionally `worker_type`; a capture of
taskcluster-provisioning-simulator (.dat); synthetic: followed by steady,
bursty-ci, nightly-batch, flash-crowd or mixed; or `recorded`")]
pub struct SimulateArgs {
    /// The tasks: a file, synthetic:NAME, or `recorded`
    ///
    /// `recorded` is the load that `provisionerd run` saw: it records which tasks arrived and how long they
    /// ran in the state directory of the configuration's key-name.
    #[arg(long, value_name = "LOAD", value_parser = LoadNames, hide_possible_values = true)]
    pub load: String,

    /// Simulate this worker type of the configuration
    #[arg(long, value_name = "NAME")]
    pub worker_type: Option<String>,

    /// Compare with the worker type in this configuration file too; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub against: Vec<PathBuf>,

    /// A policy, as NAME or NAME:KEY=VALUE,…; may be given several times
    ///
    /// NAME is `basic`, `naive-2014`, `worker-manager`, `worker-manager-deployed` or `adaptive`. The
    /// settings are `ratio` (worker-manager), `wait-cost` (adaptive) and `idle-timeout`, after which
    /// workers stop by themselves. The default is the worker type's own policy, or `adaptive`; a recorded
    /// load is also simulated with `adaptive` at three settings and with a shorter idle timeout.
    #[arg(long = "policy", value_name = "POLICY", value_parser = policy)]
    pub policies: Vec<SimulatedPolicy>,

    /// The world: P, D, K, S300, R, Q, I or Z
    ///
    /// P: startups take 90 s in the median, and 1 % take over 240 s. D: every startup takes 98 s. K: a
    /// worker's first task takes a minute longer. S300: startups take 3.3 times as long. R: the queue gives
    /// a task to any idle worker, not to the one that has been idle longest. Q: EC2 reclaims 5 % of the
    /// instances per hour. I: the time until a request is filled is independent of the boot time. Z: a
    /// recorded spot market, see --spot-traces.
    #[arg(long, value_name = "WORLD", value_enum, default_value_t, ignore_case = true)]
    pub world: WorldArg,

    /// A recorded spot market for world Z: a folder with files named `ZONE_TYPE.json`
    ///
    /// May be given several times, and may name files. The format is that of skypilot-org/spot-traces:
    /// `metadata.gap_seconds`, and in `data` the number of instances at each sample. Instances are bought
    /// in the pool with capacity where they live longest; a request that finds none is moved to another.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub spot_traces: Vec<PathBuf>,

    /// In world Z, buy on demand, at three times the price, for tasks that wait longer; or `never`
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "5m")]
    pub on_demand_after: Patience,

    /// The number of runs, each with different startups; the results are their means
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,

    /// The first seed; the same seeds give the same results
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// The time between rounds [default: `provisioner.interval`, or 10s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub round: Option<Duration>,

    /// The maximum number of instances [default: the worker type's, or 1000]
    #[arg(long, value_name = "N")]
    pub max_instances: Option<u64>,

    /// The duration of startups: median and 99th percentile, such as 90s,240s
    #[arg(long, value_name = "MEDIAN,P99", value_parser = boot_time)]
    pub boot_time: Option<BootTime>,

    /// Leave out tasks that are created later than this after the first one
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub until: Option<Duration>,

    /// What the policy knows about the workers [default: as the configuration, or `workers`]
    ///
    /// With a worker type: `asking` if `server.worker-listen` is set, `pending` if `queue.running` is
    /// false, and else `counts`.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub knowledge: Option<KnowledgeArg>,

    /// The price of an instance-hour in USD [default: the worker type's `max-price`, or 1]
    #[arg(long, value_name = "USD", value_parser = UsdPerHour::parse)]
    pub price: Option<UsdPerHour>,

    /// Draw the runs of the first seed to this SVG file
    #[arg(long, value_name = "FILE.svg", value_hint = ValueHint::FilePath)]
    pub plot: Option<PathBuf>,
}

/// Takes any load, and offers the names of those that are no files to the shell.
#[derive(Clone)]
pub(crate) struct LoadNames;

impl LoadNames {
    /// The names of the loads that are no files.
    pub(crate) const ALL: [&str; 6] = [
        "synthetic:steady",
        "synthetic:bursty-ci",
        "synthetic:nightly-batch",
        "synthetic:flash-crowd",
        "synthetic:mixed",
        RECORDED,
    ];
}

impl TypedValueParser for LoadNames {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Self::ALL.into_iter().map(PossibleValue::new)))
    }
}

/// `--world`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum WorldArg {
    /// Startups take 90 s in the median, and 1 % take over 240 s.
    #[default]
    P,
    /// Every startup takes 98 s.
    D,
    /// A worker's first task takes a minute longer.
    K,
    /// Startups take 3.3 times as long.
    S300,
    /// The queue gives a task to any idle worker.
    R,
    /// EC2 reclaims 5 % of the instances per hour.
    Q,
    /// The two parts of a startup vary independently of each other.
    I,
    /// A recorded spot market.
    Z,
}

/// `--knowledge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KnowledgeArg {
    /// The number of waiting tasks; workers stop by themselves.
    Pending,
    /// Also the number of running tasks; workers stop by themselves.
    Counts,
    /// Also the workers on which tasks run; workers stop by themselves.
    Ids,
    /// Also, idle workers ask every 30 s whether to stop, and stay up until the answer is yes.
    Asking,
    /// What every worker does; idle workers stop at once when told to.
    Workers,
}

/// `--on-demand-after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// This long.
    For(Duration),
    /// For ever.
    Endless,
}

/// `--boot-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootTime {
    /// Half of the startups are shorter.
    pub median: Duration,
    /// 99 % are shorter.
    pub p99: Duration,
}

fn policy(text: &str) -> Result<SimulatedPolicy, String> {
    text.parse::<SimulatedPolicy>().map_err(|error| format!("{error} ({})", error.hint()))
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| format!("{error}, such as 10s or 4d"))?;
    if duration.is_zero() { Err("must be longer than 0s".to_owned()) } else { Ok(duration) }
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "never" {
        return Ok(Patience::Endless);
    }
    let duration =
        duration::parse(text).map_err(|error| format!("{error}, such as 5m; or never"))?;
    Ok(Patience::For(duration))
}

fn boot_time(text: &str) -> Result<BootTime, String> {
    let (median, p99) = text.split_once(',').unwrap_or((text, text));
    let median = positive(median.trim())?;
    let p99 = positive(p99.trim())?;
    if p99 < median {
        return Err("the 99th percentile must not be below the median".to_owned());
    }
    Ok(BootTime { median, p99 })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use provisioner_simulate::load::{SYNTHETIC_PREFIX, Synthetic};

    use super::super::{Command, Provisionerd};
    use super::*;

    fn parse(args: &str) -> Result<SimulateArgs, String> {
        let words = "provisionerd simulate --load x".split(' ').chain(args.split_whitespace());
        match Provisionerd::try_parse_from(words) {
            Ok(Provisionerd { command: Command::Simulate(args), .. }) => Ok(args),
            Ok(_) => panic!("another command"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_load_that_is_no_file_is_named() {
        let synthetic = Synthetic::ALL.map(|kind| format!("{SYNTHETIC_PREFIX}{}", kind.as_str()));
        let all: Vec<_> = synthetic.iter().map(String::as_str).chain([RECORDED]).collect();
        assert_eq!(LoadNames::ALL.to_vec(), all);
    }

    #[test]
    fn options_have_defaults() {
        let args = parse("").unwrap();
        assert_eq!((args.seeds, args.seed, args.world), (5, 1, WorldArg::P));
        assert!(args.policies.is_empty() && args.round.is_none());
        let args = parse("--world s300 --policy basic --policy worker-manager:ratio=0.5").unwrap();
        assert_eq!(args.world, WorldArg::S300);
        assert_eq!(args.policies[1].to_string(), "worker-manager:ratio=0.5");
    }

    #[test]
    fn typing_errors_are_refused_with_a_suggestion() {
        assert!(parse("--policy adaptve").unwrap_err().contains("did you mean `adaptive`?"));
        assert!(parse("--seeds 0").unwrap_err().contains("1..=1000"));
        assert!(parse("--round 0s").unwrap_err().contains("longer than 0s"));
        assert!(parse("--boot-time 90s,30s").unwrap_err().contains("below the median"));
        assert!(parse("--boot-time soon").unwrap_err().contains("not a duration"));
        assert!(parse("--world X").unwrap_err().contains("S300"));
        assert!(parse("--price -1").is_err());
    }

    #[test]
    fn a_boot_time_without_a_tail_is_constant() {
        let boot_time = |text| parse(&format!("--boot-time {text}")).unwrap().boot_time.unwrap();
        assert_eq!(boot_time("98s").p99, Duration::from_secs(98));
        let expected = BootTime { median: Duration::from_secs(90), p99: Duration::from_mins(4) };
        assert_eq!(boot_time("90s,4m"), expected);
    }
}
