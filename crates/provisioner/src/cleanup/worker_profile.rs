//! Deletes the IAM role and instance profile that `setup-aws --with-worker-profile` made, and verifies that
//! they are gone.

use serde::Serialize;

use super::{CleanupTarget, TargetReport};
use crate::aws::{Client, Error, FoundPolicy, FoundWorkerProfile, IAM_PAUSES};
use crate::domain::ids::KeyName;
use crate::domain::observed::Whose;

/// The role and the instance profile under a key-name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerProfile {
    /// The owner of the role.
    pub role: Whose,
    /// The owner of the instance profile.
    pub instance_profile: Whose,
    /// The policies on our role, by ARN or name. While it has some, it cannot be deleted.
    pub policies: Vec<String>,
    /// Why IAM could not be read, if so.
    pub problem: Option<String>,
}

impl WorkerProfile {
    /// Reads it from IAM. Does not fail, since IAM may be out of reach or forbidden, and often nothing was
    /// ever made in it.
    pub(super) async fn find(client: &Client, key_name: &KeyName) -> Self {
        match client.worker_profile(key_name).await {
            Ok(found) => Self {
                role: found.role,
                instance_profile: found.instance_profile,
                policies: found.policies.iter().map(policy_name).map(str::to_owned).collect(),
                problem: None,
            },
            Err(error) => Self {
                role: Whose::Unknown,
                instance_profile: Whose::Unknown,
                policies: Vec::new(),
                problem: Some(error.to_string()),
            },
        }
    }

    /// Returns whether there is something to delete.
    pub(super) fn is_ours(&self) -> bool {
        [self.role, self.instance_profile].contains(&Whose::Ours)
    }
}

fn policy_name(policy: &FoundPolicy) -> &str {
    match policy {
        FoundPolicy::Attached(arn) => arn,
        FoundPolicy::Inline(name) => name,
    }
}

/// Deletes the instance profile and the role, and waits until both are gone.
pub(super) async fn delete(
    client: &Client,
    target: &CleanupTarget,
    report: &mut TargetReport,
    progress: &mut (dyn FnMut(&str) + Send),
) {
    let key_name = &target.key_name;
    let both = format!("IAM role and instance profile `{key_name}`");
    let found = match client.worker_profile(key_name).await {
        Ok(found) => found,
        Err(error) if target.has_profile => return report.leave(both, error.to_string()),
        // The configuration names no profile, and this user may not be allowed to use IAM.
        Err(error) => {
            return report.notes.push(format!(
                "IAM does not say whether there is a role or instance profile `{key_name}`; the \
                 configuration names none: {error}"
            ));
        }
    };
    let FoundWorkerProfile { role, policies, instance_profile, roles_in_profile } = found;
    for (what, whose) in [("instance profile", instance_profile), ("IAM role", role)] {
        let why = match whose {
            Whose::Foreign => "it carries no tag of ours",
            Whose::OtherRegion => "it was made for another region: run this with --region",
            Whose::Absent | Whose::Ours | Whose::Unknown => continue,
        };
        report.kept.push(format!("{what} `{key_name}`: {why}"));
    }
    if !policies.is_empty() {
        return report.leave(both, with_policies(key_name, &policies));
    }
    let profile = instance_profile == Whose::Ours;
    let role = role == Whose::Ours;
    if !profile && !role {
        report.profile_is_gone = instance_profile == Whose::Absent;
        return;
    }
    let deleted = remove(client, key_name, profile.then_some(&*roles_in_profile), role).await;
    if let Err(error) = deleted {
        return report.leave(both, error.to_string());
    }
    match is_gone(client, key_name).await {
        Ok(true) => {}
        Ok(false) => return report.leave(both, "IAM still shows it"),
        Err(error) => return report.leave(both, error.to_string()),
    }
    report.profile_is_gone = matches!(instance_profile, Whose::Ours | Whose::Absent);
    for (what, there) in [("instance profile", profile), ("IAM role", role)] {
        if there {
            let what = format!("{what} `{key_name}`");
            progress(&format!("deleted {what}"));
            report.deleted.push(what);
        }
    }
}

/// Takes the roles out of the profile first: a profile with a role cannot be deleted, and a role in a
/// profile neither.
async fn remove(
    client: &Client,
    key_name: &KeyName,
    roles_in_profile: Option<&[String]>,
    role: bool,
) -> Result<(), Error> {
    if let Some(roles) = roles_in_profile {
        for role in roles {
            client.remove_role(key_name, role).await?;
        }
        client.delete_instance_profile(key_name, false).await?;
    }
    if role {
        client.delete_role(key_name, false).await?;
    }
    Ok(())
}

/// Waits until IAM shows nothing of ours any more. Returns whether that happened in time.
async fn is_gone(client: &Client, key_name: &KeyName) -> Result<bool, Error> {
    let ours = async || {
        let found = client.worker_profile(key_name).await?;
        Ok([found.role, found.instance_profile].contains(&Whose::Ours))
    };
    for pause in IAM_PAUSES {
        if !ours().await? {
            return Ok(true);
        }
        tokio::time::sleep(pause).await;
    }
    Ok(!ours().await?)
}

/// Returns why a role with policies is kept. Somebody else made them, and an inline policy has no copy.
fn with_policies(key_name: &KeyName, policies: &[FoundPolicy]) -> String {
    let commands = policies.iter().map(|policy| match policy {
        FoundPolicy::Attached(arn) => {
            format!("aws iam detach-role-policy --role-name {key_name} --policy-arn {arn}")
        }
        FoundPolicy::Inline(name) => {
            format!("aws iam delete-role-policy --role-name {key_name} --policy-name {name}")
        }
    });
    format!(
        "the role has policies that `setup-aws` did not put there, and cannot be deleted with them; if nobody \
         needs them: {}",
        commands.collect::<Vec<_>>().join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_on_the_role_are_named_with_what_removes_them() {
        let policies = [
            FoundPolicy::Attached("arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()),
            FoundPolicy::Inline("queue".to_owned()),
        ];
        let why = with_policies(&KeyName::from("k"), &policies);
        for command in [
            "aws iam detach-role-policy --role-name k --policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess;",
            "aws iam delete-role-policy --role-name k --policy-name queue",
        ] {
            assert!(why.contains(command), "{why}");
        }
    }
}
