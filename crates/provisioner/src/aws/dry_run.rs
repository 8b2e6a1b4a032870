//! Asking EC2 whether it would do something: the very calls of a round, with `DryRun`.
//!
//! EC2 answers with errors: `DryRunOperation` is yes (EC2 API Reference, `DryRun`).

use std::collections::BTreeMap;

use super::request::rendered;
use super::{Client, Error, tags};
use crate::aws::preflight::{DryRunAnswer, Looked};
use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::launch::LaunchCall;

impl Client {
    /// Would these instances be requested?
    pub(super) async fn would_request(&self, call: &LaunchCall) -> DryRunAnswer {
        // With the SDK's retries, unlike the call itself: nothing can be launched twice.
        let sent = rendered(&self.ec2, call).dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("RequestSpotInstances", "", error)))
    }

    /// Would this spot request be cancelled?
    pub(super) async fn would_cancel(&self, id: &SpotRequestId) -> DryRunAnswer {
        let call = self.ec2.cancel_spot_instance_requests().spot_instance_request_ids(id.as_str());
        let sent = call.dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("CancelSpotInstanceRequests", "", error)))
    }

    /// Would this instance be terminated?
    pub(super) async fn would_terminate(&self, id: &InstanceId) -> DryRunAnswer {
        let call = self.ec2.terminate_instances().instance_ids(id.as_str());
        let sent = call.dry_run(true).send().await;
        answer(sent.map_err(|error| Error::new("TerminateInstances", "", error)))
    }

    /// Would this instance get these tags?
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
    let looked: Looked<()> = sent.map(drop).map_err(|error| error.refusal);
    looked.into()
}
