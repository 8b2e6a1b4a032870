//! The connection: credentials, region, timeouts and retries.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::Error;
use super::call_counter::{CallCounter, CountingInterceptor};
use super::credentials::ProfileCredentials;
use super::read_only::ReadOnlyGuard;
use super::truncation_guard::TruncationGuard;
use crate::aws::shared_config::{NoSuchProfile, SharedConfig};
use crate::domain::proxy;
use crate::domain::refusal::RefusalClass;
use crate::settings;

/// Our own choice, like the three below. The SDK by itself bounds only connecting, and the loop must not
/// hang on a lost packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const OPERATION_TIMEOUT: Duration = Duration::from_mins(1);
/// Shorter, since EC2 knows the account as well, and STS may be out of reach if only
/// `AWS_ENDPOINT_URL_EC2` is set.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach AWS, as the command line or the configuration says. `None` leaves a choice to the SDK's own
/// chain (environment, profile, instance metadata).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The region.
    pub region: Option<String>,
    /// The profile of the shared configuration files. It must exist, and it takes precedence over
    /// credentials in the environment. Neither holds for a profile named by `AWS_PROFILE`.
    pub profile: Option<String>,
    /// The endpoint for every service.
    pub endpoint_url: Option<String>,
}

impl From<&settings::Aws> for ConnectOptions {
    fn from(aws: &settings::Aws) -> Self {
        let settings::Aws { region, saved_region: _, profile, endpoint_url, account_id: _ } = aws;
        Self {
            region: region.clone(),
            profile: profile.clone(),
            endpoint_url: endpoint_url.clone(),
        }
    }
}

/// No region is configured anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no AWS region is known: give --region, set AWS_REGION, or `region` in [aws] or in the AWS profile"
)]
pub struct NoRegion;

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No region is configured anywhere.
    #[error(transparent)]
    NoRegion(#[from] NoRegion),
    /// The named profile does not exist.
    #[error(transparent)]
    NoSuchProfile(#[from] NoSuchProfile),
}

/// Clients for the AWS services, in one region.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) ec2: aws_sdk_ec2::Client,
    /// For launching calls, without retries: the SDK would repeat a call after
    /// `InsufficientInstanceCapacity`, but the engine decides what to try instead.
    pub(crate) ec2_launch: aws_sdk_ec2::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    region: String,
    sdk_config: SdkConfig,
    call_counter: CallCounter,
}

impl Client {
    /// Finds credentials, region and endpoints as the AWS CLI does.
    ///
    /// Makes no calls to AWS yet. If no region is configured anywhere, it asks the metadata service of the
    /// instance it runs on.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let ConnectOptions { region, profile, endpoint_url } = options;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        // The name is valid; should the SDK disagree, calls work without it.
        if let Ok(name) = AppName::new("provisioner") {
            loader = loader.app_name(name);
        }
        let mut region = region.clone().map(Region::new);
        if let Some(profile) = profile {
            // The SDK would treat a missing profile as an empty one.
            SharedConfig::read(&text_environment()).check(profile)?;
            if region.is_none() {
                region = DefaultRegionChain::builder().profile_name(profile).build().region().await;
            }
            loader = loader
                .profile_name(profile)
                .credentials_provider(ProfileCredentials::new(profile, region.clone()));
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        if let Some(url) = endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if proxy::is_off(std::env::vars_os()) {
            loader = loader.http_client(client_without_proxy());
        }
        Ok(Self::new(&loader.load().await, CallCounter::default())?)
    }

    fn new(sdk_config: &SdkConfig, call_counter: CallCounter) -> Result<Self, NoRegion> {
        let region = sdk_config.region().ok_or(NoRegion)?.as_ref().to_owned();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        // Never adaptive: its client-side rate limiter blocked one call for over a minute.
        let retrying = sdk_config
            .to_builder()
            .behavior_version(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .build();
        let once = retrying.to_builder().retry_config(RetryConfig::disabled()).build();
        let account = once
            .to_builder()
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_timeout(ACCOUNT_TIMEOUT)
                    .build(),
            )
            .build();
        let counting = || CountingInterceptor(call_counter.clone());
        Ok(Self {
            ec2: ec2(&retrying, &call_counter),
            ec2_launch: ec2(&once, &call_counter),
            ssm: aws_sdk_ssm::Client::from_conf(
                aws_sdk_ssm::config::Builder::from(&retrying).interceptor(counting()).build(),
            ),
            sts: aws_sdk_sts::Client::from_conf(
                aws_sdk_sts::config::Builder::from(&account).interceptor(counting()).build(),
            ),
            iam: aws_sdk_iam::Client::from_conf(
                aws_sdk_iam::config::Builder::from(&retrying).interceptor(counting()).build(),
            ),
            region,
            sdk_config: retrying,
            call_counter,
        })
    }

    /// Returns a client with the same credentials and endpoints for another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.sdk_config.to_builder().region(Region::new(region.to_owned())).build();
        // The configuration has a region, so this never falls back.
        Self::new(&config, self.call_counter.clone()).unwrap_or_else(|NoRegion| self.clone())
    }

    /// Returns a client that stops every call that could change something in EC2 before it is sent.
    pub(super) fn read_only(&self) -> Self {
        let guarded = |ec2: &aws_sdk_ec2::Client| {
            let config = ec2.config().to_builder().interceptor(ReadOnlyGuard).build();
            aws_sdk_ec2::Client::from_conf(config)
        };
        Self { ec2: guarded(&self.ec2), ec2_launch: guarded(&self.ec2_launch), ..self.clone() }
    }

    /// Returns the region in force.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the counter of the calls made through this client and its clones.
    pub fn call_counter(&self) -> &CallCounter {
        &self.call_counter
    }

    /// Returns the account that the credentials belong to.
    ///
    /// STS is asked first. If STS cannot be reached, the owner of the region's security groups is the
    /// account; there is a default group unless all VPCs were deleted.
    pub async fn account_id(&self) -> Result<String, Error> {
        let error = match self.sts.get_caller_identity().send().await {
            Ok(answer) => match answer.account {
                Some(account) => return Ok(account),
                None => Error::incomplete("GetCallerIdentity", "the account", "no account id"),
            },
            Err(error) => Error::new("GetCallerIdentity", "the account", error),
        };
        if error.refusal.class != RefusalClass::Transient {
            return Err(error);
        }
        tracing::debug!(%error, "STS cannot be reached for the account id; asking EC2");
        match self.ec2.describe_security_groups().max_results(5).send().await {
            Ok(answer) => answer
                .security_groups()
                .iter()
                .find_map(|group| group.owner_id.clone())
                .ok_or(error),
            Err(error) => Err(Error::new(
                "DescribeSecurityGroups",
                format!("the account in {}", self.region),
                error,
            )),
        }
    }
}

/// Makes a client from an SDK configuration, with our timeouts and retries.
///
/// Not a method of [`Client`]: embedders connect by [`ConnectOptions`], and the version of the SDK is no
/// part of their interface. Tests and the simulator bring their own transport this way.
pub fn client_from_sdk_config(sdk_config: &SdkConfig) -> Result<Client, NoRegion> {
    Client::new(sdk_config, CallCounter::default())
}

/// Returns the SDK's own HTTP client, but for its use of proxies.
fn client_without_proxy() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .build_https()
}

/// Returns the environment variables, which the SDK reads as well.
fn text_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn ec2(config: &SdkConfig, call_counter: &CallCounter) -> aws_sdk_ec2::Client {
    let config = aws_sdk_ec2::config::Builder::from(config)
        .interceptor(TruncationGuard)
        .interceptor(CountingInterceptor(call_counter.clone()))
        .build();
    aws_sdk_ec2::Client::from_conf(config)
}
