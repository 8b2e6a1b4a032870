//! `setup-aws`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use provisioner::internal::domain::ids::KeyName;

use super::GlobalArgs;

/// The length of a UUID in text, which follows the prefix in a key-name.
const UUID_LEN: usize = 36;

/// Creates a unique key-name and its EC2 key pair, and saves them in the local configuration file.
///
/// The key-name marks everything that `provisionerd` creates: an instance launched under it, in the account
/// and region saved with it, is ours. Without `--public-key`, EC2 creates the key pair, and the private key
/// is saved beside the file, named after the key-name and readable only by you. `setup-aws` also makes sure
/// that the account has the service-linked role that spot requests need. If a step fails, the earlier steps
/// are undone or their results named, and the file stays as it was.
#[derive(Parser, Clone, Debug)]
#[command(name = "setup-aws", version = crate::VERSION)]
#[command(after_help = "\
Examples:
  setup-aws --region us-west-2
  setup-aws --config /etc/provisioner/provisioner.toml --dry-run
  setup-aws --public-key ~/.ssh/id_ed25519.pub
  setup-aws --with-worker-profile

It edits the file named with `--config`, or else `./provisioner.toml`, and
creates it if it is missing. `cleanup-aws` undoes all of it")]
pub struct SetupAws {
    /// Options of every program.
    #[command(flatten)]
    pub globals: GlobalArgs,

    /// Import this OpenSSH public key instead of letting EC2 create a key pair
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,

    /// The type of the key pair that EC2 creates; Windows images need `rsa`
    #[arg(long, value_name = "TYPE", value_enum, default_value_t, conflicts_with = "public_key")]
    pub key_type: KeyTypeArg,

    /// The prefix of the key-name; a UUID follows it
    #[arg(long, value_name = "TEXT", default_value = "provisioner-test-")]
    #[arg(value_parser = parse_prefix)]
    pub prefix: String,

    /// Also create an IAM role and instance profile for the workers, named after the key-name
    ///
    /// EC2 may assume the role, but the role has no permissions: attach those that your workers need. The
    /// instance profile is saved as `worker-defaults.iam-instance-profile`.
    #[arg(long)]
    pub with_worker_profile: bool,

    /// Replace a key-name that is still in use; the old one is kept for `cleanup-aws`
    #[arg(long)]
    pub force: bool,

    /// Only print what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `setup-aws --key-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyTypeArg {
    /// ED25519, which EC2 takes for all images but those of Windows.
    #[default]
    Ed25519,
    /// RSA.
    Rsa,
}

impl AsRef<GlobalArgs> for SetupAws {
    fn as_ref(&self) -> &GlobalArgs {
        &self.globals
    }
}

/// Checks that the prefix followed by a UUID is a valid key-name.
pub(super) fn parse_prefix(prefix: &str) -> Result<String, String> {
    let key_name = format!("{prefix}{}", "0".repeat(UUID_LEN));
    match KeyName::parse(&key_name) {
        Ok(_) => Ok(prefix.to_owned()),
        Err(_) => Err(format!(
            "at most {} characters of A-Z a-z 0-9 + = , . @ _ -",
            KeyName::MAX_LEN - UUID_LEN
        )),
    }
}
