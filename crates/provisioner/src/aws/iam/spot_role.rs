//! The service-linked role that spot requests need. AWS owns it; we make it if it is missing, and never
//! delete it.

use super::Ensured;
use crate::aws::{Client, Error};
use crate::domain::launch::SPOT_ROLE;
use crate::domain::refusal::RefusalClass;

/// The service that the role belongs to (EC2 User Guide, "Service-linked role for Spot Instance requests").
const SPOT_SERVICE: &str = "spot.amazonaws.com";

impl Client {
    /// Returns whether the account has the service-linked role for spot requests.
    pub(crate) async fn has_spot_role(&self) -> Result<bool, Error> {
        Ok(self.get_role(SPOT_ROLE).await?.is_some())
    }

    /// Makes the service-linked role for spot requests unless it exists.
    pub(crate) async fn ensure_spot_role(&self) -> Result<Ensured, Error> {
        match self.has_spot_role().await {
            Ok(true) => return Ok(Ensured::Unchanged),
            Ok(false) => {}
            // Credentials that may not read the role may be allowed to make it, which also shows whether
            // it exists.
            Err(error) if error.class() == RefusalClass::Unauthorized => {}
            Err(error) => return Err(error),
        }
        let sent =
            self.iam.create_service_linked_role().aws_service_name(SPOT_SERVICE).send().await;
        let named = || format!("role `{SPOT_ROLE}`");
        match sent.map_err(|error| Error::new("CreateServiceLinkedRole", named(), error)) {
            Ok(_) => Ok(Ensured::Created),
            Err(error) if is_taken(&error) => Ok(Ensured::Unchanged),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether the role exists already. IAM's text is "Service role name `AWSServiceRoleForEC2Spot` has
/// been taken in this account, please try a different suffix."; stand-ins use the code for any role.
fn is_taken(error: &Error) -> bool {
    match error.code() {
        "InvalidInput" => error.refusal.message.contains("has been taken"),
        code => code == "EntityAlreadyExists",
    }
}
