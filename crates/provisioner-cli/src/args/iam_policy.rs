//! `provisionerd iam-policy`.

use clap::{Args, ValueEnum};
use provisioner::internal::domain::ids::KeyName;

use super::setup::parse_prefix;

/// `provisionerd iam-policy`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd iam-policy > run.json
  provisionerd iam-policy --for setup --with-worker-profile > setup.json
  provisionerd iam-policy --for cleanup > cleanup.json

Pass the file to `aws iam create-policy --policy-name NAME --policy-document
file://run.json`. Print it again when the configuration changes")]
pub struct IamPolicyArgs {
    /// The program that will use the policy
    #[arg(long = "for", value_name = "PROGRAM", value_enum, default_value_t)]
    pub program: PolicyFor,

    /// With `--for setup`: the prefix of the key-name, as given to `setup-aws`
    #[arg(long, value_name = "TEXT", value_parser = parse_prefix)]
    pub prefix: Option<String>,

    /// With `--for setup`: also allow what `setup-aws --with-worker-profile` needs
    #[arg(long)]
    pub with_worker_profile: bool,

    /// With `--for cleanup`: a key-name that is not in the configuration, as given to `cleanup-aws`
    #[arg(long = "key-name", value_name = "NAME", value_parser = KeyName::parse)]
    pub key_names: Vec<KeyName>,

    /// The role in a configured instance profile, by name or ARN [default: the profile's name]
    #[arg(long = "worker-role", value_name = "ROLE", value_parser = parse_role)]
    pub worker_roles: Vec<String>,
}

/// `iam-policy --for`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PolicyFor {
    /// `provisionerd`.
    #[default]
    Run,
    /// `setup-aws`.
    Setup,
    /// `cleanup-aws`.
    Cleanup,
}

/// A role's name or ARN (IAM User Guide, "IAM identifiers").
fn parse_role(text: &str) -> Result<String, String> {
    let name = match text.strip_prefix("arn:") {
        Some(rest) => rest.split_once(":role/").map_or("", |(_, path)| path),
        None => text,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    let allowed = |c: char| allowed(c) || c == '/' && text.starts_with("arn:");
    if name.is_empty() || !name.chars().all(allowed) {
        return Err("a role's name, or its ARN (arn:aws:iam::ACCOUNT:role/NAME)".to_owned());
    }
    Ok(text.to_owned())
}
