//! A connection that cannot change anything in EC2, for `validate --aws`.

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

/// The calls that read a setting of the account, and are not called `Describe`.
const SETTINGS: [&[u8]; 3] = [
    b"Action=GetAllowedImagesSettings",
    b"Action=GetDefaultCreditSpecification",
    b"Action=GetInstanceMetadataDefaults",
];

/// Stops every call that neither describes nor is a dry run, before it is sent.
#[derive(Debug)]
pub(crate) struct ReadOnlyGuard;

#[derive(Debug, thiserror::Error)]
#[error("this call could change something, so it is not sent")]
struct NotReadOnly;

impl Intercept for ReadOnlyGuard {
    fn name(&self) -> &'static str {
        "ReadOnlyGuard"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.request().body().bytes() {
            Some(body) if is_read_only(body) => Ok(()),
            _ => Err(NotReadOnly.into()),
        }
    }
}

/// Returns whether a call, which is sent as a form, leaves EC2 unchanged (Amazon EC2 API Reference,
/// "Query requests").
fn is_read_only(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'&').any(|pair| {
        pair == b"DryRun=true" || pair.starts_with(b"Action=Describe") || SETTINGS.contains(&pair)
    })
}

#[cfg(test)]
mod tests {
    use aws_config::{Region, SdkConfig};
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;
    use crate::aws::{Error, client_from_sdk_config};
    use crate::domain::ids::InstanceId;

    #[tokio::test]
    async fn the_read_only_connection_sends_no_change() {
        let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .region(Region::new("us-west-2"))
            // Nothing listens there, so a call that is sent fails in another way.
            .endpoint_url("http://127.0.0.1:1")
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let client = client_from_sdk_config(&config).unwrap().read_only();
        let stopped = |error: &Error| error.to_string().contains("is not sent");
        let id = InstanceId::from("i-1");
        let error = client.terminate_all(std::slice::from_ref(&id)).await.unwrap_err();
        assert!(stopped(&error), "{error}");
        let sent = client.ec2_launch.request_spot_instances().send().await;
        let error = Error::new("RequestSpotInstances", "", sent.unwrap_err());
        assert!(stopped(&error), "{error}");
        let sent = client.ec2_launch.request_spot_instances().dry_run(true).send().await;
        let error = Error::new("RequestSpotInstances", "", sent.unwrap_err());
        assert!(!stopped(&error), "{error}");
    }

    #[test]
    fn only_describe_calls_and_dry_runs_are_sent() {
        for call in [
            "Action=DescribeInstances&Version=2016-11-15",
            "Action=GetInstanceMetadataDefaults&Version=2016-11-15",
            "Action=RequestSpotInstances&Version=2016-11-15&DryRun=true&InstanceCount=1",
            "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1&DryRun=true",
        ] {
            assert!(is_read_only(call.as_bytes()), "{call}");
        }
        for change in [
            "",
            "Action=RequestSpotInstances&Version=2016-11-15&InstanceCount=1",
            "Action=RequestSpotInstances&DryRun=false",
            "Action=GetInstanceMetadataDefaultsToo",
            "Action=CreateTags&Tag.1.Value=DryRun%3Dtrue",
            "Action=CreateTags&XDryRun=true",
        ] {
            assert!(!is_read_only(change.as_bytes()), "{change}");
        }
    }
}
