//! The decisions of a round: actions with their reasons, and notes on what is not done and why.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::{InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::shown::shown;
use crate::engine::decide::detail::{NoteDetail, ReasonDetail};

pub use super::kinds::{NoteKind, ReasonKind};

/// The decisions of one round.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a plan nobody reads explains nothing"]
pub struct Plan {
    /// Per configured worker type, in order of name.
    pub worker_types: Vec<WorkerTypeStatus>,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// What is not done, and why.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether the demand was known.
    pub fn demand_known(&self) -> bool {
        self.demand_unknown().is_none()
    }

    /// The note that the demand was not known, and why.
    pub fn demand_unknown(&self) -> Option<&Note> {
        self.notes.iter().find(|note| note.kind == NoteKind::DemandUnknown)
    }
}

/// One worker type as a round found it. The field names are those of `--output json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerTypeStatus {
    /// Its name.
    pub name: String,
    /// Pending tasks; 0 where the demand is unknown.
    pub pending: u64,
    /// Running tasks as the queue counts them; `None` where it does not.
    pub running: Option<u64>,
    /// Open spot instance requests and launches in flight.
    pub open_requests: u64,
    /// Instances on which no task has run yet and that are not overdue.
    pub booting: u64,
    /// Instances known to run no task now.
    pub idle: u64,
    /// Instances that run tasks, or may: what they do is not known.
    pub busy: u64,
    /// Instances stopping or stopped.
    pub stopping: u64,
    /// Instances the policy wants in all; without meaning where the demand is unknown.
    pub wanted: u64,
    /// When the oldest pending task was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
}

/// One thing to do for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// For which worker type; `None` for strays.
    pub worker_type: Option<WorkerTypeName>,
    /// Why.
    pub reason: Reason,
}

/// What an action does.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionKind {
    /// Ask for this many instances.
    Request(u64),
    /// Cancel these requests.
    Cancel(Vec<SpotRequestId>),
    /// Terminate these instances.
    Terminate(Vec<InstanceId>),
    /// Tag these instances.
    Tag(Vec<InstanceId>),
}

impl ActionKind {
    /// A stable name for logs, metrics and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Cancel(_) => "cancel",
            Self::Terminate(_) => "terminate",
            Self::Tag(_) => "tag",
        }
    }

    /// The call of the EC2 API that it is made with.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Request(_) => "RequestSpotInstances",
            Self::Cancel(_) => "CancelSpotInstanceRequests",
            Self::Terminate(_) => "TerminateInstances",
            Self::Tag(_) => "CreateTags",
        }
    }

    /// How many things it is about.
    pub fn count(&self) -> u64 {
        match self {
            Self::Request(n) => *n,
            Self::Cancel(ids) => ids.len() as u64,
            Self::Terminate(ids) | Self::Tag(ids) => ids.len() as u64,
        }
    }

    /// The ids it names, as text.
    pub fn ids(&self) -> Vec<&str> {
        match self {
            Self::Request(_) => Vec::new(),
            Self::Cancel(ids) => ids.iter().map(SpotRequestId::as_str).collect(),
            Self::Terminate(ids) | Self::Tag(ids) => ids.iter().map(InstanceId::as_str).collect(),
        }
    }
}

/// Why something is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The kind, closed and stable.
    pub kind: ReasonKind,
    /// A sentence with the numbers that decided.
    pub text: String,
}

impl From<ReasonDetail<'_>> for Reason {
    fn from(detail: ReasonDetail<'_>) -> Self {
        Self { kind: detail.kind(), text: shown(detail).to_string() }
    }
}

/// Why something is not done, or what the user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// About which worker type.
    pub worker_type: Option<WorkerTypeName>,
    /// The kind, closed and stable.
    pub kind: NoteKind,
    /// What else tells it from others of its kind: a note is reported once, not once per round.
    pub subject: Option<String>,
    /// A sentence with the numbers that decided.
    pub text: String,
}

impl Note {
    /// Makes a note from its parts, without a subject.
    pub fn new(worker_type: Option<&WorkerTypeName>, kind: NoteKind, text: String) -> Self {
        Self { worker_type: worker_type.cloned(), kind, subject: None, text }
    }

    /// Makes a note that concerns no worker type in particular.
    pub(in crate::engine) fn general(detail: &impl NoteDetail) -> Self {
        Self {
            worker_type: None,
            kind: detail.kind(),
            subject: detail.subject(),
            // It holds names and messages of the queue and of EC2.
            text: shown(detail).to_string(),
        }
    }

    /// Makes a note about a worker type.
    pub(in crate::engine) fn about(worker_type: &WorkerTypeName, detail: &impl NoteDetail) -> Self {
        Self { worker_type: Some(worker_type.clone()), ..Self::general(detail) }
    }
}
