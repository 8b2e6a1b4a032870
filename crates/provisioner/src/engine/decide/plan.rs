//! What a round decided: actions with their reasons, and notes on what is not done and why.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::{InstanceId, SpotRequestId, WorkerTypeName};

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
    /// Running tasks as the queue counts them, where it does.
    pub running: u64,
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
    /// Instances the policy wants in all.
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

/// The kinds of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReasonKind {
    /// Tasks wait.
    PendingTasks,
    /// Tasks are likely to come that nothing would be free for.
    Spare,
    /// Fewer than `min-instances`.
    BelowMinimum,
    /// A launch whose answer is not known is asked again with the same token.
    UnansweredIntent,
    /// More requests than tasks need.
    NoDemand,
    /// Over `max-instances` of the worker type.
    OverMaximum,
    /// Over `[limits]`.
    OverLimit,
    /// A request waited too long.
    RequestTimeout,
    /// A request cannot be filled where it is.
    NoCapacity,
    /// Never claimed a task within `boot-timeout`.
    NeverClaimed,
    /// Older than `max-lifetime`.
    MaxLifetime,
    /// Stopped: serves nobody.
    Stopped,
    /// Its worker asked whether to stop, and is stopping.
    WorkerAgreed,
    /// Under the key-name, but not ours.
    Stray,
    /// Its worker type is no longer configured.
    Retired,
    /// An instance of ours without our tags.
    Untagged,
}

impl ReasonKind {
    /// A stable name for logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingTasks => "pending-tasks",
            Self::Spare => "spare",
            Self::BelowMinimum => "below-minimum",
            Self::UnansweredIntent => "unanswered-intent",
            Self::NoDemand => "no-demand",
            Self::OverMaximum => "over-maximum",
            Self::OverLimit => "over-limit",
            Self::RequestTimeout => "request-timeout",
            Self::NoCapacity => "no-capacity",
            Self::NeverClaimed => "never-claimed",
            Self::MaxLifetime => "max-lifetime",
            Self::Stopped => "stopped",
            Self::WorkerAgreed => "worker-agreed",
            Self::Stray => "stray",
            Self::Retired => "retired",
            Self::Untagged => "untagged",
        }
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
    /// The same note about something in particular.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Makes a note without a subject.
    pub fn new(worker_type: Option<&WorkerTypeName>, kind: NoteKind, text: String) -> Self {
        Self { worker_type: worker_type.cloned(), kind, subject: None, text }
    }
}

/// The kinds of note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// The queue could not be read: nothing is done on account of demand.
    DemandUnknown,
    /// More is wanted than `max-instances` of the worker type.
    AtMaximum,
    /// More is wanted than `[limits]` allow.
    AtLimit,
    /// A dollar limit cannot be checked without a price.
    PriceUnknown,
    /// The ledger was lost: nothing is launched for the visibility window.
    LedgerLost,
    /// The ledger could not be written: nothing is launched.
    LedgerNotWritten,
    /// EC2 throttles launching calls.
    Throttled,
    /// What was asked for is on its way.
    InFlight,
    /// A launch whose answer is not known is not asked again: there is no room for it any more.
    Unanswered,
    /// Every capacity pool refused lately.
    CoolingDown,
    /// A quota is used up.
    QuotaExceeded,
    /// EC2 does not know an instance profile that may be a fresh one.
    ProfileNotVisible,
    /// A request of ours ended without an instance.
    LaunchFailed,
    /// Launches failed in a row.
    Paused,
    /// What the worker type names in AWS could not be resolved.
    Unresolved,
    /// Instances up longer than `boot-timeout` are no longer counted.
    BootTimeout,
    /// A request waits where it cannot be filled, and there is nowhere else.
    WaitingForCapacity,
    /// A granted request was never seen.
    NeverSeen,
    /// Instances or requests that are not ours are kept.
    StrayKept,
    /// An instance whose request is not visible yet.
    UnresolvedInstance,
    /// EC2 has no key pair of our key-name.
    KeyPairMissing,
    /// Tasks of worker types that are not configured.
    UnknownWorkerType,
    /// Elements of the queue's answer that could not be read.
    MalformedTasks,
    /// The queue answers RUNNING with the pending tasks.
    RunningIgnored,
    /// Workers were told to stop and did not say that they do.
    PromiseLapsed,
    /// EC2 shows a state this version does not know.
    UnknownState,
    /// The plan broke a fence and was not executed.
    CheckFailed,
}

impl NoteKind {
    /// A stable name for logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DemandUnknown => "demand-unknown",
            Self::AtMaximum => "at-maximum",
            Self::AtLimit => "at-limit",
            Self::PriceUnknown => "price-unknown",
            Self::LedgerLost => "ledger-lost",
            Self::LedgerNotWritten => "ledger-not-written",
            Self::Throttled => "throttled",
            Self::InFlight => "in-flight",
            Self::Unanswered => "unanswered",
            Self::CoolingDown => "cooling-down",
            Self::QuotaExceeded => "quota-exceeded",
            Self::ProfileNotVisible => "profile-not-visible",
            Self::LaunchFailed => "launch-failed",
            Self::Paused => "paused",
            Self::Unresolved => "unresolved",
            Self::BootTimeout => "boot-timeout",
            Self::WaitingForCapacity => "waiting-for-capacity",
            Self::NeverSeen => "never-seen",
            Self::StrayKept => "stray-kept",
            Self::UnresolvedInstance => "unresolved-instance",
            Self::KeyPairMissing => "key-pair-missing",
            Self::UnknownWorkerType => "unknown-worker-type",
            Self::MalformedTasks => "malformed-tasks",
            Self::RunningIgnored => "running-ignored",
            Self::PromiseLapsed => "promise-lapsed",
            Self::UnknownState => "unknown-state",
            Self::CheckFailed => "check-failed",
        }
    }

    /// Whether something that is wanted is withheld: `run --once` then ends with 4.
    pub fn withholds(self) -> bool {
        match self {
            Self::PriceUnknown
            | Self::LedgerLost
            | Self::LedgerNotWritten
            | Self::Throttled
            | Self::CoolingDown
            | Self::QuotaExceeded
            | Self::ProfileNotVisible
            | Self::LaunchFailed
            | Self::Paused
            | Self::Unresolved
            | Self::CheckFailed
            | Self::KeyPairMissing => true,
            Self::DemandUnknown
            | Self::AtMaximum
            | Self::AtLimit
            | Self::InFlight
            | Self::Unanswered
            | Self::BootTimeout
            | Self::WaitingForCapacity
            | Self::NeverSeen
            | Self::StrayKept
            | Self::UnresolvedInstance
            | Self::UnknownWorkerType
            | Self::MalformedTasks
            | Self::RunningIgnored
            | Self::PromiseLapsed
            | Self::UnknownState => false,
        }
    }

    /// Whether it says that something is wrong, and not only how things are.
    pub fn is_problem(self) -> bool {
        self.withholds() || matches!(self, Self::DemandUnknown | Self::StrayKept)
    }

    /// What the user can do about it, in a few words, where that is more than to wait.
    pub fn fix(self) -> Option<&'static str> {
        let fix = match self {
            Self::DemandUnknown => "see that the queue answers at `queue.host` or `queue.url`",
            Self::AtMaximum => "raise `max-instances`, if that is not enough",
            Self::AtLimit => "raise `[limits]`, if that is not enough",
            Self::PriceUnknown => "set `max-price`",
            Self::LedgerLost => {
                "wait for `provisioner.visibility-window`, or start with `--assume-clean` if nothing \
                 was in flight"
            }
            Self::LedgerNotWritten => {
                "free the disk of `provisioner.state-dir`, or mend its owner and mode"
            }
            Self::CoolingDown | Self::WaitingForCapacity => {
                "name more `instance-types`, or narrow `availability-zones` and `subnets` less"
            }
            Self::QuotaExceeded => {
                "ask AWS Service Quotas for more, name types of another family, or lower \
                 `max-instances`"
            }
            Self::LaunchFailed | Self::Paused => {
                "mend what EC2's message names; `provisionerd validate --aws` looks for it"
            }
            Self::Unresolved => {
                "mend what the worker type names in AWS; use ids where names are ambiguous"
            }
            Self::ProfileNotVisible => {
                "a new profile shows within minutes; else check `iam-instance-profile`"
            }
            Self::BootTimeout => "look at the console output of a machine, or raise `boot-timeout`",
            Self::StrayKept => {
                "end what is not needed by hand, and launch nothing under this key-name"
            }
            Self::KeyPairMissing => {
                "make the key pair again under its name, or run `setup-aws --force`"
            }
            Self::UnknownWorkerType => "add the worker type, or an alias to one",
            Self::MalformedTasks | Self::RunningIgnored => "mend the queue's answer",
            Self::PromiseLapsed => {
                "have workers say `stopping` right after they are told to stop, and repeat it until they \
                 are answered"
            }
            Self::UnknownState => "upgrade",
            Self::CheckFailed => "report it, with what `provisionerd plan --save-snapshot` saves",
            Self::Throttled
            | Self::InFlight
            | Self::Unanswered
            | Self::NeverSeen
            | Self::UnresolvedInstance => return None,
        };
        Some(fix)
    }
}

impl fmt::Display for NoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
