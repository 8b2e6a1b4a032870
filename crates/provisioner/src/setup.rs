//! `setup-aws`: a key-name of one's own, the key pair under it, and both saved.
//!
//! [`setup`] makes nothing before everything that can be checked is checked, writes the configuration
//! file last, and undoes what it made when a later step fails.
//!
//! Deliberately not here: terminal input and output.

mod error;
pub(crate) mod private_key;
mod public_key;
mod report;
mod spot_role;
mod worker_profile;

use std::path::{Path, PathBuf};

pub use error::{SetupCause, SetupError};
pub use report::{SetupReport, SetupWarning, SpotRoleState};

use crate::aws::{self, Client};
use crate::config::edit::{ConfigFile, Saved};
use crate::domain::ids::{InvalidName, KeyName};
use crate::domain::launch::profile_name;
use crate::domain::observed::KeyPair;
use crate::settings::RetiredKeyName;
use crate::state_dir::StateDir;
use worker_profile::MadeProfile;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupOptions {
    /// What the key-name starts with.
    pub prefix: String,
    /// An OpenSSH public key to import. `None`: EC2 makes a pair.
    pub public_key: Option<PathBuf>,
    /// Make an IAM role and an instance profile for the workers, too.
    pub with_worker_profile: bool,
    /// Retire a key-name that is still in use, rather than refuse.
    pub force: bool,
    /// Only look, and say what would be done.
    pub dry_run: bool,
    /// `provisioner.state-dir`.
    pub state_dir: Option<PathBuf>,
}

impl SetupOptions {
    /// What key-names start with unless the user says otherwise.
    pub const DEFAULT_PREFIX: &str = KeyName::DEFAULT_PREFIX;
}

impl Default for SetupOptions {
    fn default() -> Self {
        Self {
            prefix: Self::DEFAULT_PREFIX.to_owned(),
            public_key: None,
            with_worker_profile: false,
            force: false,
            dry_run: false,
            state_dir: None,
        }
    }
}

/// What of an earlier key-name is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNameInUse {
    /// The key-name.
    pub key_name: KeyName,
    /// Where it was looked for.
    pub region: String,
    /// Whether the key pair exists.
    pub key_pair: bool,
    /// How many spot instance requests stand.
    pub n_spot_requests: usize,
    /// How many instances are not terminated.
    pub n_instances: usize,
}

/// Makes a key-name and its key pair, and what else is asked for, and saves them in `config`.
/// [`finish`] comes next.
///
/// Must not be dropped half-way: what it had made would stay. It takes a few bounded calls.
///
/// # Errors
/// See [`SetupError::is_usage`] for which are the user's to mend. After any error the file is as it
/// was; what could not be undone is named.
pub async fn setup(
    client: &Client,
    mut config: ConfigFile,
    options: &SetupOptions,
) -> Result<SetupReport, SetupError> {
    config.ensure_writable()?;
    let saved = config.saved()?;
    if let Some(region) = saved.region.as_deref().filter(|it| *it != client.region()) {
        return Err(SetupError::WrongRegion {
            saved: region.to_owned(),
            in_force: client.region().to_owned(),
        });
    }
    if options.with_worker_profile
        && let Some(profile) = &saved.iam_instance_profile
        && !saved.made_profile(profile)
    {
        return Err(SetupError::OwnProfile { profile: profile.clone() });
    }
    let key_name = new_key_name(&options.prefix)?;
    let public_key = options.public_key.as_deref().map(public_key::read).transpose()?;
    let private_key = public_key.is_none().then(|| private_key::path(config.path(), &key_name));
    if let Some(path) = private_key.as_deref().filter(|it| it.symlink_metadata().is_ok()) {
        return Err(SetupError::PrivateKeyExists { path: path.to_owned() });
    }

    let account_id = client.account_id().await.map_err(looking)?;
    if let Some(account) = saved.account_id.as_deref().filter(|it| *it != account_id) {
        return Err(SetupError::WrongAccount { saved: account.to_owned(), in_force: account_id });
    }
    let state_dir =
        StateDir::locate(options.state_dir.as_deref(), &account_id, client.region(), &key_name)?;
    let earlier = earlier_key_name(client, &saved).await?;
    if let Some(in_use) = earlier.in_use.filter(|_| !options.force) {
        return Err(SetupError::InUse(in_use));
    }

    // In memory only: a layout that cannot be edited shows before anything is made.
    if let Some(key_name) = &earlier.retired {
        config.retire(&RetiredKeyName {
            key_name: key_name.clone(),
            region: client.region().to_owned(),
            account_id: Some(account_id.clone()),
        })?;
    }
    config.set_key_name(&key_name, client.region(), &account_id)?;
    if options.with_worker_profile {
        config.set_iam_instance_profile(key_name.as_str())?;
    }

    let mut report = SetupReport {
        version: 1,
        dry_run: options.dry_run,
        region: client.region().to_owned(),
        account_id,
        config_file: config.path().to_owned(),
        private_key,
        public_key: options.public_key.clone(),
        iam_instance_profile: options.with_worker_profile.then(|| key_name.clone()),
        key_name,
        spot_role: SpotRoleState::Unknown,
        state_dir: state_dir.path().to_owned(),
        replaced: earlier.replaced,
        retired: earlier.retired,
        warnings: Vec::new(),
    };
    report.warnings.extend(dangling_profile(&saved, &report));
    if !options.dry_run {
        let mut made = Made::default();
        let result =
            make(client, &mut config, &report, public_key.as_deref(), &state_dir, &mut made).await;
        if let Err((attempt, source)) = result {
            tracing::debug!(error = %source, "undoing what was made");
            let left = made.undo(client, &report.key_name).await;
            return Err(SetupError::Failed { attempt, source, left });
        }
    }
    Ok(report)
}

/// What comes after [`setup`], and is never undone: makes sure that the account has the service-linked role
/// for spot requests, and waits until IAM shows the worker profile. In a dry run only looks.
///
/// Cannot fail: what could not be done or seen is a warning in `report`. May be dropped at any time.
pub async fn finish(
    client: &Client,
    report: &mut SetupReport,
    progress: &mut (dyn FnMut(&str) + Send),
) {
    spot_role::ensure(client, report).await;
    worker_profile::wait(client, report, progress).await;
}

fn new_key_name(prefix: &str) -> Result<KeyName, InvalidName> {
    KeyName::parse(&format!("{prefix}{}", uuid::Uuid::new_v4()))
}

/// What becomes of the key-name the file holds.
#[derive(Default)]
struct Earlier {
    in_use: Option<KeyNameInUse>,
    /// Nothing of it is left.
    replaced: Option<KeyName>,
    /// Something is left, for `cleanup-aws` to cover.
    retired: Option<KeyName>,
}

async fn earlier_key_name(client: &Client, saved: &Saved) -> Result<Earlier, SetupError> {
    let Some(key_name) = saved.key_name.clone() else { return Ok(Earlier::default()) };
    let in_use = KeyNameInUse {
        key_pair: client.key_pair(&key_name).await.map_err(looking)? != KeyPair::Absent,
        n_spot_requests: client.standing_requests(&key_name).await.map_err(looking)?.len(),
        n_instances: client.instances(&key_name).await.map_err(looking)?.len(),
        region: client.region().to_owned(),
        key_name: key_name.clone(),
    };
    if !in_use.key_pair && in_use.n_spot_requests == 0 && in_use.n_instances == 0 {
        // No reason to refuse, but `cleanup-aws` must not forget it.
        if worker_profile::is_left(client, &key_name, saved).await {
            return Ok(Earlier { retired: Some(key_name), ..Earlier::default() });
        }
        return Ok(Earlier { replaced: Some(key_name), ..Earlier::default() });
    }
    Ok(Earlier { in_use: Some(in_use), retired: Some(key_name), ..Earlier::default() })
}

/// The file goes on naming a worker profile of ours that is gone.
fn dangling_profile(saved: &Saved, report: &SetupReport) -> Option<SetupWarning> {
    let profile = saved.iam_instance_profile.as_deref()?;
    let is_gone = report.replaced.as_ref().is_some_and(|it| it.as_str() == profile_name(profile));
    (is_gone && report.iam_instance_profile.is_none()).then(|| SetupWarning {
        message: format!(
            "worker-defaults.iam-instance-profile is still `{profile}`, which is gone; launches fail with it"
        ),
        hint: "remove that key from the file, or make another profile with --with-worker-profile"
            .to_owned(),
    })
}

fn looking(error: aws::Error) -> SetupError {
    SetupError::Look(error)
}

async fn make(
    client: &Client,
    config: &mut ConfigFile,
    report: &SetupReport,
    public_key: Option<&[u8]>,
    state_dir: &StateDir,
    made: &mut Made,
) -> Result<(), (&'static str, SetupCause)> {
    let key_name = &report.key_name;
    let pair = match public_key {
        Some(public_key) => client.import_key_pair(key_name, public_key).await.map(|()| None),
        None => client.create_key_pair(key_name).await.map(Some),
    };
    // Without an answer it may exist all the same; the name is nobody else's.
    made.key_pair = pair.as_ref().err().is_none_or(|error| !error.class().is_definite());
    let private_key = pair.map_err(|error| ("make the key pair", SetupCause::Aws(error)))?;

    if let (Some(path), Some(key)) = (&report.private_key, private_key) {
        private_key::write(path, key.expose()).map_err(|source| {
            ("write the private key", SetupCause::File { path: path.clone(), source })
        })?;
        made.private_key = Some(path.clone());
    }
    if report.iam_instance_profile.is_some() {
        worker_profile::make(client, key_name, &mut made.worker_profile).await?;
    }
    let was_there = state_dir
        .create_empty()
        .map_err(|error| ("make an empty ledger", SetupCause::State(error)))?;
    made.state_dir = (!was_there).then(|| state_dir.path().to_owned());
    config.save().map_err(|error| ("save the key-name", SetupCause::Config(error)))
}

/// What exists because of us.
#[derive(Default)]
struct Made {
    key_pair: bool,
    private_key: Option<PathBuf>,
    worker_profile: MadeProfile,
    state_dir: Option<PathBuf>,
}

impl Made {
    /// Takes it back. Returns what stays, in words.
    async fn undo(self, client: &Client, key_name: &KeyName) -> Vec<String> {
        let mut left = Vec::new();
        let mut file = |path: &Path, removed: std::io::Result<()>| {
            if let Err(error) = removed {
                left.push(format!("`{}` ({error})", path.display()));
            }
        };
        if let Some(path) = &self.state_dir {
            file(path, std::fs::remove_dir_all(path));
        }
        if let Some(path) = &self.private_key {
            file(path, private_key::remove(path).map(|_| ()));
        }
        left.extend(self.worker_profile.undo(client, key_name).await);
        if self.key_pair
            && let Err(error) = client.delete_key_pair(key_name).await
        {
            left.push(format!("key pair `{key_name}` in {} ({error})", client.region()));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_unique_and_fit() {
        let name = new_key_name(SetupOptions::DEFAULT_PREFIX).unwrap();
        assert!(name.as_str().starts_with("provisioner-test-"), "{name}");
        assert_eq!(name.as_str().len(), "provisioner-test-".len() + 36);
        assert_ne!(name, new_key_name(SetupOptions::DEFAULT_PREFIX).unwrap());
        assert!(new_key_name(&"x".repeat(28)).is_ok());
        assert!(new_key_name(&"x".repeat(29)).is_err());
        assert!(new_key_name("a/b").is_err());
    }
}
