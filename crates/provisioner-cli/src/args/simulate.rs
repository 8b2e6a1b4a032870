//! `provisionerd simulate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use provisioner::internal::domain::duration;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::policy::Policy;

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

A load is CSV or JSON Lines with `created` (seconds, or RFC 3339), `duration`
(seconds) and perhaps `worker_type`; a capture of
taskcluster-provisioning-simulator (.dat); synthetic: with steady, bursty-ci,
nightly-batch, flash-crowd or mixed; or what the daemon recorded")]
pub struct SimulateArgs {
    /// The tasks: a file, synthetic:NAME, or `recorded`
    ///
    /// `recorded` is what `provisionerd run` saw: it notes which tasks came and how long they ran, in the
    /// state directory of the configuration's key-name.
    #[arg(long, value_name = "LOAD", value_hint = ValueHint::FilePath)]
    pub load: String,

    /// Simulate this worker type of the configuration
    #[arg(long, value_name = "NAME")]
    pub worker_type: Option<String>,

    /// Another configuration of the worker type, to hold beside this one; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub against: Vec<PathBuf>,

    /// A policy, as NAME or NAME:KEY=VALUE,…; may be given several times
    ///
    /// `basic`, `naive-2014`, `worker-manager`, `worker-manager-deployed` or `adaptive`. Settings are
    /// `ratio` (worker-manager), `wait-cost` (adaptive) and `idle-timeout`, after which workers end
    /// themselves. Without it: the worker type's own, or `adaptive`. With a recorded load also `adaptive`
    /// at three settings, and a shorter idle timeout.
    #[arg(long = "policy", value_name = "POLICY", value_parser = policy)]
    pub policies: Vec<Policy>,

    /// The world: P, D, K, S300, R, Q, I or Z
    ///
    /// P: startups of 90 s, 1 % over 240 s. D: every startup takes 98 s. K: a worker's first task takes
    /// a minute longer. S300: startups take 3.3 times as long. R: the queue wakes any idle worker, not
    /// the longest idle. Q: 5 % of the instances are reclaimed per hour.
    /// I: how soon a request is filled tells nothing of how long its instance boots. Z: a recorded spot
    /// market, see --spot-traces.
    #[arg(long, value_name = "WORLD", value_enum, default_value_t, ignore_case = true)]
    pub world: WorldArg,

    /// A recorded spot market, for world Z: a folder with `ZONE_TYPE.json`
    ///
    /// May be given several times, and may name files. As in skypilot-org/spot-traces: `metadata.gap_seconds`, and per look in `data` how many instances
    /// there were. Instances are bought where they live longest and capacity is; what finds none is asked
    /// for elsewhere.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub spot_traces: Vec<PathBuf>,

    /// In world Z, buy on demand for tasks that wait longer, at three times the price; or `never`
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "5m")]
    pub on_demand_after: Patience,

    /// How many runs, each with other startups; the results are their means
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,

    /// The first seed; the same seeds give the same results
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Between rounds [default: `provisioner.interval`, or 10s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub round: Option<Duration>,

    /// Most instances [default: the worker type's, or 1000]
    #[arg(long, value_name = "N")]
    pub max_instances: Option<u64>,

    /// How long startups take: median and 99th percentile, as 90s,240s
    #[arg(long, value_name = "MEDIAN,P99", value_parser = boot_time)]
    pub boot_time: Option<BootTime>,

    /// Leave out tasks that are created later than this after the first
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub until: Option<Duration>,

    /// What is known of workers
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    pub knowledge: KnowledgeArg,

    /// What an instance-hour costs, in USD [default: the worker type's `max-price`, or 1]
    #[arg(long, value_name = "USD", value_parser = UsdPerHour::parse)]
    pub price: Option<UsdPerHour>,

    /// Draw the first seed's runs into this file, as SVG
    #[arg(long, value_name = "FILE.svg", value_hint = ValueHint::FilePath)]
    pub plot: Option<PathBuf>,
}

/// `--world`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum WorldArg {
    /// Startups of 90 s, 1 % over 240 s.
    #[default]
    P,
    /// Every startup takes 98 s.
    D,
    /// A worker's first task takes a minute longer.
    K,
    /// Startups take 3.3 times as long.
    S300,
    /// The queue wakes any idle worker.
    R,
    /// 5 % of the instances are reclaimed per hour.
    Q,
    /// The two parts of a startup vary apart from each other.
    I,
    /// A recorded spot market.
    Z,
}

/// `--knowledge`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KnowledgeArg {
    /// How many tasks wait; workers end themselves.
    Pending,
    /// Also how many run; workers end themselves.
    Counts,
    /// Also on which workers; they end themselves.
    Ids,
    /// Also, idle workers ask every 30 s whether to stop, and stay up until they are told so.
    Asking,
    /// What every worker does; idle ones stop at once when they are told.
    #[default]
    Workers,
}

/// `--on-demand-after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// So long.
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

fn policy(text: &str) -> Result<Policy, String> {
    text.parse::<Policy>().map_err(|error| format!("{error} ({})", error.hint()))
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
    let (median, p99) = (positive(median.trim())?, positive(p99.trim())?);
    if p99 < median {
        return Err("the 99th percentile cannot be under the median".to_owned());
    }
    Ok(BootTime { median, p99 })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

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
    fn what_is_not_said_has_a_default() {
        let args = parse("").unwrap();
        assert_eq!((args.seeds, args.seed, args.world), (5, 1, WorldArg::P));
        assert!(args.policies.is_empty() && args.round.is_none());
        let args = parse("--world s300 --policy basic --policy worker-manager:ratio=0.5").unwrap();
        assert_eq!(args.world, WorldArg::S300);
        assert_eq!(args.policies[1].to_string(), "worker-manager:ratio=0.5");
    }

    #[test]
    fn slips_are_refused_with_what_was_meant() {
        assert!(parse("--policy adaptve").unwrap_err().contains("did you mean `adaptive`?"));
        assert!(parse("--seeds 0").unwrap_err().contains("1..=1000"));
        assert!(parse("--round 0s").unwrap_err().contains("longer than 0s"));
        assert!(parse("--boot-time 90s,30s").unwrap_err().contains("under the median"));
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
