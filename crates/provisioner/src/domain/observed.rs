//! What EC2 shows under the key-name, in our own words: one complete look.
//!
//! An [`Observation`] exists only if every page of every call arrived; planning on a smaller world
//! than exists launches twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "aws")]
use crate::domain::ids::SharedTexts;
use crate::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, StatusText, WorkerTypeName, Zone,
};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::money::UsdPerHour;

/// One complete look at everything under the key-name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Observation {
    /// All instances with the key-name, in any state EC2 still shows.
    pub instances: Vec<Instance>,
    /// All open and active spot instance requests that launch with the key-name, and those looked
    /// up by id, in any state.
    pub spot_requests: Vec<SpotRequest>,
    /// Whose key pair the key-name names.
    pub key_pair: KeyPair,
}

/// Whose key pair it is: strays are ended only under a key pair that is ours alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPair {
    /// Not looked at in this observation.
    #[default]
    Unknown,
    /// EC2 has no key pair of that name.
    Absent,
    /// It exists without our tag: made by hand, maybe used by others.
    Foreign,
    /// It carries the tag `provisioner:key-name` with its own name.
    Ours,
}

/// Whose something in IAM is that is named after the key-name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// There is none.
    Absent,
    /// It carries the tag `provisioner:key-name` with its own name.
    Ours,
    /// The same, but it was made for another region: IAM has one for all.
    OtherRegion,
    /// It exists without our tag: somebody's own.
    Foreign,
    /// It could not be looked at.
    Unknown,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// Its type.
    pub instance_type: InstanceType,
    /// The zone it runs in.
    pub zone: Option<Zone>,
    /// When EC2 launched it.
    pub launch_time: Timestamp,
    /// The spot instance request it came from, where EC2 says so.
    pub spot_request: Option<SpotRequestId>,
    /// EC2's platform details (`Windows`, `Red Hat Enterprise Linux`), unless it is plain Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_platform: Option<String>,
    /// Our tags on it.
    #[serde(default)]
    pub tags: OwnTags,
}

/// The state of an instance (Amazon EC2 API Reference, `InstanceState`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Being launched.
    Pending,
    /// Up (the worker on it may still be booting).
    Running,
    /// Being terminated.
    ShuttingDown,
    /// Gone; EC2 still shows it for about an hour.
    Terminated,
    /// Being stopped.
    Stopping,
    /// Stopped: serves nobody, may start again.
    Stopped,
    /// A state this version does not know. Counted as live, never touched.
    Unrecognised(String),
}

/// A spot instance request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpotRequest {
    /// Its id.
    pub id: SpotRequestId,
    /// Its state.
    pub state: SpotRequestState,
    /// EC2's status code (`pending-evaluation`, `capacity-not-available`, …).
    pub status_code: StatusText,
    /// EC2's message to the status code.
    pub status_message: StatusText,
    /// When the status last changed.
    pub status_time: Option<Timestamp>,
    /// When EC2 says it was made.
    pub created: Timestamp,
    /// The instance that came of it.
    pub instance: Option<InstanceId>,
    /// The instance type it asks for.
    pub instance_type: InstanceType,
    /// The zone it asks for or was launched in.
    pub zone: Option<Zone>,
    /// The highest price it may pay. EC2 fills in the on-demand price where none was given.
    pub max_price: Option<UsdPerHour>,
    /// Our tags on it.
    #[serde(default)]
    pub tags: OwnTags,
}

impl SpotRequest {
    /// Whether it can have an instance that still runs. One whose capacity EC2 wants back is closed with the
    /// interruption notice, and its instance runs on for two minutes (EC2 User Guide, "State changes for a
    /// Spot request").
    pub fn may_run(&self) -> bool {
        let code = self.status_code.as_str();
        let has_notice = matches!(
            code,
            "instance-terminated-no-capacity" | "instance-terminated-capacity-oversubscribed"
        );
        match self.state {
            SpotRequestState::Failed => false,
            SpotRequestState::Closed => has_notice,
            SpotRequestState::Cancelled => has_notice || !code.starts_with("instance-terminated-"),
            SpotRequestState::Open
            | SpotRequestState::Active
            | SpotRequestState::Disabled
            | SpotRequestState::Unrecognised(_) => true,
        }
    }
}

/// The state of a spot instance request (EC2 User Guide, "Spot Instance request states").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpotRequestState {
    /// Waiting for capacity.
    Open,
    /// Fulfilled, with an instance.
    Active,
    /// Stopped with its instance (persistent requests only; we make none).
    Disabled,
    /// Ended: its instance is gone, or is about to be.
    Closed,
    /// Cancelled by somebody. Its instance, if it made one, goes on.
    Cancelled,
    /// Ended without an instance (`bad-parameters`, …).
    Failed,
    /// A state this version does not know. Counted as open, never touched.
    Unrecognised(String),
}

/// Our tags on a resource, as far as they are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OwnTags {
    /// `provisioner:key-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<KeyName>,
    /// `provisioner:worker-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_type: Option<WorkerTypeName>,
    /// `provisioner:intent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<ClientToken>,
}

impl OwnTags {
    /// Ours among all tags of a resource.
    pub fn of(tags: &BTreeMap<String, String>) -> Self {
        Self {
            key_name: tags.get(TAG_KEY_NAME).map(|name| KeyName::from(name.as_str())),
            worker_type: tags.get(TAG_WORKER_TYPE).map(|name| WorkerTypeName::from(name.as_str())),
            intent: tags.get(TAG_INTENT).map(|token| ClientToken::from(token.as_str())),
        }
    }
}

#[cfg(feature = "aws")]
impl OwnTags {
    /// Shares texts with what else was seen (see [`SharedTexts`]).
    pub(crate) fn share(&mut self, texts: &mut SharedTexts) {
        let Self { key_name, worker_type, intent } = self;
        if let Some(name) = key_name {
            texts.share(name);
        }
        if let Some(name) = worker_type {
            texts.share(name);
        }
        if let Some(token) = intent {
            texts.share(token);
        }
    }
}

impl InstanceState {
    /// Whether it exists and may cost money: anything but shutting down or terminated.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}
