//! Reads instance profiles and roles.

use crate::aws::preflight::InstanceProfileFacts;
use crate::aws::{Client, Error};
use crate::domain::launch::profile_name;
use crate::domain::refusal::RefusalClass;

impl Client {
    /// Returns an instance profile by name or ARN, or `None` if it does not exist.
    pub(crate) async fn instance_profile(
        &self,
        name_or_arn: &str,
    ) -> Result<Option<InstanceProfileFacts>, Error> {
        let found = self.get_instance_profile(profile_name(name_or_arn)).await?;
        Ok(found.map(|profile| InstanceProfileFacts { has_role: !profile.roles().is_empty() }))
    }

    /// Returns an instance profile by name as the SDK has it, or `None` if it does not exist.
    pub(super) async fn get_instance_profile(
        &self,
        name: &str,
    ) -> Result<Option<aws_sdk_iam::types::InstanceProfile>, Error> {
        let sent = self.iam.get_instance_profile().instance_profile_name(name).send().await;
        let resource = || format!("instance profile `{name}`");
        match sent.map_err(|error| Error::new("GetInstanceProfile", resource(), error)) {
            Ok(answer) => Ok(answer.instance_profile),
            Err(error) if error.class() == RefusalClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a role by name, or `None` if it does not exist.
    pub(super) async fn get_role(
        &self,
        name: &str,
    ) -> Result<Option<aws_sdk_iam::types::Role>, Error> {
        let sent = self.iam.get_role().role_name(name).send().await;
        match sent.map_err(|error| Error::new("GetRole", format!("role `{name}`"), error)) {
            Ok(answer) => Ok(answer.role),
            Err(error) if error.class() == RefusalClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
