//! Everything that exists under one key-name.

use serde::Serialize;

use super::{CleanupTarget, WorkerProfile};
use crate::aws::{Client, Error, FoundInstance, FoundRequest};
use crate::domain::observed::{InstanceState, KeyPair, SpotRequestState};

/// Everything that exists under one key-name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// The key-name, with its region.
    #[serde(flatten)]
    pub target: CleanupTarget,
    /// Whether the key pair exists, and whether it is ours.
    pub key_pair: KeyPair,
    /// Spot instance requests that are open, active or disabled.
    pub spot_requests: Vec<InventoryItem>,
    /// Instances that are not terminated.
    pub instances: Vec<InventoryItem>,
    /// Fleets with our tag.
    pub fleets: Vec<String>,
    /// Launch templates with our tag, by id.
    pub launch_templates: Vec<String>,
    /// Volumes with our tag, but for those that end with their machines.
    pub volumes: Vec<String>,
    /// The volumes that outlive their instances.
    pub lasting_volumes: Vec<String>,
    /// The IAM role and instance profile.
    pub worker_profile: WorkerProfile,
}

/// A spot instance request or an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryItem {
    /// Its id.
    pub id: String,
    /// Its state, as EC2 spells it.
    pub state: String,
    /// Its worker type, if its tags say.
    pub worker_type: Option<String>,
    /// Its instance type.
    pub instance_type: String,
}

impl Inventory {
    /// Reads it from AWS, without changing anything.
    pub(super) async fn take(client: &Client, target: CleanupTarget) -> Result<Self, Error> {
        let key_name = &target.key_name;
        let key_pair = client.key_pair(key_name).await?;
        let spot_requests = client.standing_requests(key_name).await?;
        let instances = client.instances(key_name).await?;
        let fleets = client.fleets(key_name).await?;
        let launch_templates = client.launch_templates(key_name).await?;
        let volumes = client.volumes(key_name).await?;
        let worker_profile = WorkerProfile::find(client, key_name).await;
        Ok(Self {
            key_pair,
            spot_requests: spot_requests.into_iter().map(InventoryItem::from).collect(),
            lasting_volumes: lasting_volumes(&instances),
            instances: instances.into_iter().map(InventoryItem::from).collect(),
            fleets,
            launch_templates: launch_templates.into_iter().map(|template| template.id).collect(),
            volumes: volumes
                .into_iter()
                .filter(|volume| !volume.ends_with_machine)
                .map(|volume| volume.id)
                .collect(),
            worker_profile,
            target,
        })
    }

    /// Returns whether there is nothing that this program would remove.
    pub fn is_empty(&self) -> bool {
        self.n_running() == 0
            && self.launch_templates.is_empty()
            && self.volumes.is_empty()
            && self.key_pair != KeyPair::Ours
            && !self.worker_profile.is_ours()
    }

    /// Returns whether something runs under a foreign key pair. Ending that takes `--yes` and `--key-name`.
    pub fn needs_spelling_out(&self) -> bool {
        self.key_pair == KeyPair::Foreign && self.n_running() > 0
    }

    /// Returns the number of things that cost money, or soon will.
    fn n_running(&self) -> usize {
        self.spot_requests.len() + self.instances.len() + self.fleets.len()
    }
}

pub(super) fn lasting_volumes(instances: &[FoundInstance]) -> Vec<String> {
    instances.iter().flat_map(|instance| instance.lasting_volumes.iter().cloned()).collect()
}

impl From<FoundRequest> for InventoryItem {
    fn from(found: FoundRequest) -> Self {
        let FoundRequest { id, state, worker_type, instance_type } = found;
        Self { id: id.to_string(), state: request_state(&state), worker_type, instance_type }
    }
}

impl From<FoundInstance> for InventoryItem {
    fn from(found: FoundInstance) -> Self {
        let FoundInstance { id, state, worker_type, instance_type, lasting_volumes: _ } = found;
        Self { id: id.to_string(), state: instance_state(&state), worker_type, instance_type }
    }
}

pub(super) fn request_state(state: &SpotRequestState) -> String {
    match state {
        SpotRequestState::Open => "open",
        SpotRequestState::Active => "active",
        SpotRequestState::Disabled => "disabled",
        SpotRequestState::Closed => "closed",
        SpotRequestState::Cancelled => "cancelled",
        SpotRequestState::Failed => "failed",
        SpotRequestState::Unrecognised(other) => other,
    }
    .to_owned()
}

pub(super) fn instance_state(state: &InstanceState) -> String {
    match state {
        InstanceState::Pending => "pending",
        InstanceState::Running => "running",
        InstanceState::ShuttingDown => "shutting-down",
        InstanceState::Terminated => "terminated",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
        InstanceState::Unrecognised(other) => other,
    }
    .to_owned()
}
