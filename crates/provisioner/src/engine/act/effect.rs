//! What the engine asks a driver to do, and what the driver answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::{InstanceId, SpotRequestId, VolumeId};
use crate::domain::launch::LaunchCall;
use crate::domain::ledger::Ledger;
use crate::domain::observed::SpotRequestState;
use crate::domain::refusal::Refusal;

/// One thing to do. A driver does it, then tells the [`Outcome`], then asks for the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the ledger and sync it. Nothing else may happen before it is on disk.
    PersistLedger(Arc<Ledger>),
    /// Ask EC2 for instances.
    Request(Box<LaunchCall>),
    /// Cancel spot instance requests, in one call.
    Cancel(Vec<SpotRequestId>),
    /// Terminate instances, in one call.
    Terminate(Vec<InstanceId>),
    /// Put tags on instances and their volumes, in one call.
    Tag {
        /// The instances.
        instances: Vec<InstanceId>,
        /// Their volumes.
        volumes: Vec<VolumeId>,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
}

/// How an effect went.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done: persisted, cancelled, terminated or tagged.
    Done,
    /// EC2 took a [`Effect::Request`] and made these requests.
    Requested(Vec<GrantedRequest>),
    /// EC2 said no, or nothing. [`Refusal::class`] tells whether that is definite.
    Refused(Refusal),
    /// The ledger could not be written.
    NotPersisted(String),
}

/// A spot instance request as the launching call answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantedRequest {
    /// Its id.
    pub id: SpotRequestId,
    /// Its state at once.
    pub state: SpotRequestState,
}
