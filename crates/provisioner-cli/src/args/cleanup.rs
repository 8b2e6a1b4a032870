//! `cleanup-aws`.

use std::time::Duration;

use clap::Parser;
use provisioner::internal::domain::duration;
use provisioner::internal::domain::ids::KeyName;

use super::GlobalArgs;

/// Cancels, terminates and deletes everything tied to the key-name, and verifies that it is gone.
///
/// It covers the key-name in force, whichever file or variable sets it, the retired key-names, and those
/// given with `--key-name`. It lists what it will remove before it asks for confirmation. It waits until
/// two listings in a row are empty; only then does it delete the key pair and what `setup-aws` made in
/// IAM, and remove the key-name from the local file. If the key-name is also set elsewhere, it says where.
/// Stop `provisionerd` first.
#[derive(Parser, Clone, Debug)]
#[command(name = "cleanup-aws", version = crate::VERSION)]
#[command(after_help = "\
Examples:
  cleanup-aws --dry-run         list what would be removed
  cleanup-aws                   list it, ask, and remove it
  cleanup-aws --yes             remove it without asking

It is safe to run again.

Exit codes: 0 nothing is left; 1 failed; 2 usage or configuration;
4 something is left")]
pub struct CleanupAws {
    /// Options of every program.
    #[command(flatten)]
    pub globals: GlobalArgs,

    /// Also clean up under this key-name; may be given several times
    #[arg(long = "key-name", value_name = "NAME", value_parser = KeyName::parse)]
    pub key_names: Vec<KeyName>,

    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,

    /// Only list what would be removed; change nothing
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
