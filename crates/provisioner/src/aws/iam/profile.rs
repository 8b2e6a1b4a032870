//! Any instance profile, as the configuration may name one.

use crate::aws::preflight::InstanceProfile;
use crate::aws::{Client, Error};
use crate::domain::launch::profile_name;
use crate::domain::refusal::RefusalClass;

impl Client {
    /// An instance profile, by name or ARN; `None` if there is no such profile.
    pub(crate) async fn instance_profile(
        &self,
        name_or_arn: &str,
    ) -> Result<Option<InstanceProfile>, Error> {
        let found = self.get_instance_profile(profile_name(name_or_arn)).await?;
        Ok(found.map(|it| InstanceProfile { has_role: !it.roles().is_empty() }))
    }

    /// The same as the SDK has it.
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

    /// A role, by name; `None` if there is none.
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
