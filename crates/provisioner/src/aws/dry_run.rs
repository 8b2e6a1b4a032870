//! Asks EC2 whether it would carry out the calls of a round, by making them with `DryRun`.
//!
//! EC2 answers such calls with errors. `DryRunOperation` means yes (EC2 API Reference, `DryRun`).

use std::collections::BTreeMap;

use super::request::rendered;
use super::{Client, Error, tags};
use crate::aws::preflight::{DryRunAnswer, Fact};
use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::launch::LaunchCall;

impl Client {
    /// Returns whether EC2 would accept this launching call.
    pub(super) async fn would_request(&self, call: &LaunchCall) -> DryRunAnswer {
        // Unlike the call itself this one has the SDK's retries: a dry run cannot launch twice.
        let sent = rendered(&self.ec2, call).dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("RequestSpotInstances", "", error)))
    }

    /// Returns whether EC2 would cancel this spot request.
    pub(super) async fn would_cancel(&self, id: &SpotRequestId) -> DryRunAnswer {
        let call = self.ec2.cancel_spot_instance_requests().spot_instance_request_ids(id.as_str());
        let sent = call.dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("CancelSpotInstanceRequests", "", error)))
    }

    /// Returns whether EC2 would terminate this instance.
    pub(super) async fn would_terminate(&self, id: &InstanceId) -> DryRunAnswer {
        let call = self.ec2.terminate_instances().instance_ids(id.as_str());
        let sent = call.dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("TerminateInstances", "", error)))
    }

    /// Returns whether EC2 would put these tags on this instance.
    pub(super) async fn would_tag(
        &self,
        id: &InstanceId,
        tags: &BTreeMap<String, String>,
    ) -> DryRunAnswer {
        let call = self.ec2.create_tags().resources(id.as_str());
        let sent = call.set_tags(Some(tags::sdk_tags(tags))).dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("CreateTags", "", error)))
    }
}

fn answer<T>(sent: Result<T, Error>) -> DryRunAnswer {
    let fact: Fact<()> = sent.map(drop).map_err(|error| error.refusal);
    fact.into()
}
