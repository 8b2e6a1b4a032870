//! The credentials of a profile that the user named.

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

/// The credentials of one profile.
///
/// As in the AWS CLI, a named profile rules out credentials in the environment, which may belong to
/// another account; the SDK's own chain would prefer them. If the profile holds no credentials, those of
/// the container or the instance are used.
#[derive(Debug)]
pub(super) struct ProfileCredentials {
    profile: ProfileFileCredentialsProvider,
    machine: CredentialsProviderChain,
}

impl ProfileCredentials {
    /// Prepares the credentials. A role that the profile names is assumed in `region`.
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
            // An error without a source means that the profile holds no credentials. If its
            // `source_profile` is missing, the error has a source.
            Err(error @ CredentialsError::CredentialsNotLoaded(_)) if error.source().is_none() => {
                self.machine.provide_credentials().await
            }
            provided => provided,
        }
    }
}

impl ProvideCredentials for ProfileCredentials {
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
