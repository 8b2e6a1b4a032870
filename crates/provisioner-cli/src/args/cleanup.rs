//! `cleanup-aws`.

use std::time::Duration;

use clap::Parser;
use provisioner::internal::domain::duration;
use provisioner::internal::domain::ids::KeyName;

use super::GlobalArgs;

/// Cancels, terminates and deletes everything tied to the key-name, and verifies that it is gone.
///
/// It covers the key-name in force, from whatever file or variable, those that are retired, and those named
/// with `--key-name`, and lists what it will remove before it asks. It waits until two looks in a row find
/// nothing, and only then deletes the key pair and what `setup-aws` made in IAM, and takes the key-name out
/// of the local file; where else it stands is said. Stop `provisionerd` first.
#[derive(Parser, Clone, Debug)]
#[command(name = "cleanup-aws", version)]
#[command(after_help = "\
Examples:
  cleanup-aws --dry-run         list what there is
  cleanup-aws                   list it, and ask
  cleanup-aws --yes             do not ask

Safe to run again.

Exit codes: 0 nothing is left; 1 failed; 2 usage or configuration;
4 something is left")]
pub struct CleanupAws {
    /// Options of every program.
    #[command(flatten)]
    pub globals: GlobalArgs,

    /// Clean up under this key-name too; may be given several times
    #[arg(long = "key-name", value_name = "NAME", value_parser = KeyName::parse)]
    pub key_names: Vec<KeyName>,

    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,

    /// Change nothing; only list what would be removed
    #[arg(long)]
    pub dry_run: bool,

    /// How long to wait for everything to be gone
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
}

impl AsRef<GlobalArgs> for CleanupAws {
    fn as_ref(&self) -> &GlobalArgs {
        &self.globals
    }
}
