//! `provisionerd` and its commands.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use provisioner::internal::domain::duration;

use super::{GlobalArgs, IamPolicyArgs, Program, SimulateArgs, StatusArgs};

/// Keeps the EC2 spot capacity that the tasks of a queue need.
///
/// It looks at the pending tasks of a queue and at what there is in EC2, per worker type, and requests,
/// cancels and terminates until the one fits the other. What it may do is in provisioner.toml: start
/// with `setup-aws`, which makes that file and the key-name that marks everything it owns, and end with
/// `cleanup-aws`, which removes all of it.
#[derive(Parser, Clone, Debug)]
#[command(name = "provisionerd", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  provisionerd demo             watch it work, without an AWS account
  provisionerd validate --aws   check the configuration, and what it names
  provisionerd plan             see what a round would do
  provisionerd run              start the daemon
  provisionerd status           see how it is doing

Exit codes: 0 done; 1 failed; 2 usage, configuration, or wrong account or
region; 3 `plan --exit-code` found actions; 4 partly done; 130 second interrupt")]
pub struct Provisionerd {
    /// Options of every command.
    #[command(flatten)]
    pub globals: GlobalArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl AsRef<GlobalArgs> for Provisionerd {
    fn as_ref(&self) -> &GlobalArgs {
        &self.globals
    }
}

/// The commands of `provisionerd`.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Run the loop: request, cancel and terminate as the tasks change
    ///
    /// A round looks at the queue and at EC2, decides, and acts. The first one comes at once, the
    /// next ones every `provisioner.interval`, or sooner after a POST to /wake. What is decided and
    /// why is logged. Nothing is decided on half a look: without the queue, nothing is launched,
    /// cancelled or ended on its account. SIGHUP reads the configuration again.
    Run(RunArgs),

    /// Print what the next round would do and why, and change nothing
    ///
    /// Also says why something is not done: a maximum, a limit, no capacity, a launch on its way. A
    /// permission to change anything is not needed. `--save-snapshot` saves what the plan was made
    /// from, and `--snapshot` makes the plan again, on any machine and without AWS.
    Plan(PlanArgs),

    /// Print tasks, instances and what they cost, the last round, and what is wrong
    ///
    /// Per worker type: pending tasks and the age of the oldest, instances wanted, requests open,
    /// instances by what they do, and what they cost per hour at spot prices of the last minutes. Read
    /// from AWS and the queue, and from what the daemon left in its state directory; or from a running
    /// daemon with `--url`. Nothing is changed. What could not be read is unknown, and the errors say
    /// why, with the fix.
    Status(StatusArgs),

    /// Check the configuration, and with `--aws` what it names in AWS
    ///
    /// Every problem is named with its file, line and key, and how to mend it. `--aws` looks at the
    /// key pair, images, instance types per zone, subnets, security groups and instance profiles,
    /// and tries the calls of a round with EC2's `DryRun`. Nothing is changed. What cannot be known
    /// without buying an instance is listed as not checkable.
    Validate(ValidateArgs),

    /// Print the effective configuration and where each value came from
    ///
    /// Highest wins: command line, environment (`PROVISIONER__SECTION__KEY`), ./provisioner.toml, the
    /// user's file, the machine's file, the AWS SDK's own region and profile, defaults. `--config`
    /// replaces the three files.
    #[command(after_help = "\
Examples:
  provisionerd config
  provisionerd config --output json

Secrets are left out")]
    Config,

    /// Watch the whole thing work, on a simulated EC2 and without an AWS account
    ///
    /// The engine of `run`, unchanged, with a queue, workers and an EC2 that are all inside this
    /// program: six hours of CI in two minutes, with prices that move, a zone that runs empty and
    /// instances that are taken back. On a terminal a live table, else a line per action with its
    /// reason; in the end what it cost and how long tasks waited. Nothing is read, nothing is sent.
    Demo(DemoArgs),

    /// Print the least-privilege IAM policy for this configuration
    ///
    /// One for `provisionerd` itself (`--for run`: all its commands), one for `setup-aws` and one for
    /// `cleanup-aws`, as IAM takes it. It allows what the configuration names and nothing else; where
    /// EC2 allows no narrower policy, a warning on stderr says so and why. Nobody in AWS is asked.
    IamPolicy(IamPolicyArgs),

    /// Replay a load in virtual time, and print what it costs and how long tasks wait
    ///
    /// Several capacity policies side by side, on a load of your own or a made-up one, in seconds and
    /// without AWS. The policies are the daemon's own code. Without `--worker-type` and `--config` no
    /// configuration file is read: at most 1,000 instances, startups of 90 s of which 1 % take over
    /// 240 s, a round every 10 s. With a worker type: its policy, its limits, its prices and
    /// `provisioner.interval`.
    Simulate(SimulateArgs),

    /// Print a script that completes command lines in a shell
    ///
    /// It goes to stdout; where the shell looks for it is the shell's matter. Each of the three
    /// programs has its own.
    Completions(CompletionsArgs),

    /// Print a man page, or write all of them
    ///
    /// There is one per program and command, and provisioner.toml(5) about the configuration.
    Man(ManArgs),
}

/// `provisionerd run`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd run
  provisionerd run --once              one round, for cron or for trying
  provisionerd run --once --dry-run    the same, but nothing is done

The first SIGINT or SIGTERM ends it after the action in flight; the second at
once. Ending the daemon never terminates instances: that is `cleanup-aws`")]
pub struct RunArgs {
    /// Run one round and end
    #[arg(long)]
    pub once: bool,

    /// Change nothing in AWS; only say what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Launch at once although the ledger is lost: nothing was in flight
    ///
    /// Without the ledger nobody knows what was asked for and is not visible yet. So nothing is
    /// launched until `provisioner.visibility-window` has passed, unless you say that nothing was.
    #[arg(long)]
    pub assume_clean: bool,
}

/// `provisionerd validate`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd --config ./provisioner.toml validate
  provisionerd validate --aws

Ends with 2 if `provisionerd run` would refuse the configuration, or if launches
would fail; with 1 if AWS did not answer")]
pub struct ValidateArgs {
    /// Also look in AWS, and change nothing there
    #[arg(long)]
    pub aws: bool,
}

/// `provisionerd plan`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd plan
  provisionerd plan --exit-code        3 if there is something to do
  provisionerd plan --save-snapshot now.json
  provisionerd plan --snapshot now.json --output json")]
pub struct PlanArgs {
    /// End with 3 if there are actions
    #[arg(long)]
    pub exit_code: bool,

    /// Plan from a saved observation instead of AWS and the queue
    #[arg(long, value_name = "FILE", conflicts_with = "save_snapshot")]
    pub snapshot: Option<PathBuf>,

    /// Save the observation the plan was made from; no credentials and no user data are in it
    #[arg(long, value_name = "FILE")]
    pub save_snapshot: Option<PathBuf>,
}

/// `provisionerd demo`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd demo
  provisionerd demo --speed 30 --for 1h      slowly
  provisionerd demo --speed max --for 24h    a day at once, and its summary
  provisionerd demo --seed 2 --output json | jq .cost_usd
  provisionerd demo --speed 1 --serve-ec2    and look at it with the AWS CLI

The same seed is the same day. Ctrl-C ends it with its summary")]
pub struct DemoArgs {
    /// How many times as fast as a clock; `max` does not wait at all
    #[arg(long, value_name = "N", default_value = "180", allow_negative_numbers = true)]
    pub speed: Speed,

    /// How long it lasts, on the simulated clock
    #[arg(long = "for", value_name = "TIME", default_value = "6h", value_parser = length)]
    pub length: Duration,

    /// Which day it is: all chance comes from this number
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,

    /// Also answer the AWS CLI and SDKs, on this port of 127.0.0.1; 0 is any that is free
    ///
    /// They may look at everything, and launch, tag, cancel and terminate; how to is said at the start.
    /// Nobody's credentials are checked, no other machine can connect, and account and ids are none that
    /// AWS issues.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "8315")]
    pub serve_ec2: Option<u16>,
}

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as a clock.
    Times(f64),
    /// As fast as it can be computed.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(times) if (0.1..=100_000.0).contains(&times) => Ok(Self::Times(times)),
            _ => Err("a number from 0.1 to 100000, or `max`, is expected".to_owned()),
        }
    }
}

/// The longest demonstration: memory grows with it.
const LONGEST: Duration = Duration::from_hours(24 * 31);

fn length(text: &str) -> Result<Duration, String> {
    let length = duration::parse(text).map_err(|error| error.to_string())?;
    if length < Duration::from_mins(1) || length > LONGEST {
        return Err("from 1m to 744h (31 days) is possible".to_owned());
    }
    Ok(length)
}

/// `provisionerd completions`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd completions bash > /etc/bash_completion.d/provisionerd
  provisionerd completions zsh > ~/.zfunc/_provisionerd
  provisionerd completions fish --program cleanup-aws
  source <(provisionerd completions bash)      for this shell only")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,

    /// The program whose command lines are completed
    #[arg(long, value_name = "PROGRAM", value_enum, default_value_t)]
    pub program: Program,
}

/// `provisionerd man`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd man run | man -l -
  provisionerd man provisioner.toml | man -l -
  provisionerd man --dir /usr/local/share/man    all pages, by section")]
pub struct ManArgs {
    /// The page: a program, a command of `provisionerd`, or `provisioner.toml`
    #[arg(value_name = "PAGE", default_value = "provisionerd", conflicts_with = "dir")]
    pub page: String,

    /// Write all pages into `man1` and `man5` of this directory, made if missing
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
