//! `provisionerd` and its commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::GlobalArgs;

/// Keeps the EC2 spot capacity that the tasks of a queue need.
#[derive(Parser, Clone, Debug)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  provisionerd validate         check the configuration
  provisionerd plan             see what a round would do
  provisionerd run              start the daemon

Exit codes: 0 done; 1 failed; 2 usage, configuration, or wrong account or region;
3 `plan --exit-code` found actions; 4 partly done; 130 second interrupt")]
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
    Run(RunArgs),

    /// Print what the next round would do and why, and change nothing
    Plan(PlanArgs),

    /// Check the configuration without speaking to anyone
    #[command(after_help = "\
Example:
  provisionerd --config ./provisioner.toml validate

Ends with 2 and names every problem if `provisionerd run` would refuse the configuration")]
    Validate,

    /// Print the effective configuration and where each value came from
    #[command(after_help = "\
Example:
  provisionerd config --output json

Secrets are left out")]
    Config,
}

/// `provisionerd run`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "\
Examples:
  provisionerd run
  provisionerd run --once --dry-run

The first SIGINT or SIGTERM ends it after the action in flight; the second at once.
Ending the daemon never terminates instances: that is `cleanup-aws`")]
pub struct RunArgs {
    /// Run one round and end
    #[arg(long)]
    pub once: bool,

    /// Change nothing in AWS; only say what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Launch at once although the ledger is lost: nothing was in flight
    #[arg(long)]
    pub assume_clean: bool,
}

/// `provisionerd plan`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd plan --exit-code
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
