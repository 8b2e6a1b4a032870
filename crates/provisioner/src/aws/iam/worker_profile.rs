//! Reads, makes and deletes the role and the instance profile that are named after a key-name.

use aws_sdk_iam::error::BuildError;
use aws_sdk_iam::types::Tag;

use super::Ensured;
use super::lag::{is_conflict, patiently};
use crate::aws::{Client, Error};
use crate::domain::ids::KeyName;
use crate::domain::launch::{TAG_KEY_NAME, TAG_REGION};
use crate::domain::observed::Whose;
use crate::domain::refusal::RefusalClass;

/// The role and the instance profile that IAM has under a key-name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundWorkerProfile {
    pub(crate) role: Whose,
    /// The policies on the role, if it is ours.
    pub(crate) policies: Vec<FoundPolicy>,
    pub(crate) instance_profile: Whose,
    /// The names of the roles in the instance profile.
    pub(crate) roles_in_profile: Vec<String>,
}

/// A policy on a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundPolicy {
    /// Attached, by ARN.
    Attached(String),
    /// Inline, by name.
    Inline(String),
}

fn the_role(name: &KeyName) -> String {
    format!("role `{name}`")
}

fn the_profile(name: &KeyName) -> String {
    format!("instance profile `{name}`")
}

/// Returns the policy that lets EC2 assume the role. EC2 has another name in China (IAM User Guide for
/// China, "AWS JSON policy elements: Principal").
fn trust_policy(region: &str) -> String {
    let service =
        if region.starts_with("cn-") { "ec2.amazonaws.com.cn" } else { "ec2.amazonaws.com" };
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
    )
}

impl Client {
    /// Returns the role and the instance profile under a key-name.
    pub(crate) async fn worker_profile(&self, name: &KeyName) -> Result<FoundWorkerProfile, Error> {
        let (instance_profile, roles_in_profile) = self.profile_of(name).await?;
        let role = self.role_of(name).await?;
        let policies = if role == Whose::Ours { self.policies_of(name).await? } else { Vec::new() };
        Ok(FoundWorkerProfile { role, policies, instance_profile, roles_in_profile })
    }

    async fn role_of(&self, name: &KeyName) -> Result<Whose, Error> {
        let role = self.get_role(name.as_str()).await?;
        Ok(role.map_or(Whose::Absent, |role| self.whose(role.tags(), name)))
    }

    /// Returns the owner of the instance profile, and the roles in it.
    async fn profile_of(&self, name: &KeyName) -> Result<(Whose, Vec<String>), Error> {
        let Some(profile) = self.get_instance_profile(name.as_str()).await? else {
            return Ok((Whose::Absent, Vec::new()));
        };
        let roles = profile.roles().iter().map(|role| role.role_name().to_owned()).collect();
        Ok((self.whose(profile.tags(), name), roles))
    }

    fn whose(&self, tags: &[Tag], name: &KeyName) -> Whose {
        let value = |key: &str| tags.iter().find(|tag| tag.key() == key).map(Tag::value);
        if value(TAG_KEY_NAME) != Some(name.as_str()) {
            return Whose::Foreign;
        }
        match value(TAG_REGION) {
            Some(region) if region != self.region() => Whose::OtherRegion,
            _ => Whose::Ours,
        }
    }

    /// Returns the policies on the role. One page holds more than a role can have (IAM User Guide, "IAM and AWS STS quotas").
    async fn policies_of(&self, name: &KeyName) -> Result<Vec<FoundPolicy>, Error> {
        let attached = self.iam.list_attached_role_policies().role_name(name.as_str()).send().await;
        let attached = attached
            .map_err(|error| Error::new("ListAttachedRolePolicies", the_role(name), error))?;
        let inline = self.iam.list_role_policies().role_name(name.as_str()).send().await;
        let inline =
            inline.map_err(|error| Error::new("ListRolePolicies", the_role(name), error))?;
        let arns =
            attached.attached_policies().iter().filter_map(|policy| policy.policy_arn.clone());
        let names = inline.policy_names().iter().cloned();
        Ok(arns.map(FoundPolicy::Attached).chain(names.map(FoundPolicy::Inline)).collect())
    }

    fn profile_tags(&self, name: &KeyName) -> Result<Vec<Tag>, BuildError> {
        [(TAG_KEY_NAME, name.as_str()), (TAG_REGION, self.region())]
            .into_iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect()
    }

    /// Makes a role without permissions that EC2 may assume.
    pub(crate) async fn create_role(&self, name: &KeyName) -> Result<Ensured, Error> {
        const OPERATION: &str = "CreateRole";
        let tags = self.profile_tags(name);
        let tags = tags.map_err(|error| Error::not_sent(OPERATION, the_role(name), &error))?;
        let call = self
            .iam
            .create_role()
            .role_name(name.as_str())
            .description("EC2 workers of a provisioner. Made by setup-aws, deleted by cleanup-aws.")
            .assume_role_policy_document(trust_policy(self.region()))
            .set_tags(Some(tags));
        match call.send().await.map_err(|error| Error::new(OPERATION, the_role(name), error)) {
            Ok(_) => Ok(Ensured::Created),
            // It may be ours: the SDK repeats a call whose answer was lost.
            Err(error) if exists_already(&error) => match self.role_of(name).await? {
                Whose::Ours => Ok(Ensured::Unchanged),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes an instance profile without a role.
    pub(crate) async fn create_instance_profile(&self, name: &KeyName) -> Result<Ensured, Error> {
        const OPERATION: &str = "CreateInstanceProfile";
        let tags = self.profile_tags(name);
        let tags = tags.map_err(|error| Error::not_sent(OPERATION, the_profile(name), &error))?;
        let call = self.iam.create_instance_profile().instance_profile_name(name.as_str());
        let sent = call.set_tags(Some(tags)).send().await;
        match sent.map_err(|error| Error::new(OPERATION, the_profile(name), error)) {
            Ok(_) => Ok(Ensured::Created),
            Err(error) if exists_already(&error) => match self.profile_of(name).await? {
                (Whose::Ours, _) => Ok(Ensured::Unchanged),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Puts the role into the instance profile. Both were just made, and IAM may not know them yet.
    pub(crate) async fn add_role(&self, name: &KeyName) -> Result<Ensured, Error> {
        let may_be_lag =
            |error: &Error| error.class() == RefusalClass::NotFound || is_conflict(error);
        let call = async || {
            let call = self.iam.add_role_to_instance_profile();
            let call = call.instance_profile_name(name.as_str()).role_name(name.as_str());
            let sent = call.send().await;
            sent.map_err(|error| Error::new("AddRoleToInstanceProfile", the_profile(name), error))
        };
        match patiently(may_be_lag, call).await {
            Ok(_) => Ok(Ensured::Created),
            // A profile holds one role, so it is full when the SDK repeats a call after a lost answer.
            Err(error) if error.code() == "LimitExceeded" => {
                let (_, roles) = self.profile_of(name).await?;
                if roles == [name.as_str()] { Ok(Ensured::Unchanged) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a role from the instance profile. Returns whether the profile contained it.
    pub(crate) async fn remove_role(&self, name: &KeyName, role: &str) -> Result<bool, Error> {
        let call = async || {
            let call = self.iam.remove_role_from_instance_profile();
            let sent = call.instance_profile_name(name.as_str()).role_name(role).send().await;
            sent.map_err(|error| {
                Error::new("RemoveRoleFromInstanceProfile", the_profile(name), error)
            })
        };
        was_there(patiently(is_conflict, call).await)
    }

    /// Deletes the instance profile. Returns whether it existed.
    ///
    /// `was_made` says that it was just made: if IAM does not know it, IAM lags, and the call is repeated.
    pub(crate) async fn delete_instance_profile(
        &self,
        name: &KeyName,
        was_made: bool,
    ) -> Result<bool, Error> {
        let call = async || {
            let call = self.iam.delete_instance_profile().instance_profile_name(name.as_str());
            let sent = call.send().await;
            sent.map_err(|error| Error::new("DeleteInstanceProfile", the_profile(name), error))
        };
        let sent =
            patiently(|error| is_conflict(error) || was_made && is_unknown(error), call).await;
        if was_made { sent.map(|_| true) } else { was_there(sent) }
    }

    /// Deletes the role. Returns whether it existed. `was_made` has the same meaning as for the profile.
    pub(crate) async fn delete_role(&self, name: &KeyName, was_made: bool) -> Result<bool, Error> {
        let call = async || {
            let sent = self.iam.delete_role().role_name(name.as_str()).send().await;
            sent.map_err(|error| Error::new("DeleteRole", the_role(name), error))
        };
        let sent =
            patiently(|error| is_conflict(error) || was_made && is_unknown(error), call).await;
        if was_made { sent.map(|_| true) } else { was_there(sent) }
    }
}

fn exists_already(error: &Error) -> bool {
    error.code() == "EntityAlreadyExists"
}

fn is_unknown(error: &Error) -> bool {
    error.class() == RefusalClass::NotFound
}

fn was_there<T>(sent: Result<T, Error>) -> Result<bool, Error> {
    match sent {
        Ok(_) => Ok(true),
        Err(error) if is_unknown(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2_alone_may_assume_the_role() {
        for (region, service) in [
            ("us-west-2", "ec2.amazonaws.com"),
            ("us-gov-west-1", "ec2.amazonaws.com"),
            ("cn-north-1", "ec2.amazonaws.com.cn"),
        ] {
            let policy: serde_json::Value = serde_json::from_str(&trust_policy(region)).unwrap();
            let expected = serde_json::json!([{
                "Effect": "Allow",
                "Principal": { "Service": service },
                "Action": "sts:AssumeRole",
            }]);
            assert_eq!(policy["Statement"], expected, "{region}");
        }
    }
}
