//! `setup-aws`: makes a key-name for this deployment and a key pair under it, and saves both.
//!
//! [`setup`] checks everything that can be checked before it makes anything, writes the configuration file
//! last, and undoes what it made if a later step fails. [`finish`] does the rest, which is never undone.
//!
//! Terminal input and output are the program's, and not in here.

mod error;
pub(crate) mod private_key;
mod public_key;
mod report;
mod spot_role;
mod unfinished;
mod worker_profile;

use std::path::{Path, PathBuf};

pub(crate) use error::{SetupCause, SetupError};
pub(crate) use report::SetupWarning;
pub use report::{SetupReport, SpotRoleState};

use crate::aws::Client;
use crate::config::edit::{ConfigFile, Saved};
use crate::domain::ids::{InvalidName, KeyName};
use crate::domain::launch::profile_name;
use crate::domain::observed::{KeyPair, KeyPairType};
use crate::settings::RetiredKeyName;
use crate::state_dir::StateDir;
use unfinished::SetupNote;
use worker_profile::MadeProfile;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupOptions {
    /// The prefix of the key-name.
    pub prefix: String,
    /// The OpenSSH public key to import; `None` if EC2 shall make a key pair.
    pub public_key: Option<PathBuf>,
    /// The type of the key pair that EC2 makes.
    pub key_type: KeyPairType,
    /// Whether to make an IAM role and an instance profile for the workers, too.
    pub with_worker_profile: bool,
    /// Whether to retire a key-name that is still in use, rather than to refuse.
    pub force: bool,
    /// Whether to change nothing, and only to report what would be done.
    pub dry_run: bool,
    /// `provisioner.state-dir`.
    pub state_dir: Option<PathBuf>,
}

impl SetupOptions {
    /// The prefix of key-names by default.
    pub const DEFAULT_PREFIX: &str = KeyName::DEFAULT_PREFIX;
}

impl Default for SetupOptions {
    fn default() -> Self {
        Self {
            prefix: Self::DEFAULT_PREFIX.to_owned(),
            public_key: None,
            key_type: KeyPairType::default(),
            with_worker_profile: false,
            force: false,
            dry_run: false,
            state_dir: None,
        }
    }
}

/// What still exists under the earlier key-name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNameInUse {
    /// The key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// Whether the key pair exists.
    pub key_pair: bool,
    /// The number of spot requests that are open, active or disabled.
    pub n_spot_requests: usize,
    /// The number of instances that are not terminated.
    pub n_instances: usize,
}

/// Makes a key-name with its key pair and whatever else the options ask for, and saves it in `config`. The
/// caller must call [`finish`] afterwards.
///
/// The future must not be dropped half-way, or what it made would stay. It consists of a few calls, each
/// bounded in time.
///
/// # Errors
/// After any error the file is unchanged, and the error names what could not be undone. See
/// `SetupError::is_usage` for the errors that the user can fix.
pub async fn setup(
    client: &Client,
    mut config: ConfigFile,
    options: &SetupOptions,
) -> Result<SetupReport, SetupError> {
    config.ensure_writable()?;
    let saved = config.saved()?;
    if let Some(region) = saved.region.as_deref().filter(|saved| *saved != client.region()) {
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
    if let Some(path) = private_key.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        return Err(SetupError::PrivateKeyExists { path: path.to_owned() });
    }

    let account_id = client.account_id().await.map_err(SetupError::Observe)?;
    if let Some(account) = saved.account_id.as_deref().filter(|saved| *saved != account_id) {
        return Err(SetupError::WrongAccount { saved: account.to_owned(), in_force: account_id });
    }
    let state_dir =
        StateDir::locate(options.state_dir.as_deref(), &account_id, client.region(), &key_name)?;
    let earlier = earlier_key_name(client, &saved).await?;
    if let Some(in_use) = earlier.in_use.filter(|_| !options.force) {
        return Err(SetupError::InUse(in_use));
    }

    let note = if options.dry_run { None } else { Some(SetupNote::take(config.path())?) };
    let unfinished = note.as_ref().map(|note| note.earlier(saved.key_name.as_ref()));
    let unfinished = unfinished.unwrap_or_default();
    let named = |key_name: &KeyName| RetiredKeyName {
        key_name: key_name.clone(),
        region: client.region().to_owned(),
        account_id: Some(account_id.clone()),
    };
    // Only in memory: a layout that cannot be edited is noticed before anything is made.
    for retired in unfinished.iter().cloned().chain(earlier.retired.as_ref().map(named)) {
        config.retire(&retired)?;
    }
    let making = named(&key_name);
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
    report.warnings.extend(unfinished.iter().map(not_finished));
    if let Some(mut note) = note {
        note.write(&making)?;
        let public_key = public_key.as_deref();
        let made =
            make_or_undo(client, &mut config, &report, public_key, options.key_type, &state_dir);
        let ended = match made.await {
            Ok(()) => note.done(),
            Err(error) => {
                let is_left = matches!(&error, SetupError::Failed { left, .. } if !left.is_empty());
                if let Err(error) = note.failed(is_left.then_some(&making)) {
                    tracing::warn!(error = %error, "the note of this run could not be written: {error}");
                }
                return Err(error);
            }
        };
        if let Err(error) = ended {
            tracing::warn!(error = %error, "the note of this run could not be removed: {error}");
        }
    }
    Ok(report)
}

/// Returns the warning about an earlier run that was killed.
fn not_finished(left: &RetiredKeyName) -> SetupWarning {
    let RetiredKeyName { key_name, region, account_id: _ } = left;
    SetupWarning {
        message: format!(
            "an earlier setup-aws was killed: key pair `{key_name}` in {region}, its .pem file and its \
             worker profile may be left"
        ),
        hint: "`cleanup-aws` removes them: the key-name is in provisioner.retired now".to_owned(),
    }
}

/// Makes everything, or undoes what it made.
async fn make_or_undo(
    client: &Client,
    config: &mut ConfigFile,
    report: &SetupReport,
    public_key: Option<&[u8]>,
    key_type: KeyPairType,
    state_dir: &StateDir,
) -> Result<(), SetupError> {
    let mut made = MadeResources::default();
    let result = make(client, config, report, public_key, key_type, state_dir, &mut made).await;
    let Err((attempt, source)) = result else { return Ok(()) };
    tracing::debug!(error = %source, "undoing what was made");
    let left = made.undo(client, &report.key_name).await;
    Err(SetupError::Failed { attempt, source, left })
}

/// Does what follows [`setup`] and is never undone: makes sure that the account has the service-linked role
/// for spot requests, and waits until IAM shows the worker profile. Changes nothing in a dry run.
///
/// Does not fail: problems become warnings in `report`. The future may be dropped at any time.
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

/// What happens to the key-name that the file contains.
#[derive(Default)]
struct Earlier {
    in_use: Option<KeyNameInUse>,
    /// The key-name, if nothing of it is left.
    replaced: Option<KeyName>,
    /// The key-name, if `cleanup-aws` has to clean it up later.
    retired: Option<KeyName>,
}

async fn earlier_key_name(client: &Client, saved: &Saved) -> Result<Earlier, SetupError> {
    let Some(key_name) = saved.key_name.clone() else { return Ok(Earlier::default()) };
    let in_use = KeyNameInUse {
        key_pair: client.key_pair(&key_name).await.map_err(SetupError::Observe)? != KeyPair::Absent,
        n_spot_requests: client
            .standing_requests(&key_name)
            .await
            .map_err(SetupError::Observe)?
            .len(),
        n_instances: client.instances(&key_name).await.map_err(SetupError::Observe)?.len(),
        region: client.region().to_owned(),
        key_name: key_name.clone(),
    };
    if !in_use.key_pair && in_use.n_spot_requests == 0 && in_use.n_instances == 0 {
        // This is no reason to refuse, but `cleanup-aws` must not forget it.
        if worker_profile::is_left(client, &key_name, saved).await {
            return Ok(Earlier { retired: Some(key_name), ..Earlier::default() });
        }
        return Ok(Earlier { replaced: Some(key_name), ..Earlier::default() });
    }
    Ok(Earlier { in_use: Some(in_use), retired: Some(key_name), ..Earlier::default() })
}

/// Returns a warning if the file still names a worker profile of ours that is gone.
fn dangling_profile(saved: &Saved, report: &SetupReport) -> Option<SetupWarning> {
    let profile = saved.iam_instance_profile.as_deref()?;
    let is_gone =
        report.replaced.as_ref().is_some_and(|name| name.as_str() == profile_name(profile));
    (is_gone && report.iam_instance_profile.is_none()).then(|| SetupWarning {
        message: format!(
            "worker-defaults.iam-instance-profile is still `{profile}`, which is gone; launches fail with it"
        ),
        hint: "remove that key from the file, or make another profile with --with-worker-profile"
            .to_owned(),
    })
}

async fn make(
    client: &Client,
    config: &mut ConfigFile,
    report: &SetupReport,
    public_key: Option<&[u8]>,
    key_type: KeyPairType,
    state_dir: &StateDir,
    made: &mut MadeResources,
) -> Result<(), (&'static str, SetupCause)> {
    let key_name = &report.key_name;
    let pair = match public_key {
        Some(public_key) => client.import_key_pair(key_name, public_key).await.map(|()| None),
        None => client.create_key_pair(key_name, key_type).await.map(Some),
    };
    // Without an answer it may exist. Nobody else has a key pair of this name, so it can be deleted.
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

/// What this run has made so far.
#[derive(Default)]
struct MadeResources {
    key_pair: bool,
    private_key: Option<PathBuf>,
    worker_profile: MadeProfile,
    state_dir: Option<PathBuf>,
}

impl MadeResources {
    /// Undoes it. Returns what could not be undone, for people.
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
