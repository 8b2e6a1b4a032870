//! Credentials of a profile that was named.

use std::error::Error as _;

use aws_config::Region;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, Result};

/// The credentials of one profile. As in the AWS CLI, a named profile rules out credentials in the
/// environment, which may be another account's; the SDK's own chain would prefer them. A profile that
/// says nothing about credentials leaves them to the container or the instance.
#[derive(Debug)]
pub(super) struct OfProfile {
    profile: ProfileFileCredentialsProvider,
    machine: CredentialsProviderChain,
}

impl OfProfile {
    /// `region` is where a profile's role is assumed.
    pub(super) fn new(profile: &str, region: Option<Region>) -> Self {
        let config = ProviderConfig::without_region().with_region(region);
        let container = EcsCredentialsProvider::builder().configure(&config).build();
        let instance = ImdsCredentialsProvider::builder().configure(&config).build();
        Self {
            profile: ProfileFileCredentialsProvider::builder()
                .configure(&config)
                .profile_name(profile)
                .build(),
            machine: CredentialsProviderChain::first_try("EcsContainer", container)
                .or_else("Ec2InstanceMetadata", instance),
        }
    }

    async fn credentials(&self) -> Result {
        match self.profile.provide_credentials().await {
            // Only then nothing is said: one whose `source_profile` is not there has a source.
            Err(error @ CredentialsError::CredentialsNotLoaded(_)) if error.source().is_none() => {
                self.machine.provide_credentials().await
            }
            provided => provided,
        }
    }
}

impl ProvideCredentials for OfProfile {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.machine.fallback_on_interrupt()
    }
}
