//! Reasons and notes as data: what is said, with the numbers that decided.
//!
//! The rules of [`decide`](super) and of the rest of the engine give these; their sentences are in
//! [`wording`](super::wording), all in one place.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use super::kinds::{NoteKind, ReasonKind};
use crate::domain::demand::UnreadField;
use crate::domain::ids::{ClientToken, SpotRequestId, StatusText, WorkerTypeName};
use crate::domain::ledger::LedgerId;
use crate::domain::money::{Usd, UsdPerHour};
use crate::engine::state::machine::Machine;
use crate::policy::Why;

/// The requests or instances that an action removes.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Removed {
    OpenRequests(usize),
    Instances(usize),
}

/// A limit of `[limits]` that is exceeded, and by how much.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum ExceededLimit {
    Instances { max: u64, over: u64 },
    UsdPerHour { max: UsdPerHour, over: UsdPerHour },
    UsdPerDay { max: Usd, over: Usd },
}

/// How much of each limit that is set is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct LimitsUsage {
    pub(in crate::engine) instances: Option<LimitUsage<u64>>,
    pub(in crate::engine) usd_per_hour: Option<LimitUsage<UsdPerHour>>,
    pub(in crate::engine) usd_per_day: Option<LimitUsage<Usd>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct LimitUsage<T> {
    pub(in crate::engine) max: T,
    pub(in crate::engine) used: T,
}

/// Why instances are launched.
#[derive(Clone, Debug)]
pub(in crate::engine) enum LaunchReason<'a> {
    PendingTasks { pending: u64, free_slots: u64, coming: u64, why: Why },
    Spare { why: Why },
    BelowMinimum { launched: u64, min: u64, total: u64 },
    UnansweredIntent { age: Duration, token: &'a ClientToken },
}

/// Why something is done.
#[derive(Clone, Debug)]
pub(in crate::engine) enum ReasonDetail<'a> {
    Launch(LaunchReason<'a>),
    NoDemand {
        cancelled: usize,
        open: u64,
        pending: u64,
        free_slots: u64,
        in_flight: u64,
    },
    OverMaximum {
        removed: Removed,
        max: u64,
        total: u64,
    },
    OverLimit {
        removed: Removed,
        limit: ExceededLimit,
    },
    RequestTimeout {
        cancelled: usize,
        timeout: Duration,
    },
    NoCapacity {
        cancelled: usize,
        status_codes: BTreeSet<&'a StatusText>,
    },
    NeverClaimed {
        ended: usize,
        boot_timeout: Duration,
    },
    MaxLifetime {
        /// Those that are idle and past it.
        idle: usize,
        /// Those past twice that, which are ended whatever they do.
        past_twice: usize,
        max_lifetime: Duration,
    },
    RetiredMaxLifetime {
        ended: usize,
        worker_type: &'a WorkerTypeName,
        max_lifetime: Duration,
    },
    Stopped {
        ended: usize,
    },
    /// `wanted` is `None` if the worker type is no longer configured.
    WorkerAgreed {
        ended: usize,
        wanted: Option<u64>,
    },
    Stray {
        removed: Removed,
    },
    Retired {
        removed: Removed,
        worker_type: &'a WorkerTypeName,
    },
    Untagged {
        tagged: usize,
    },
}

impl ReasonDetail<'_> {
    pub(in crate::engine) fn kind(&self) -> ReasonKind {
        match self {
            Self::Launch(LaunchReason::PendingTasks { .. }) => ReasonKind::PendingTasks,
            Self::Launch(LaunchReason::Spare { .. }) => ReasonKind::Spare,
            Self::Launch(LaunchReason::BelowMinimum { .. }) => ReasonKind::BelowMinimum,
            Self::Launch(LaunchReason::UnansweredIntent { .. }) => ReasonKind::UnansweredIntent,
            Self::NoDemand { .. } => ReasonKind::NoDemand,
            Self::OverMaximum { .. } => ReasonKind::OverMaximum,
            Self::OverLimit { .. } => ReasonKind::OverLimit,
            Self::RequestTimeout { .. } => ReasonKind::RequestTimeout,
            Self::NoCapacity { .. } => ReasonKind::NoCapacity,
            Self::NeverClaimed { .. } => ReasonKind::NeverClaimed,
            Self::MaxLifetime { .. } | Self::RetiredMaxLifetime { .. } => ReasonKind::MaxLifetime,
            Self::Stopped { .. } => ReasonKind::Stopped,
            Self::WorkerAgreed { .. } => ReasonKind::WorkerAgreed,
            Self::Stray { .. } => ReasonKind::Stray,
            Self::Retired { .. } => ReasonKind::Retired,
            Self::Untagged { .. } => ReasonKind::Untagged,
        }
    }
}

/// Why no placement can be asked now.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) enum NoPlacement {
    /// Every pool left refused lately.
    Cooling { until: Timestamp, code: String },
    /// The quotas of every type left are used up.
    Quota { until: Timestamp, quota: String },
    /// EC2 does not know the instance profile yet.
    UnknownProfile { until: Timestamp, profile: String },
    /// Every pool was tried in this round.
    AllTried,
    /// None of the zones offers any of the instance types.
    NotOffered,
}

/// Why instances that are wanted are not launched, or no more of them.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Obstacle<'a> {
    LedgerLost {
        until: Timestamp,
    },
    OtherDaemon {
        ledger: &'a LedgerId,
        until: Timestamp,
    },
    KeyPairMissing,
    Paused {
        failures: u32,
        until: Timestamp,
        last: &'a str,
    },
    /// `why` is `None` if what the worker type names in AWS was not looked up yet.
    Unresolved {
        why: Option<&'a str>,
    },
    /// After too many failures one instance at a time is tried, and it is on its way.
    Probing {
        failures: u32,
        last: &'a str,
    },
    Throttled,
    /// EC2 allows no more calls now.
    ApiBudget {
        /// When it allows the next one.
        until: Timestamp,
    },
    NoPlacement(NoPlacement),
}

impl Obstacle<'_> {
    fn kind(&self) -> NoteKind {
        match self {
            Self::LedgerLost { .. } => NoteKind::LedgerLost,
            Self::OtherDaemon { .. } => NoteKind::OtherDaemon,
            Self::KeyPairMissing => NoteKind::KeyPairMissing,
            Self::Paused { .. } | Self::Probing { .. } => NoteKind::Paused,
            Self::Unresolved { .. } | Self::NoPlacement(NoPlacement::NotOffered) => {
                NoteKind::Unresolved
            }
            Self::Throttled | Self::ApiBudget { .. } => NoteKind::Throttled,
            Self::NoPlacement(NoPlacement::Cooling { .. } | NoPlacement::AllTried) => {
                NoteKind::CoolingDown
            }
            Self::NoPlacement(NoPlacement::Quota { .. }) => NoteKind::QuotaExceeded,
            Self::NoPlacement(NoPlacement::UnknownProfile { .. }) => NoteKind::ProfileNotVisible,
        }
    }
}

/// Why a launch whose answer is not known is not repeated.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum NoRoom {
    NotConfigured,
    /// The configuration has no longer the image, the instance type or the price of the call.
    Withdrawn,
    /// It is not known which image the worker type names now.
    Unresolved,
    OtherDaemon,
    OverMaximum {
        total: u64,
        max: u64,
    },
    OverLimits,
}

/// Why strays are kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum StraysKept {
    AsConfigured,
    KeyPairMayBeShared,
}

/// The ids of machines, of which the sentence shows the first few.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct SomeIds<'a>(pub(in crate::engine) &'a [Machine]);

/// A note as data.
pub(in crate::engine) trait NoteDetail: Display {
    fn kind(&self) -> NoteKind;

    /// What else than its kind and worker type tells the note from others.
    fn subject(&self) -> Option<String> {
        None
    }
}

/// What is known of ledgers, ours and others.
#[derive(Clone, Debug)]
pub(in crate::engine) enum LedgerNote<'a> {
    OtherDaemon {
        ledger: &'a LedgerId,
        until: Timestamp,
    },
    EarlierLedger {
        ledger: &'a LedgerId,
        launched: u64,
    },
    /// What was counted today before was lost.
    SpendingLowerBound {
        usd: Usd,
    },
}

impl NoteDetail for LedgerNote<'_> {
    fn kind(&self) -> NoteKind {
        match self {
            Self::OtherDaemon { .. } => NoteKind::OtherDaemon,
            Self::EarlierLedger { .. } => NoteKind::EarlierLedger,
            Self::SpendingLowerBound { .. } => NoteKind::SpendingLowerBound,
        }
    }

    fn subject(&self) -> Option<String> {
        match self {
            Self::OtherDaemon { ledger, .. } | Self::EarlierLedger { ledger, .. } => {
                Some(ledger.to_string())
            }
            Self::SpendingLowerBound { .. } => None,
        }
    }
}

/// What the queue answers.
#[derive(Clone, Debug)]
pub(in crate::engine) enum DemandNote<'a> {
    Unknown {
        why: &'a str,
    },
    /// Tasks that do not count. `field` is empty if they are no objects.
    Malformed {
        field: &'a str,
        unread: &'a UnreadField,
    },
    /// Tasks that do not count, for a reason that is not known.
    NotRead {
        tasks: u64,
    },
    /// Tasks over 1 MiB, which do not count.
    Oversized {
        tasks: u64,
    },
    /// Tasks that count, but for a field.
    UnreadField {
        field: &'a str,
        unread: &'a UnreadField,
    },
    UnknownWorkerType {
        tasks: u64,
        worker_type: &'a str,
    },
    FurtherUnknownWorkerTypes {
        tasks: u64,
    },
    RunningIgnored,
}

impl NoteDetail for DemandNote<'_> {
    fn kind(&self) -> NoteKind {
        match self {
            Self::Unknown { .. } => NoteKind::DemandUnknown,
            Self::Malformed { .. } | Self::NotRead { .. } | Self::Oversized { .. } => {
                NoteKind::MalformedTasks
            }
            Self::UnreadField { .. } => NoteKind::UnreadField,
            Self::UnknownWorkerType { .. } | Self::FurtherUnknownWorkerTypes { .. } => {
                NoteKind::UnknownWorkerType
            }
            Self::RunningIgnored => NoteKind::RunningIgnored,
        }
    }

    fn subject(&self) -> Option<String> {
        match self {
            Self::UnknownWorkerType { worker_type, .. } => Some((*worker_type).to_owned()),
            Self::Malformed { field, .. } | Self::UnreadField { field, .. } => {
                Some((*field).to_owned())
            }
            Self::Oversized { .. } => Some("oversized".to_owned()),
            _ => None,
        }
    }
}

/// What is wanted and not done, or not yet there.
#[derive(Clone, Debug)]
pub(in crate::engine) enum PlanNote<'a> {
    AtMaximum {
        needed: u64,
        max: u64,
        room: u64,
        total: u64,
    },
    AtLimit {
        needed: u64,
        room: u64,
        usage: LimitsUsage,
    },
    /// A dollar limit cannot be checked, because some of what runs or is asked for has no price.
    PricesUnknown {
        unpriced: u64,
    },
    /// A dollar limit cannot be checked, because the worker type has no price.
    NoMaxPrice {
        needed: u64,
        worker_type: &'a WorkerTypeName,
    },
    /// Nothing is launched in this round.
    NotLaunched {
        wanted: u64,
        obstacle: &'a Obstacle<'a>,
    },
    /// Nothing more is launched in this round.
    NoLongerLaunched {
        wanted: u64,
        obstacle: &'a Obstacle<'a>,
    },
    /// `wanted` is `None` in the note that concerns every worker type.
    LedgerNotWritten {
        why: &'a str,
        wanted: Option<u64>,
    },
    InFlight {
        coming: u64,
        waiting: u64,
    },
    /// The launches of a burst take longer than EC2 allows calls at once.
    Burst {
        calls: usize,
        takes: Duration,
    },
    Unanswered {
        asked: u32,
        why: NoRoom,
    },
    CheckFailed {
        violations: &'a [String],
    },
}

impl NoteDetail for PlanNote<'_> {
    fn kind(&self) -> NoteKind {
        match self {
            Self::AtMaximum { .. } => NoteKind::AtMaximum,
            Self::AtLimit { .. } => NoteKind::AtLimit,
            Self::PricesUnknown { .. } | Self::NoMaxPrice { .. } => NoteKind::PriceUnknown,
            Self::NotLaunched { obstacle, .. } | Self::NoLongerLaunched { obstacle, .. } => {
                obstacle.kind()
            }
            Self::LedgerNotWritten { .. } => NoteKind::LedgerNotWritten,
            Self::InFlight { .. } => NoteKind::InFlight,
            Self::Burst { .. } => NoteKind::Burst,
            Self::Unanswered { .. } => NoteKind::Unanswered,
            Self::CheckFailed { .. } => NoteKind::CheckFailed,
        }
    }
}

/// What became of machines and requests, as EC2 and the workers tell.
#[derive(Clone, Debug)]
pub(in crate::engine) enum MachineNote<'a> {
    RequestFailed {
        request: &'a SpotRequestId,
        why: &'a str,
    },
    /// `why` says which instance it was.
    InstanceFailed {
        why: &'a str,
    },
    /// No task was seen on the instances: they do not count as capacity any more.
    Overdue {
        instances: u64,
        boot_timeout: Duration,
    },
    /// It is not known what the instances do: they do not count as free any more.
    NotKnownToBeFree {
        instances: u64,
        boot_timeout: Duration,
    },
    WaitingForCapacity {
        requests: usize,
        status_code: &'a StatusText,
    },
    GrantNeverSeen {
        request: &'a SpotRequestId,
        age: Duration,
    },
    LaunchNeverSeen {
        token: &'a ClientToken,
        asked: u32,
        found: u32,
        age: Duration,
    },
    StraysKept {
        instances: usize,
        requests: usize,
        ids: SomeIds<'a>,
        why: StraysKept,
    },
    /// The instances carry the tag of another key-name.
    DisputedKept {
        instances: usize,
        ids: SomeIds<'a>,
    },
    Unresolved {
        instances: usize,
        ids: SomeIds<'a>,
    },
    /// `state` names the thing and its state.
    UnknownState {
        state: &'a str,
    },
    PromiseLapsed {
        workers: u64,
        lease: Duration,
    },
}

impl NoteDetail for MachineNote<'_> {
    fn kind(&self) -> NoteKind {
        match self {
            Self::RequestFailed { .. } | Self::InstanceFailed { .. } => NoteKind::LaunchFailed,
            Self::Overdue { .. } | Self::NotKnownToBeFree { .. } => NoteKind::BootTimeout,
            Self::WaitingForCapacity { .. } => NoteKind::WaitingForCapacity,
            Self::GrantNeverSeen { .. } | Self::LaunchNeverSeen { .. } => NoteKind::NeverSeen,
            Self::StraysKept { .. } | Self::DisputedKept { .. } => NoteKind::StrayKept,
            Self::Unresolved { .. } => NoteKind::UnresolvedInstance,
            Self::UnknownState { .. } => NoteKind::UnknownState,
            Self::PromiseLapsed { .. } => NoteKind::PromiseLapsed,
        }
    }

    fn subject(&self) -> Option<String> {
        match self {
            Self::RequestFailed { request, .. } | Self::GrantNeverSeen { request, .. } => {
                Some(request.to_string())
            }
            Self::InstanceFailed { why } => Some((*why).to_owned()),
            Self::LaunchNeverSeen { token, .. } => Some(token.to_string()),
            Self::DisputedKept { .. } => Some("disputed".to_owned()),
            Self::UnknownState { state } => Some((*state).to_owned()),
            Self::Overdue { .. }
            | Self::NotKnownToBeFree { .. }
            | Self::WaitingForCapacity { .. }
            | Self::StraysKept { .. }
            | Self::Unresolved { .. }
            | Self::PromiseLapsed { .. } => None,
        }
    }
}
