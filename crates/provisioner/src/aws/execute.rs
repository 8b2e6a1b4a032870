//! Carries out the engine's effects: one call for each, whose answer is the outcome. It makes no choices.

use std::collections::BTreeMap;

use super::{Client, Error, tags};
use crate::domain::ids::{InstanceId, SpotRequestId, VolumeId};
use crate::domain::launch::LaunchCall;
use crate::domain::plural;
use crate::engine::Outcome;

/// The effects that become EC2 calls. The daemon itself writes the ledger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call<'a> {
    /// Requests instances.
    Request(&'a LaunchCall),
    /// Cancels spot instance requests.
    Cancel(&'a [SpotRequestId]),
    /// Terminates instances.
    Terminate(&'a [InstanceId]),
    /// Tags instances and their volumes.
    Tag {
        /// The instances.
        instances: &'a [InstanceId],
        /// Their volumes.
        volumes: &'a [VolumeId],
        /// The tags.
        tags: &'a BTreeMap<String, String>,
    },
}

impl Client {
    /// Makes the call. A launching call is sent once. The SDK repeats the others if the answer is lost or
    /// asks to slow down, since repeating them does no harm.
    ///
    /// An answer that names fewer ids than the call counts as done; the next observation shows the rest.
    pub async fn execute(&self, call: Call<'_>) -> Outcome {
        let done = match call {
            Call::Request(call) => match self.request_spot_instances(call).await {
                Ok(granted) => return Outcome::Requested(granted),
                Err(error) => Err(error),
            },
            // EC2 refuses a call without ids, and here nothing had to be done.
            Call::Cancel([])
            | Call::Terminate([])
            | Call::Tag { instances: [], volumes: [], .. } => Ok(()),
            Call::Cancel(ids) => self.cancel_all(ids).await,
            Call::Terminate(ids) => self.terminate_all(ids).await,
            Call::Tag { instances, volumes, tags } => self.tag_all(instances, volumes, tags).await,
        };
        match done {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::debug!(%error, class = %error.class(), "the call failed");
                Outcome::Refused(error.refusal)
            }
        }
    }

    pub(super) async fn cancel_all(&self, ids: &[SpotRequestId]) -> Result<(), Error> {
        self.ec2
            .cancel_spot_instance_requests()
            .set_spot_instance_request_ids(Some(texts(ids, SpotRequestId::as_str)))
            .send()
            .await
            .map_err(|error| {
                Error::new(
                    "CancelSpotInstanceRequests",
                    plural::count(ids.len(), "spot request"),
                    error,
                )
            })?;
        Ok(())
    }

    pub(super) async fn terminate_all(&self, ids: &[InstanceId]) -> Result<(), Error> {
        self.ec2
            .terminate_instances()
            .set_instance_ids(Some(texts(ids, InstanceId::as_str)))
            .send()
            .await
            .map_err(|error| {
                Error::new("TerminateInstances", plural::count(ids.len(), "instance"), error)
            })?;
        Ok(())
    }

    async fn tag_all(
        &self,
        instances: &[InstanceId],
        volumes: &[VolumeId],
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let mut resources = texts(instances, InstanceId::as_str);
        resources.extend(texts(volumes, VolumeId::as_str));
        self.ec2
            .create_tags()
            .set_resources(Some(resources))
            .set_tags(Some(tags::sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| {
                Error::new("CreateTags", plural::count(instances.len(), "instance"), error)
            })?;
        Ok(())
    }
}

fn texts<Id>(ids: &[Id], text: fn(&Id) -> &str) -> Vec<String> {
    ids.iter().map(|id| text(id).to_owned()).collect()
}
