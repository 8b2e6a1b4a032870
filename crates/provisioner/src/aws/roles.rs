//! Instance profiles and roles: looked at for `validate --aws`.

use super::{Client, Error};
use crate::preflight::InstanceProfile;
use crate::refusal::RefusalClass;

/// Made by AWS for an account's first spot request (EC2 User Guide, "Service-linked role for Spot
/// Instance requests").
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

impl Client {
    /// An instance profile, by name or ARN; `None` if there is no such profile.
    pub(super) async fn instance_profile(
        &self,
        name_or_arn: &str,
    ) -> Result<Option<InstanceProfile>, Error> {
        // arn:aws:iam::ACCOUNT:instance-profile/PATH/NAME
        let name = name_or_arn.rsplit('/').next().unwrap_or(name_or_arn);
        let sent = self.iam.get_instance_profile().instance_profile_name(name).send().await;
        let resource = || format!("instance profile `{name}`");
        match sent.map_err(|error| Error::new("GetInstanceProfile", resource(), error)) {
            Ok(answer) => {
                let roles = answer.instance_profile().map_or(&[][..], |it| it.roles());
                Ok(Some(InstanceProfile { has_role: !roles.is_empty() }))
            }
            Err(error) if error.class() == RefusalClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the account has the service-linked role for spot requests.
    pub(super) async fn has_spot_role(&self) -> Result<bool, Error> {
        let sent = self.iam.get_role().role_name(SPOT_ROLE).send().await;
        match sent.map_err(|error| Error::new("GetRole", format!("role `{SPOT_ROLE}`"), error)) {
            Ok(_) => Ok(true),
            Err(error) if error.class() == RefusalClass::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
