//! What EC2 shows under the key-name, as our own types: one complete observation.
//!
//! An [`Observation`] exists only if every page of every call arrived: a plan made on a part of the world
//! would launch what exists already.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(feature = "aws")]
use crate::domain::ids::SharedTexts;
use crate::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, StatusText, VolumeId,
    WorkerTypeName, Zone,
};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::money::UsdPerHour;

/// One complete observation of everything under the key-name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Observation {
    /// All instances with the key-name, in any state EC2 still shows.
    pub instances: Vec<Instance>,
    /// All open and active spot instance requests that launch with the key-name, and in any state those
    /// that were asked for by id.
    pub spot_requests: Vec<SpotRequest>,
    /// The owner of the key pair that the key-name names.
    pub key_pair: KeyPair,
}

/// The owner of the key pair. Strays are terminated only under a key pair that is ours alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPair {
    /// It was not part of this observation.
    #[default]
    Unknown,
    /// EC2 has no key pair of that name.
    Absent,
    /// It exists without our tag: it was made by hand, and others may use it.
    Foreign,
    /// It carries the tag `provisioner:key-name` with its own name.
    Ours,
}

/// The type of a key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyPairType {
    /// ED25519, which EC2 takes for all images but those of Windows.
    #[default]
    Ed25519,
    /// RSA.
    Rsa,
}

/// The owner of a resource in IAM that is named after the key-name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg(feature = "aws")]
pub enum Whose {
    /// It does not exist.
    Absent,
    /// It carries the tag `provisioner:key-name` with its own name.
    Ours,
    /// It carries that tag, but was made for another region. IAM is global.
    OtherRegion,
    /// It exists without our tag, so it is somebody else's.
    Foreign,
    /// It could not be read.
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
    /// The spot instance request that made it, if EC2 reports it.
    pub spot_request: Option<SpotRequestId>,
    /// EC2's platform details (`Windows`, `Red Hat Enterprise Linux`), unless it is plain Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_platform: Option<String>,
    /// Why its state last changed, of an instance that is not live; `None` if EC2 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// Its addresses while it is live: private, public and IPv6, of all of its network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The EBS volumes of an instance that lacks our tags: they are tagged with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeId>,
    /// Our tags on the resource.
    #[serde(default)]
    pub tags: OwnTags,
}

/// The state of an instance (Amazon EC2 API Reference, `InstanceState`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It is being launched.
    Pending,
    /// It is up; the worker on it may still be booting.
    Running,
    /// It is being terminated.
    ShuttingDown,
    /// It is gone; EC2 still shows it for about an hour.
    Terminated,
    /// It is being stopped.
    Stopping,
    /// It is stopped: it runs no tasks, and may start again.
    Stopped,
    /// A state that this version does not know. It counts as live and is never touched.
    Unrecognised(String),
}

/// Why an instance ended (Amazon EC2 API Reference, `StateReason`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StateReason {
    /// EC2's code (`Client.InternalError`, `Server.SpotInstanceTermination`, …).
    pub code: StatusText,
    /// EC2's message.
    pub message: StatusText,
}

/// Whose act ended an instance, according to EC2's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The instance shut itself down.
    Itself,
    /// Somebody terminated it, we or another user.
    User,
    /// EC2 took a spot instance back.
    Interruption,
    /// EC2 could not run it where it was (`Server.InsufficientInstanceCapacity`, …).
    Ec2,
    /// EC2 could not run it as it was asked for (`Client.InternalError`, `Client.VolumeLimitExceeded`, …).
    WrongLaunch,
}

impl StateReason {
    /// Reads the code.
    pub fn ended_by(&self) -> EndedBy {
        match self.code.as_str() {
            "Client.InstanceInitiatedShutdown" => EndedBy::Itself,
            "Client.UserInitiatedShutdown" | "Client.UserInitiatedHibernate" => EndedBy::User,
            "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => {
                EndedBy::Interruption
            }
            code if code.starts_with("Client.") => EndedBy::WrongLaunch,
            _ => EndedBy::Ec2,
        }
    }
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(self.code.as_str()),
            // EC2's messages begin with the code.
            message if message.starts_with(self.code.as_str()) => f.write_str(message),
            message => write!(f, "{}: {message}", self.code.as_str()),
        }
    }
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
    /// EC2's message about the status code.
    pub status_message: StatusText,
    /// When the status last changed.
    pub status_time: Option<Timestamp>,
    /// When it was made, according to EC2.
    pub created: Timestamp,
    /// The instance that it made.
    pub instance: Option<InstanceId>,
    /// The instance type that it asks for.
    pub instance_type: InstanceType,
    /// The zone that it asks for or was launched in.
    pub zone: Option<Zone>,
    /// The highest price that it may pay. If none was given, EC2 fills in the on-demand price.
    pub max_price: Option<UsdPerHour>,
    /// Our tags on the resource.
    #[serde(default)]
    pub tags: OwnTags,
}

impl SpotRequest {
    /// Returns whether EC2 has announced that it takes the instance back. The instance runs on for two minutes
    /// (EC2 User Guide, "Spot Instance interruption notices").
    pub fn has_notice(&self) -> bool {
        matches!(
            self.status_code.as_str(),
            "marked-for-termination"
                | "instance-terminated-no-capacity"
                | "instance-terminated-capacity-oversubscribed"
        )
    }

    /// Returns whether it may have an instance that still runs. EC2 closes a request with the interruption
    /// notice, while its instance runs for another two minutes (EC2 User Guide, "State changes for a Spot
    /// request").
    pub fn may_run(&self) -> bool {
        let has_notice = self.has_notice();
        match self.state {
            SpotRequestState::Failed => false,
            SpotRequestState::Closed => has_notice,
            SpotRequestState::Cancelled => {
                has_notice || !self.status_code.as_str().starts_with("instance-terminated-")
            }
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
    /// It waits for capacity.
    Open,
    /// It is fulfilled, and has an instance.
    Active,
    /// It is stopped with its instance. This happens to persistent requests only, which we do not make.
    Disabled,
    /// It has ended: its instance is gone, or is about to be.
    Closed,
    /// It was cancelled by somebody. Its instance, if it made one, keeps running.
    Cancelled,
    /// It ended without an instance (`bad-parameters`, …).
    Failed,
    /// A state that this version does not know. It counts as open and is never touched.
    Unrecognised(String),
}

/// Those of our tags that a resource carries.
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
    /// Picks our tags from all tags of a resource.
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
    /// Shares the texts with other resources (see [`SharedTexts`]).
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
    /// Returns whether it exists and may cost money: in any state but shutting down and terminated.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}
