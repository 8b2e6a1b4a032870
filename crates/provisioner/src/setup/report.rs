//! The report of `setup-aws`.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::domain::ids::KeyName;
use crate::domain::launch::SPOT_ROLE;

/// What [`setup`](super::setup) did, or in a dry run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetupReport {
    /// The version of this format; 1.
    pub version: u32,
    /// Whether nothing was done. A real run makes another key-name than the one shown.
    pub dry_run: bool,
    /// The new key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// Its account.
    pub account_id: String,
    /// The file in which they are saved.
    pub config_file: PathBuf,
    /// The file of the private key, if EC2 made the key pair.
    pub private_key: Option<PathBuf>,
    /// The public key that was imported.
    pub public_key: Option<PathBuf>,
    /// The instance profile that was made, and its role of the same name; saved as
    /// `worker-defaults.iam-instance-profile`.
    pub iam_instance_profile: Option<KeyName>,
    /// The service-linked role that spot requests need.
    pub spot_role: SpotRoleState,
    /// The directory of the empty ledger.
    pub state_dir: PathBuf,
    /// The earlier key-name, if nothing of it is left.
    pub replaced: Option<KeyName>,
    /// The earlier key-name, if `cleanup-aws` has to clean it up later.
    pub retired: Option<KeyName>,
    /// Problems that did not stop the set-up. They are not part of the text, since the program prints
    /// warnings separately.
    pub warnings: Vec<SetupWarning>,
}

/// Whether the account has the service-linked role for spot requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpotRoleState {
    /// It existed already.
    Exists,
    /// It was made.
    Made,
    /// It does not exist, and would be made without the dry run.
    Absent,
    /// It could not be read or made; a warning says why.
    Unknown,
}

/// A problem that did not stop the set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetupWarning {
    /// The problem.
    pub message: String,
    /// What the user can do about it.
    pub hint: String,
}

impl fmt::Display for SetupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version: _,
            dry_run,
            key_name,
            region,
            account_id,
            config_file,
            private_key,
            public_key,
            iam_instance_profile,
            spot_role,
            state_dir,
            replaced,
            retired,
            warnings: _,
        } = self;
        let past =
            |done: &'static str, planned: &'static str| if *dry_run { planned } else { done };
        match (private_key, public_key) {
            (Some(path), _) => {
                let verb = past("Made", "Would make");
                writeln!(f, "{verb} the key pair `{key_name}` in {region}, account {account_id}.")?;
                let verb = past("Its private key is in", "Its private key would go to");
                writeln!(f, "{verb} {}, for its owner only.", path.display())?;
            }
            (None, public_key) => {
                let file = public_key.as_deref().unwrap_or_else(|| "the public key".as_ref());
                let verb = past("Imported", "Would import");
                writeln!(
                    f,
                    "{verb} {} as key pair `{key_name}` in {region}, account {account_id}.",
                    file.display()
                )?;
            }
        }
        if let Some(name) = iam_instance_profile {
            let verb = past("Made", "Would make");
            writeln!(f, "{verb} the IAM role and instance profile `{name}`, without permissions.")?;
            let verb = past("Saved", "Would save");
            writeln!(f, "{verb} it as worker-defaults.iam-instance-profile.")?;
        }
        if matches!(spot_role, SpotRoleState::Made | SpotRoleState::Absent) {
            let verb = past("Made", "Would make");
            writeln!(f, "{verb} the account's service-linked role {SPOT_ROLE}.")?;
        }
        let verb = past("Saved", "Would save");
        writeln!(f, "{verb} key-name, region and account in {}.", config_file.display())?;
        let verb = past("Made", "Would make");
        writeln!(f, "{verb} an empty ledger in {}.", state_dir.display())?;
        if let Some(old) = replaced {
            let verb = past("replaces", "would replace");
            writeln!(f, "It {verb} `{old}`, of which nothing is left.")?;
        }
        if let Some(old) = retired {
            let verb = past("is", "would be");
            writeln!(f, "`{old}` {verb} retired: `cleanup-aws` covers it too.")?;
        }
        if *dry_run {
            writeln!(f, "Nothing was changed. Each run makes another name.")?;
        }
        Ok(())
    }
}
