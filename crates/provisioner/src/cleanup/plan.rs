//! The plan of a clean-up, shown before anything is removed.

use std::fmt;

use serde::Serialize;

use super::{CleanupError, CleanupTarget, Inventory, InventoryItem, WorkerProfile};
use crate::aws::Client;
use crate::domain::observed::{KeyPair, Whose};
use crate::domain::shown::shown;

/// Everything that would be removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CleanupPlan {
    /// The version of this format; 1.
    pub version: u32,
    /// The account.
    pub account_id: String,
    /// What exists under each key-name.
    pub key_names: Vec<Inventory>,
}

impl CleanupPlan {
    /// Finds what exists under each key-name in its own region. Changes nothing.
    ///
    /// # Errors
    /// Fails if the credentials belong to another account than a key-name, or if a call fails.
    pub async fn make(client: &Client, targets: Vec<CleanupTarget>) -> Result<Self, CleanupError> {
        let account_id = client.account_id().await?;
        for target in &targets {
            if let Some(saved) = target.saved_account.as_ref().filter(|saved| **saved != account_id)
            {
                return Err(CleanupError::WrongAccount {
                    key_name: target.key_name.to_string(),
                    saved: saved.clone(),
                    in_force: account_id,
                });
            }
        }
        let mut key_names = Vec::with_capacity(targets.len());
        for target in targets {
            let client = client.in_region(&target.region);
            key_names.push(Inventory::take(&client, target).await?);
        }
        Ok(Self { version: 1, account_id, key_names })
    }

    /// Returns whether there is nothing to remove in AWS, so that no confirmation is needed.
    pub fn is_empty(&self) -> bool {
        self.key_names.iter().all(Inventory::is_empty)
    }
}

impl fmt::Display for CleanupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key_names.is_empty() {
            return writeln!(f, "No key-name to clean up.");
        }
        for inventory in &self.key_names {
            write_inventory(f, inventory, &self.account_id)?;
        }
        Ok(())
    }
}

fn write_inventory(
    f: &mut fmt::Formatter<'_>,
    inventory: &Inventory,
    account_id: &str,
) -> fmt::Result {
    let Inventory {
        target,
        key_pair,
        spot_requests,
        instances,
        fleets,
        launch_templates,
        volumes,
        lasting_volumes,
        worker_profile,
    } = inventory;
    writeln!(f, "{} in {}, account {account_id}:", target.key_name, target.region)?;
    for (what, items) in [("spot request", spot_requests), ("instance", instances)] {
        for item in items {
            let InventoryItem { id, state, instance_type, worker_type } = item;
            let worker_type = worker_type.as_deref().unwrap_or("-");
            let [id, state, instance_type, worker_type] =
                [id, state, instance_type, worker_type].map(shown);
            writeln!(f, "  {what} {id}  {state}  {instance_type}  {worker_type}")?;
        }
    }
    for (what, ids) in
        [("fleet", fleets), ("launch template", launch_templates), ("volume", volumes)]
    {
        for id in ids {
            writeln!(f, "  {what} {}", shown(id))?;
        }
    }
    match key_pair {
        KeyPair::Ours => writeln!(f, "  key pair {}", target.key_name)?,
        KeyPair::Foreign => {
            writeln!(
                f,
                "  (the key pair carries no tag of ours: it is somebody's own and is kept)"
            )?;
        }
        KeyPair::Absent | KeyPair::Unknown => {}
    }
    write_worker_profile(f, worker_profile, target)?;
    for id in lasting_volumes.iter().filter(|id| !volumes.contains(id)) {
        writeln!(f, "  (volume {} stays when its instance is terminated)", shown(id))?;
    }
    if inventory.is_empty() {
        writeln!(f, "  nothing")?;
    }
    if inventory.needs_spelling_out() {
        writeln!(
            f,
            "  To end what runs under somebody's own key pair: --yes --key-name {}",
            target.key_name
        )?;
    }
    Ok(())
}

fn write_worker_profile(
    f: &mut fmt::Formatter<'_>,
    found: &WorkerProfile,
    target: &CleanupTarget,
) -> fmt::Result {
    let WorkerProfile { role, instance_profile, policies, problem } = found;
    let name = &target.key_name;
    for (what, whose) in [("instance profile", instance_profile), ("IAM role", role)] {
        match whose {
            Whose::Ours => writeln!(f, "  {what} {name}")?,
            Whose::Foreign => {
                writeln!(f, "  (the {what} {name} carries no tag of ours and is kept)")?;
            }
            Whose::OtherRegion => {
                writeln!(f, "  (the {what} {name} was made for another region and is kept)")?;
            }
            Whose::Absent | Whose::Unknown => {}
        }
    }
    for policy in policies {
        writeln!(
            f,
            "  (the IAM role cannot be deleted before somebody takes {} from it)",
            shown(policy)
        )?;
    }
    if let Some(problem) = problem.as_ref().filter(|_| target.has_profile) {
        writeln!(f, "  (IAM could not be read: {})", shown(problem))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::NamedBy;
    use crate::domain::ids::KeyName;

    fn plan(key_pair: KeyPair) -> CleanupPlan {
        let target = CleanupTarget {
            key_name: KeyName::from("k"),
            region: "us-west-2".to_owned(),
            saved_account: None,
            named: NamedBy::InConfiguration,
            has_profile: true,
        };
        let instance = InventoryItem {
            id: "i-1".to_owned(),
            state: "running".to_owned(),
            worker_type: None,
            instance_type: "c7g.large".to_owned(),
        };
        let inventory = Inventory {
            target,
            key_pair,
            spot_requests: Vec::new(),
            instances: vec![instance],
            fleets: Vec::new(),
            launch_templates: Vec::new(),
            volumes: vec!["vol-1".to_owned()],
            lasting_volumes: Vec::new(),
            worker_profile: WorkerProfile {
                role: Whose::Ours,
                instance_profile: Whose::Foreign,
                policies: Vec::new(),
                problem: None,
            },
        };
        CleanupPlan { version: 1, account_id: "1".to_owned(), key_names: vec![inventory] }
    }

    #[test]
    fn the_list_names_everything() {
        assert_eq!(
            plan(KeyPair::Ours).to_string(),
            "k in us-west-2, account 1:\n  instance i-1  running  c7g.large  -\n  volume vol-1\n  key pair k\n  (the \
             instance profile k carries no tag of ours and is kept)\n  IAM role k\n"
        );
        let json = serde_json::to_value(plan(KeyPair::Ours)).unwrap();
        assert_eq!(json["key_names"][0]["key_name"], "k");
        assert_eq!(json["key_names"][0]["key_pair"], "ours");
        assert_eq!(json["key_names"][0]["worker_profile"]["instance_profile"], "foreign");
    }

    #[test]
    fn a_tag_forges_no_line_of_the_list() {
        let mut plan = plan(KeyPair::Ours);
        plan.key_names[0].instances[0].worker_type =
            Some("linux\n  instance i-0  terminated\u{1b}[1A\u{202e}".to_owned());
        let text = plan.to_string();
        assert_eq!(text.lines().filter(|line| line.contains("instance i-")).count(), 1, "{text}");
        let tag = "linux\\n  instance i-0  terminated\\u{1b}[1A\\u{202e}\n";
        assert!(text.contains(tag), "{text}");
    }

    #[test]
    fn somebodys_own_key_pair_takes_more_than_a_yes() {
        let plan = plan(KeyPair::Foreign);
        assert!(plan.key_names[0].needs_spelling_out());
        assert!(plan.to_string().contains("--yes --key-name k"), "{plan}");
    }
}
