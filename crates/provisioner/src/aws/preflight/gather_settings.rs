//! Reads the settings of the account that bear on launches.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    HttpTokensEnforcedState, HttpTokensState, InstanceMetadataDefaultsResponse,
    InstanceMetadataEndpointState, UnlimitedSupportedInstanceFamily,
};

use crate::aws::preflight::{AllowedImages, Fact, MetadataDefaults};
use crate::aws::{Client, Error};

impl Client {
    /// Returns the account's defaults for the instance metadata service.
    pub(super) async fn metadata_defaults(&self) -> Result<MetadataDefaults, Error> {
        let answer = self.ec2.get_instance_metadata_defaults().send().await;
        let answer = answer
            .map_err(|error| Error::new("GetInstanceMetadataDefaults", self.region(), error))?;
        Ok(answer.account_level().map(metadata_defaults).unwrap_or_default())
    }

    /// Returns which images the account allows.
    pub(super) async fn allowed_images(&self) -> Result<AllowedImages, Error> {
        const OPERATION: &str = "GetAllowedImagesSettings";
        let answer = self.ec2.get_allowed_images_settings().send().await;
        let answer = answer.map_err(|error| Error::new(OPERATION, self.region(), error))?;
        match answer.state() {
            Some("disabled") => Ok(AllowedImages::All),
            Some("audit-mode") => Ok(AllowedImages::Audited),
            Some("enabled") => Ok(AllowedImages::Listed),
            other => {
                let problem = format!("the state is {:?}", other.unwrap_or_default());
                Err(Error::incomplete(OPERATION, self.region(), &problem))
            }
        }
    }

    /// Returns what the account's burstable machines of each family do with surplus credits.
    pub(super) async fn credits(
        &self,
        families: BTreeSet<&'static str>,
    ) -> BTreeMap<String, Fact<String>> {
        let mut credits = BTreeMap::new();
        for family in families {
            let found = self.credits_of(family).await.map_err(|error| error.refusal);
            credits.insert(family.to_owned(), found);
        }
        credits
    }

    async fn credits_of(&self, family: &str) -> Result<String, Error> {
        const OPERATION: &str = "GetDefaultCreditSpecification";
        let answer = self
            .ec2
            .get_default_credit_specification()
            .instance_family(UnlimitedSupportedInstanceFamily::from(family))
            .send()
            .await
            .map_err(|error| Error::new(OPERATION, family, error))?;
        let credits = answer
            .instance_family_credit_specification()
            .and_then(|specification| specification.cpu_credits())
            .filter(|credits| !credits.is_empty());
        credits
            .map(str::to_owned)
            .ok_or_else(|| Error::incomplete(OPERATION, family, "no credit specification"))
    }
}

fn metadata_defaults(found: &InstanceMetadataDefaultsResponse) -> MetadataDefaults {
    let tokens_required = match found.http_tokens() {
        Some(HttpTokensState::Required) => Some(true),
        Some(HttpTokensState::Optional) => Some(false),
        _ => None,
    };
    let has_endpoint = match found.http_endpoint() {
        Some(InstanceMetadataEndpointState::Enabled) => Some(true),
        Some(InstanceMetadataEndpointState::Disabled) => Some(false),
        _ => None,
    };
    MetadataDefaults {
        tokens_enforced: found.http_tokens_enforced() == Some(&HttpTokensEnforcedState::Enabled),
        tokens_required,
        // -1 means no preference.
        hop_limit: found.http_put_response_hop_limit().and_then(|hops| u8::try_from(hops).ok()),
        has_endpoint,
    }
}
