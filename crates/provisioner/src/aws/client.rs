//! The connection: credentials, region, timeouts and retries.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};

use super::Error;
use super::attempts::Attempts;
use super::credentials::OfProfile;
use super::only_looks::OnlyLooks;
use super::whole::WholeAnswers;
use crate::aws::shared_config::{NoSuchProfile, SharedConfig};
use crate::domain::refusal::RefusalClass;
use crate::settings;

/// The SDK itself has no limit but one for connecting; a loop must not hang on a lost packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const OPERATION_TIMEOUT: Duration = Duration::from_mins(1);
/// With `AWS_ENDPOINT_URL_EC2` alone STS may be out of reach, and EC2 knows the account too.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the command line or the configuration says about where AWS is. `None` leaves it to the
/// SDK's own chain (environment, profile, instance metadata).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The region.
    pub region: Option<String>,
    /// The profile of the shared configuration files. Named here it is chosen over credentials in the
    /// environment, and it must be there; `AWS_PROFILE` is not and need not.
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

/// Nothing says which region to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no AWS region is known: give --region, set AWS_REGION, or `region` in [aws] or in the AWS profile"
)]
pub struct NoRegion;

/// Why there is nothing to connect to, or nobody to connect as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says which region to use.
    #[error(transparent)]
    NoRegion(#[from] NoRegion),
    /// The profile that was named is not there.
    #[error(transparent)]
    NoSuchProfile(#[from] NoSuchProfile),
}

/// Clients for the AWS services, in one region.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) ec2: aws_sdk_ec2::Client,
    /// For calls that launch: the SDK would repeat `InsufficientInstanceCapacity` by itself, and
    /// what to try instead is not its decision.
    pub(crate) ec2_launch: aws_sdk_ec2::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    region: String,
    sdk_config: SdkConfig,
    attempts: Attempts,
}

impl Client {
    /// Finds credentials, region and endpoints the way the AWS CLI does. Calls nothing yet, but for the
    /// region, if nothing else says it, the metadata of the instance it runs on.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let ConnectOptions { region, profile, endpoint_url } = options;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        // The name is valid, and without it calls work as well.
        if let Ok(name) = AppName::new("provisioner") {
            loader = loader.app_name(name);
        }
        let mut region = region.clone().map(Region::new);
        if let Some(profile) = profile {
            // To the SDK one that is not there is one that says nothing.
            SharedConfig::read(&text_environment()).check(profile)?;
            if region.is_none() {
                region = DefaultRegionChain::builder().profile_name(profile).build().region().await;
            }
            loader = loader
                .profile_name(profile)
                .credentials_provider(OfProfile::new(profile, region.clone()));
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        if let Some(url) = endpoint_url {
            loader = loader.endpoint_url(url);
        }
        Ok(Self::new(&loader.load().await)?)
    }

    /// Uses a configuration of the caller's own, with our timeouts and retries.
    pub fn new(sdk_config: &SdkConfig) -> Result<Self, NoRegion> {
        Self::counting(sdk_config, Attempts::default())
    }

    fn counting(sdk_config: &SdkConfig, attempts: Attempts) -> Result<Self, NoRegion> {
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
        Ok(Self {
            ec2: ec2(&retrying, &attempts),
            ec2_launch: ec2(&once, &attempts),
            ssm: aws_sdk_ssm::Client::from_conf(
                aws_sdk_ssm::config::Builder::from(&retrying).interceptor(attempts.clone()).build(),
            ),
            sts: aws_sdk_sts::Client::from_conf(
                aws_sdk_sts::config::Builder::from(&account).interceptor(attempts.clone()).build(),
            ),
            iam: aws_sdk_iam::Client::from_conf(
                aws_sdk_iam::config::Builder::from(&retrying).interceptor(attempts.clone()).build(),
            ),
            region,
            sdk_config: retrying,
            attempts,
        })
    }

    /// The same credentials and endpoints in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.sdk_config.to_builder().region(Region::new(region.to_owned())).build();
        Self::counting(&config, self.attempts.clone()).unwrap_or_else(|NoRegion| self.clone())
    }

    /// The same, but whatever could change something in EC2 is stopped before it is sent.
    pub(super) fn only_looking(&self) -> Self {
        let only = |ec2: &aws_sdk_ec2::Client| {
            let config = ec2.config().to_builder().interceptor(OnlyLooks).build();
            aws_sdk_ec2::Client::from_conf(config)
        };
        Self { ec2: only(&self.ec2), ec2_launch: only(&self.ec2_launch), ..self.clone() }
    }

    /// The region in force.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// What was asked of AWS through this client and its clones, counted.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// The account the credentials belong to.
    ///
    /// STS says it; where STS cannot be reached, the owner of the region's security groups is
    /// taken (every account has a default one unless its VPCs were all deleted).
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
        tracing::debug!(%error, "STS does not say which account this is; asking EC2");
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

/// The environment that the SDK reads, too.
fn text_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn ec2(config: &SdkConfig, attempts: &Attempts) -> aws_sdk_ec2::Client {
    let config = aws_sdk_ec2::config::Builder::from(config)
        .interceptor(WholeAnswers)
        .interceptor(attempts.clone())
        .build();
    aws_sdk_ec2::Client::from_conf(config)
}
