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
/// For each worker type it compares the pending tasks of a queue with the instances and spot requests in
/// EC2, and requests, cancels and terminates until they match. Its settings and limits are in
/// provisioner.toml. Start with `setup-aws`, which creates that file and the key-name that marks everything
/// that `provisionerd` owns, and end with `cleanup-aws`, which removes all of it.
#[derive(Parser, Clone, Debug)]
#[command(name = "provisionerd", version = crate::VERSION, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  provisionerd demo             watch it work, without an AWS account
  provisionerd validate --aws   check the configuration against AWS
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
    /// A round reads the queue and EC2, decides, and acts. The first round starts at once, and the next
    /// ones every `provisioner.interval`, or sooner after a POST to /wake. Each decision is logged with its
    /// reason. A round never decides on partial data: while the queue cannot be read, nothing is launched,
    /// cancelled or terminated because of demand. SIGHUP reloads the configuration, and `provisionerd reload`
    /// does so and reports the outcome.
    Run(RunArgs),

    /// Print what the next round would do and why, and change nothing
    ///
    /// The plan also says why something is not done: a maximum, a limit, a lack of capacity, a launch in
    /// flight. It needs read permissions only. `--save-snapshot` saves the observation that the plan was
    /// made from, and `--snapshot` makes the plan again from it, on any machine and without AWS.
    Plan(PlanArgs),

    /// Print tasks, instances and their cost, the last round, and current problems
    ///
    /// For each worker type: the pending tasks and the age of the oldest, the instances that are wanted,
    /// the open requests, the instances by what they do, and their cost per hour at the spot prices of the
    /// last minutes. The data comes from AWS, the queue and the daemon's state directory, or from a
    /// running daemon with `--url`. Nothing is changed. What cannot be read is shown as unknown, and the
    /// errors say why and how to fix it.
    Status(StatusArgs),

    /// Have the running daemon take up the changed configuration, and report whether it did
    ///
    /// It finds the daemon by the lock in its state directory, sends it SIGHUP, and waits up to 10 seconds
    /// for the outcome. A configuration that the daemon refuses changes nothing: the old one stays in
    /// force, the reasons are printed, and the exit code is 1.
    #[command(after_help = "\
Examples:
  provisionerd reload
  provisionerd --config /etc/provisioner/provisioner.toml reload

It needs neither AWS nor the queue, and runs as the daemon's own user or as root")]
    Reload,

    /// Check the configuration, and with `--aws` the AWS resources that it names
    ///
    /// Every problem is printed with its file, line and key, and how to fix it. `--aws` checks the key
    /// pair, images, instance types per zone, subnets, security groups and instance profiles, and tries
    /// the calls of a round with EC2's `DryRun`. Nothing is changed. What cannot be known without buying
    /// an instance is listed as not checkable.
    Validate(ValidateArgs),

    /// Print the effective configuration and where each value came from
    ///
    /// From the highest precedence to the lowest: command line, environment (`PROVISIONER__SECTION__KEY`),
    /// ./provisioner.toml, the user's file, the machine's file, the AWS SDK's own region and profile,
    /// defaults. `--config` replaces the three files.
    #[command(after_help = "\
Examples:
  provisionerd config
  provisionerd config --output json

Secrets are not printed")]
    Config,

    /// Watch it work on a simulated EC2, without an AWS account
    ///
    /// This is the engine of `run`, unchanged, with a queue, workers and an EC2 that are simulated inside
    /// this program: six hours of CI in two minutes, with changing prices, a zone that runs out of
    /// capacity, and instances that EC2 reclaims. It shows a live table on a terminal, and elsewhere a
    /// line per action with its reason. At the end it prints the cost and how long tasks waited. It reads
    /// no files and sends nothing.
    Demo(DemoArgs),

    /// Print the least-privilege IAM policy for this configuration
    ///
    /// There is one policy for `provisionerd` itself (`--for run`: all its commands), one for `setup-aws`
    /// and one for `cleanup-aws`, as JSON for IAM. It allows only what the configuration names; where EC2
    /// allows no narrower policy, a warning on stderr says why. No call is made to AWS.
    IamPolicy(IamPolicyArgs),

    /// Replay a load in virtual time, and print what it costs and how long tasks wait
    ///
    /// It compares several capacity policies on your own or a synthetic load, in seconds and without AWS.
    /// The policies are the daemon's own code. Without `--worker-type` and `--config`, no configuration
    /// file is read, and the simulation has at most 1,000 instances, startups of 90 s in the median with
    /// 1 % over 240 s, and a round every 10 s. With a worker type, its policy, limits and prices apply, and
    /// `provisioner.interval`.
    Simulate(SimulateArgs),

    /// Print a script that completes command lines in a shell
    ///
    /// The script goes to stdout; save it where your shell looks for completions. Each of the three
    /// programs has its own script.
    Completions(CompletionsArgs),

    /// Print a man page, or write all of them
    ///
    /// There is a page for each program and command, and provisioner.toml(5) for the configuration.
    Man(ManArgs),
}

/// `provisionerd run`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd run
  provisionerd run --once              run one round, from cron or as a trial
  provisionerd run --once --dry-run    the same, without changing anything

The first SIGINT or SIGTERM ends it after the action in flight, the second one
at once. Ending the daemon never terminates instances; `cleanup-aws` does")]
#[expect(clippy::struct_excessive_bools, reason = "four flags, none of which excludes another")]
pub struct RunArgs {
    /// Run one round and end
    #[arg(long)]
    pub once: bool,

    /// Only print what would be done; change nothing in AWS
    #[arg(long)]
    pub dry_run: bool,

    /// Launch at once although the ledger is lost, because nothing was in flight
    ///
    /// Without the ledger the daemon cannot know which launches are not visible in EC2 yet. It therefore
    /// launches nothing until `provisioner.visibility-window` has passed, unless you assert with this
    /// option that there are none.
    #[arg(long)]
    pub assume_clean: bool,

    /// Launch although another daemon seems to launch under the same key-name
    ///
    /// A request or an instance that another ledger made after this daemon started is taken for the work of
    /// another daemon, and nothing is launched beside it for `provisioner.visibility-window`. Assert with
    /// this option that there is none.
    #[arg(long)]
    pub assume_alone: bool,
}

/// `provisionerd validate`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd --config ./provisioner.toml validate
  provisionerd validate --aws

The exit code is 2 if `provisionerd run` would refuse the configuration, if a
worker type can never launch, or if launches would fail, and 1 if AWS did not
answer")]
pub struct ValidateArgs {
    /// Also check what the configuration names in AWS; changes nothing there
    #[arg(long)]
    pub aws: bool,
}

/// `provisionerd plan`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd plan
  provisionerd plan --exit-code        exit code 3 if there is something to do
  provisionerd plan --save-snapshot now.json
  provisionerd plan --snapshot now.json --output json")]
pub struct PlanArgs {
    /// Use exit code 3 if there are actions
    #[arg(long)]
    pub exit_code: bool,

    /// Plan from a saved observation instead of AWS and the queue
    #[arg(long, value_name = "FILE", conflicts_with = "save_snapshot")]
    pub snapshot: Option<PathBuf>,

    /// Save the observation that the plan was made from, without credentials and user data
    #[arg(long, value_name = "FILE")]
    pub save_snapshot: Option<PathBuf>,
}

/// `provisionerd demo`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd demo
  provisionerd demo --speed 30 --for 1h      one hour, slowly
  provisionerd demo --speed max --for 24h    a day at once, with its summary
  provisionerd demo --seed 2 --output json | jq .cost_usd
  provisionerd demo --speed 1 --serve-ec2    inspect it with the AWS CLI

The same seed gives the same day. Ctrl-C ends it and prints its summary")]
pub struct DemoArgs {
    /// How many times faster than real time; `max` does not wait at all
    #[arg(long, value_name = "N", default_value = "180", allow_negative_numbers = true)]
    pub speed: Speed,

    /// How long it lasts in simulated time
    #[arg(long = "for", value_name = "TIME", default_value = "6h", value_parser = length)]
    pub length: Duration,

    /// The seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,

    /// Also answer the AWS CLI and SDKs on this port of 127.0.0.1; 0 picks a free one
    ///
    /// They may read everything, and launch, tag, cancel and terminate. Usage is printed at start-up.
    /// Credentials are not checked, other machines cannot connect, and AWS never issues the account and
    /// the ids that it shows.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "8315")]
    pub serve_ec2: Option<u16>,
}

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times faster than real time.
    Times(f64),
    /// As fast as the machine computes it.
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

/// The longest demonstration, because memory grows with its length.
const LONGEST: Duration = Duration::from_hours(24 * 31);

fn length(text: &str) -> Result<Duration, String> {
    let length = duration::parse(text).map_err(|error| error.to_string())?;
    if length < Duration::from_mins(1) || length > LONGEST {
        return Err("the length must be from 1m to 744h (31 days)".to_owned());
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
  source <(provisionerd completions bash)      only for this shell")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,

    /// The program whose command lines the script completes
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

    /// Write all pages to `man1` and `man5` in this directory, and create it if missing
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
