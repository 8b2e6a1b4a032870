//! Removes everything in a plan, and then the key-names from the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::passes::Passes;
use super::worker_profile;
use super::{
    CleanupError, CleanupOptions, CleanupPlan, CleanupReport, Inventory, NamedBy, TargetReport,
};
use crate::aws::{Client, Error};
use crate::config::edit::{ConfigFile, EditError};
use crate::domain::error_chain::error_chain;
use crate::domain::ids::KeyName;
use crate::domain::launch::profile_name;
use crate::domain::ledger::Ledger;
use crate::domain::observed::KeyPair;
use crate::domain::plural;
use crate::domain::refusal::RefusalClass;
use crate::setup::private_key;
use crate::state_dir::{LedgerState, LockedStateDir, StateDir, StateDirError};

const SOMEBODYS_OWN: &str =
    "the key pair carries no tag of ours: this takes --yes and --key-name spelled out";

/// Removes everything in a plan and whatever else appears under its key-names, then the key-names from
/// `config`. Calls `progress` with lines for people.
///
/// The future can be dropped at any point, and the clean-up run again.
///
/// # Errors
/// An error means that nothing was touched. Later failures are in the report.
pub async fn execute(
    client: &Client,
    plan: CleanupPlan,
    mut config: ConfigFile,
    options: &CleanupOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<CleanupReport, CleanupError> {
    let deadline = Instant::now() + options.timeout;
    let configured = configured(&plan);
    if !configured.is_empty() {
        let covered = |name: &KeyName, region: Option<&str>| {
            configured.iter().any(|(key_name, own)| {
                key_name == name && region.is_none_or(|region| region == own)
            })
        };
        config.remove_key_names(covered)?;
        if config.is_edited() {
            config.ensure_writable()?;
        }
    }
    // Takes all locks before the first call: nothing may begin while a daemon works on one of them.
    let mut ledgers = Vec::with_capacity(plan.key_names.len());
    for inventory in &plan.key_names {
        ledgers.push(KeptLedger::open(inventory, &plan.account_id, options, progress)?);
    }

    let mut reports = Vec::with_capacity(plan.key_names.len());
    for (inventory, ledger) in plan.key_names.into_iter().zip(ledgers) {
        let client = client.in_region(&inventory.target.region);
        let task = Removal { client, inventory, ledger, deadline, options };
        reports.push(task.run(&config, progress).await);
    }

    if !reports.iter().all(TargetReport::is_clean) {
        return Ok(CleanupReport::new(reports, None, None));
    }
    let edited = forget_profile(&mut config, &configured, &reports).and_then(|()| {
        // Key-names from other layers stay, and are no reason to make a file.
        let edited = config.is_edited();
        if edited { config.save().map(|()| true) } else { Ok(false) }
    });
    Ok(match edited {
        Ok(edited) => {
            let removed_from = edited.then(|| config.path().to_owned());
            CleanupReport::new(reports, removed_from, None)
        }
        Err(error) => CleanupReport::new(reports, None, Some(error_chain(&error))),
    })
}

/// Returns the key-names that the configuration names, with their regions.
fn configured(plan: &CleanupPlan) -> Vec<(KeyName, String)> {
    let targets = plan.key_names.iter().map(|inventory| &inventory.target);
    let named = targets.filter(|target| target.named != NamedBy::OnCommandLine);
    named.map(|target| (target.key_name.clone(), target.region.clone())).collect()
}

/// Removes the instance profile from the file if it was ours and is gone.
fn forget_profile(
    config: &mut ConfigFile,
    configured: &[(KeyName, String)],
    reports: &[TargetReport],
) -> Result<(), EditError> {
    let Some(profile) = config.saved()?.iam_instance_profile else { return Ok(()) };
    let name = profile_name(&profile);
    let is_ours = configured.iter().any(|(key_name, _)| key_name.as_str() == name);
    let is_gone =
        |report: &TargetReport| report.profile_is_gone && report.key_name.as_str() == name;
    if is_ours && reports.iter().any(is_gone) {
        config.remove_iam_instance_profile(&profile)?;
    }
    Ok(())
}

/// The ledger of one key-name, under its lock.
struct KeptLedger {
    /// `None` if the key-name is not valid as the name of a directory, and so never had one.
    locked: Option<LockedStateDir>,
    ledger: Ledger,
}

impl KeptLedger {
    fn open(
        inventory: &Inventory,
        account_id: &str,
        options: &CleanupOptions,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, StateDirError> {
        let target = &inventory.target;
        let root = options.state_dir.as_deref();
        let dir = match StateDir::locate(root, account_id, &target.region, &target.key_name) {
            Ok(dir) => dir,
            Err(StateDirError::BadName { .. }) => {
                return Ok(Self { locked: None, ledger: Ledger::default() });
            }
            Err(error) => return Err(error),
        };
        let locked = dir.lock()?;
        let ledger = match locked.read_ledger(Timestamp::now())? {
            LedgerState::Known(ledger) => ledger,
            LedgerState::Lost { why } => {
                // This is normal for a key-name from elsewhere, and the observations suffice.
                if target.named != NamedBy::OnCommandLine {
                    progress(&format!(
                        "no ledger of launching calls for {}: {why}",
                        target.key_name
                    ));
                }
                Ledger::default()
            }
        };
        Ok(Self { locked: Some(locked), ledger })
    }

    /// Removes the ledger, once nothing of the key-name is left.
    fn forget(&self) -> Result<(), StateDirError> {
        self.locked.as_ref().map_or(Ok(()), LockedStateDir::forget)
    }
}

/// The removal of one key-name.
struct Removal<'a> {
    client: Client,
    inventory: Inventory,
    ledger: KeptLedger,
    deadline: Instant,
    options: &'a CleanupOptions,
}

impl Removal<'_> {
    async fn run(
        self,
        config: &ConfigFile,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> TargetReport {
        let target = &self.inventory.target;
        let mut report = TargetReport::new(target.key_name.clone(), target.region.clone());
        let mut progress = |line: &str| progress(&format!("{}: {line}", target.key_name));

        let allowed = self.inventory.key_pair != KeyPair::Foreign
            || self.options.yes && target.is_spelled_out();
        if allowed {
            // Before the instances: a fleet that maintains its size would replace them.
            self.delete_fleets(&mut report, &mut progress).await;
        }
        let passes = Passes {
            client: &self.client,
            key_name: &target.key_name,
            deadline: self.deadline,
            pauses: &self.options.pauses,
            hands_off: (!allowed).then_some(SOMEBODYS_OWN),
            seen: self
                .inventory
                .spot_requests
                .iter()
                .map(|request| request.id.as_str().into())
                .collect(),
        };
        let mut volumes = passes.run(&self.ledger.ledger, &mut report, &mut progress).await;
        // The instances of a deleted fleet may have disappeared before the first pass.
        volumes.extend(self.inventory.lasting_volumes.iter().cloned());
        volumes.sort();
        volumes.dedup();
        if !report.is_clean() {
            return report;
        }
        self.check_fleets(&mut report).await;
        self.delete_volumes(&mut report, &mut progress).await;
        self.check_volumes(&volumes, &mut report).await;
        // Nothing runs under the key-name any more, so the resources behind it can be deleted.
        self.delete_launch_templates(&mut report, &mut progress).await;
        self.delete_key_pair(config, &mut report, &mut progress).await;
        worker_profile::delete(&self.client, target, &mut report, &mut progress).await;
        if report.is_clean()
            && let Err(error) = self.ledger.forget()
        {
            report.leave("the state directory", error.to_string());
        }
        report
    }

    async fn delete_fleets(
        &self,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        let fleets = match self.client.fleets(&self.inventory.target.key_name).await {
            Ok(fleets) => fleets,
            Err(error) => return report.leave("fleets", error.to_string()),
        };
        for id in fleets {
            match self.client.delete_fleet(&id).await {
                Ok(()) => {
                    progress(&format!("deleted fleet {id}"));
                    report.deleted.push(format!("fleet {id}"));
                }
                Err(error) => report.leave(format!("fleet {id}"), error.to_string()),
            }
        }
    }

    async fn check_fleets(&self, report: &mut TargetReport) {
        match self.client.fleets(&self.inventory.target.key_name).await {
            Ok(fleets) => {
                for id in fleets {
                    report.leave(format!("fleet {id}"), "it is still there");
                }
            }
            Err(error) => report.leave("fleets", error.to_string()),
        }
    }

    /// Deletes the volumes with our tag as they become free, and reports those that do not.
    async fn delete_volumes(
        &self,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        let mut deleted = BTreeSet::new();
        let mut failed: BTreeMap<String, Error> = BTreeMap::new();
        let mut pauses = self.options.pauses.iter().copied();
        let mut pause = Duration::ZERO;
        loop {
            let mut standing = match self.client.volumes(&self.inventory.target.key_name).await {
                Ok(standing) => standing,
                Err(error) => return report.leave("volumes", error.to_string()),
            };
            // What is deleted can be shown for a while.
            standing.retain(|volume| !deleted.contains(&volume.id));
            // What was attached a moment ago can still be in use.
            let hopeless = |error: &Error| {
                error.code() != "VolumeInUse"
                    && matches!(error.class(), RefusalClass::Unauthorized | RefusalClass::Invalid)
            };
            for volume in standing.iter().filter(|volume| volume.is_available) {
                if failed.get(&volume.id).is_some_and(hopeless) {
                    continue;
                }
                match self.client.delete_volume(&volume.id).await {
                    Ok(()) => {
                        progress(&format!("deleted volume {}", volume.id));
                        report.deleted.push(format!("volume {}", volume.id));
                        deleted.insert(volume.id.clone());
                        failed.remove(&volume.id);
                    }
                    Err(error) => {
                        progress(&error.to_string());
                        failed.insert(volume.id.clone(), error);
                    }
                }
            }
            standing.retain(|volume| !deleted.contains(&volume.id));
            let now = Instant::now();
            if now >= self.deadline
                || standing.iter().all(|volume| failed.get(&volume.id).is_some_and(hopeless))
            {
                for volume in standing {
                    let why = match failed.get(&volume.id) {
                        Some(error) => error.to_string(),
                        None => "it is still attached to something".to_owned(),
                    };
                    report.leave(format!("volume {}", volume.id), why);
                }
                return;
            }
            progress(&format!("waiting for {}", plural::count(standing.len(), "volume")));
            pause = pauses.next().unwrap_or(pause);
            tokio::time::sleep_until(self.deadline.min(now + pause)).await;
        }
    }

    /// Names the volumes without our tag that were to outlive their machines.
    async fn check_volumes(&self, volumes: &[String], report: &mut TargetReport) {
        if volumes.is_empty() {
            return;
        }
        match self.client.existing_volumes(&self.inventory.target.key_name, volumes).await {
            Ok(volumes) => {
                let is_known = |id: &String| {
                    let what = format!("volume {id}");
                    report.deleted.contains(&what)
                        || report.left.iter().any(|left| left.what == what)
                };
                let volumes: Vec<_> = volumes.into_iter().filter(|id| !is_known(id)).collect();
                for id in volumes {
                    report.leave(
                        format!("volume {id}"),
                        format!(
                            "it was to outlive its instance (DeleteOnTermination is false); if \
                             nobody needs it: aws ec2 delete-volume --region {} --volume-id {id}",
                            self.client.region()
                        ),
                    );
                }
            }
            Err(error) => report.leave("volumes", error.to_string()),
        }
    }

    async fn delete_launch_templates(
        &self,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        let templates = match self.client.launch_templates(&self.inventory.target.key_name).await {
            Ok(templates) => templates,
            Err(error) => return report.leave("launch templates", error.to_string()),
        };
        for template in templates {
            let what = format!("launch template {} ({})", template.id, template.name);
            match self.client.delete_launch_template(&template.id).await {
                Ok(()) => {
                    progress(&format!("deleted {what}"));
                    report.deleted.push(what);
                }
                Err(error) => report.leave(what, error.to_string()),
            }
        }
    }

    async fn delete_key_pair(
        &self,
        config: &ConfigFile,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        let target = &self.inventory.target;
        let what = format!("key pair `{}`", target.key_name);
        let found = match self.client.key_pair(&target.key_name).await {
            Ok(found) => found,
            Err(error) => return report.leave(what, error.to_string()),
        };
        match found {
            KeyPair::Ours => {
                if let Err(error) = self.client.delete_key_pair(&target.key_name).await {
                    return report.leave(what, error.to_string());
                }
                match self.client.key_pair(&target.key_name).await {
                    Ok(KeyPair::Ours) => return report.leave(what, "EC2 still shows it"),
                    Ok(KeyPair::Absent | KeyPair::Foreign | KeyPair::Unknown) => {}
                    Err(error) => return report.leave(what, error.to_string()),
                }
                progress(&format!("deleted {what}"));
                report.deleted.push(what);
            }
            KeyPair::Foreign | KeyPair::Unknown => {
                report.kept.push(format!("{what}: it carries no tag of ours"));
                return;
            }
            // A key-name that only the command line gives has no file beside the configuration.
            KeyPair::Absent if target.named == NamedBy::OnCommandLine => return,
            KeyPair::Absent => {}
        }
        let path = private_key::path(config.path(), &target.key_name);
        match private_key::remove(&path) {
            Ok(true) => report.deleted.push(format!("private key `{}`", path.display())),
            Ok(false) => {}
            Err(error) => {
                report.leave(format!("private key `{}`", path.display()), error.to_string());
            }
        }
    }
}
