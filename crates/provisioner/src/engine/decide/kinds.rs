//! The kinds of reasons and notes: one table of each, from which everything else about a kind is read.
//!
//! The names appear in logs, metrics and JSON, so they never change. The documentation is held to these
//! tables by the tests of the programs.

use std::fmt;

/// Declares the kinds and, in the same place, the row of each, so that a kind without a row does not
/// compile.
macro_rules! kinds {
    (
        $(#[$about:meta])*
        $kind:ident: $row:ty;
        $($(#[$meaning:meta])* $variant:ident => $value:expr,)+
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[$meaning])* $variant,)+
        }

        impl $kind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            const fn row(self) -> $row {
                match self {
                    $(Self::$variant => $value,)+
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

kinds! {
    /// The kinds of reason.
    ReasonKind: &'static str;

    /// Tasks wait.
    PendingTasks => "pending-tasks",
    /// Tasks are likely to come that nothing would be free for.
    Spare => "spare",
    /// Fewer than `min-instances`.
    BelowMinimum => "below-minimum",
    /// A launch whose answer is not known is asked again with the same token.
    UnansweredIntent => "unanswered-intent",
    /// More requests than tasks need.
    NoDemand => "no-demand",
    /// Over `max-instances` of the worker type.
    OverMaximum => "over-maximum",
    /// Over `[limits]`.
    OverLimit => "over-limit",
    /// A request waited too long.
    RequestTimeout => "request-timeout",
    /// A request cannot be filled where it is.
    NoCapacity => "no-capacity",
    /// Never claimed a task within `boot-timeout`.
    NeverClaimed => "never-claimed",
    /// Older than `max-lifetime`.
    MaxLifetime => "max-lifetime",
    /// Stopped: serves nobody.
    Stopped => "stopped",
    /// Its worker asked whether to stop, and is stopping.
    WorkerAgreed => "worker-agreed",
    /// Under the key-name, but not ours.
    Stray => "stray",
    /// Its worker type is no longer configured.
    Retired => "retired",
    /// An instance of ours without our tags.
    Untagged => "untagged",
}

impl ReasonKind {
    /// A stable name for logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        self.row()
    }
}

/// What is known of a kind of note.
struct NoteKindInfo {
    name: &'static str,
    withholds: bool,
    is_problem: bool,
    is_fence: bool,
    fix: Option<&'static str>,
}

impl NoteKindInfo {
    /// A kind that says how things are.
    const fn fact(name: &'static str) -> Self {
        Self { name, withholds: false, is_problem: false, is_fence: false, fix: None }
    }

    /// A kind that says that something is wrong.
    const fn problem(name: &'static str) -> Self {
        Self { is_problem: true, ..Self::fact(name) }
    }

    /// A kind that says that something wanted is withheld, which is always a problem.
    const fn withheld(name: &'static str) -> Self {
        Self { withholds: true, ..Self::problem(name) }
    }

    const fn fence(self) -> Self {
        Self { is_fence: true, ..self }
    }

    const fn fix(self, fix: &'static str) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

kinds! {
    /// The kinds of note.
    NoteKind: NoteKindInfo;

    /// The queue could not be read: nothing is done on account of demand.
    DemandUnknown => NoteKindInfo::problem("demand-unknown")
        .fix("see that the queue answers at `queue.host` or `queue.url`"),
    /// More is wanted than `max-instances` of the worker type.
    AtMaximum => NoteKindInfo::fact("at-maximum")
        .fence()
        .fix("raise `max-instances`, if that is not enough"),
    /// More is wanted than `[limits]` allow.
    AtLimit => NoteKindInfo::fact("at-limit")
        .fence()
        .fix("raise `[limits]`, if that is not enough"),
    /// A dollar limit cannot be checked without a price.
    PriceUnknown => NoteKindInfo::withheld("price-unknown").fence().fix("set `max-price`"),
    /// The ledger was lost: nothing is launched for the visibility window.
    LedgerLost => NoteKindInfo::withheld("ledger-lost").fence().fix(
        "wait for `provisioner.visibility-window`, or start with `--assume-clean` if nothing was in \
         flight",
    ),
    /// Another daemon launches under our key-name: nothing is launched beside it.
    OtherDaemon => NoteKindInfo::withheld("other-daemon").fence().fix(
        "end the other `provisionerd run` with this key-name, or give it a key-name of its own; \
         `--assume-alone` overrides",
    ),
    /// Instances or requests were launched by an earlier ledger.
    EarlierLedger => NoteKindInfo::fact("earlier-ledger"),
    /// What was spent today is more than is known.
    SpendingLowerBound => NoteKindInfo::problem("spending-lower-bound")
        .fix("compare with the bill, and lower `limits.max-usd-per-day` for today if it matters"),
    /// The ledger could not be written: nothing is launched.
    LedgerNotWritten => NoteKindInfo::withheld("ledger-not-written")
        .fix("free the disk of `provisioner.state-dir`, or correct its owner and mode"),
    /// EC2 throttles launching calls.
    Throttled => NoteKindInfo::withheld("throttled"),
    /// More launching calls are wanted than EC2 allows at once.
    Burst => NoteKindInfo::fact("burst"),
    /// What was asked for is on its way.
    InFlight => NoteKindInfo::fact("in-flight"),
    /// A launch whose answer is not known is not asked again: there is no room for it any more.
    Unanswered => NoteKindInfo::fact("unanswered"),
    /// Every capacity pool refused lately.
    CoolingDown => NoteKindInfo::withheld("cooling-down").fix(NAME_MORE_POOLS),
    /// A quota is used up.
    QuotaExceeded => NoteKindInfo::withheld("quota-exceeded").fix(
        "ask AWS Service Quotas for more, name types of another family, or lower `max-instances`",
    ),
    /// EC2 does not know an instance profile that may be a fresh one.
    ProfileNotVisible => NoteKindInfo::withheld("profile-not-visible")
        .fix("a new profile shows within minutes; else check `iam-instance-profile`"),
    /// A request of ours ended without an instance.
    LaunchFailed => NoteKindInfo::withheld("launch-failed").fix(CORRECT_WHAT_EC2_NAMES),
    /// Launches failed in a row.
    Paused => NoteKindInfo::withheld("paused").fix(CORRECT_WHAT_EC2_NAMES),
    /// What the worker type names in AWS could not be resolved.
    Unresolved => NoteKindInfo::withheld("unresolved")
        .fix("correct what the worker type names in AWS; use ids where names are ambiguous"),
    /// Instances up longer than `boot-timeout` are no longer counted.
    BootTimeout => NoteKindInfo::fact("boot-timeout")
        .fix("look at the console output of a machine, or raise `boot-timeout`"),
    /// A request waits where it cannot be filled, and there is nowhere else.
    WaitingForCapacity => NoteKindInfo::fact("waiting-for-capacity").fix(NAME_MORE_POOLS),
    /// A granted request was never seen.
    NeverSeen => NoteKindInfo::fact("never-seen"),
    /// Instances or requests that are not ours are kept.
    StrayKept => NoteKindInfo::problem("stray-kept")
        .fix("end what is not needed by hand, and launch nothing under this key-name"),
    /// An instance whose request is not visible yet.
    UnresolvedInstance => NoteKindInfo::fact("unresolved-instance"),
    /// EC2 has no key pair of our key-name.
    KeyPairMissing => NoteKindInfo::withheld("key-pair-missing")
        .fix("make the key pair again under its name, or run `setup-aws --force`"),
    /// Tasks of worker types that are not configured.
    UnknownWorkerType => NoteKindInfo::fact("unknown-worker-type")
        .fix("add the worker type, or an alias to one"),
    /// Elements of the queue's answer that could not be read.
    MalformedTasks => NoteKindInfo::fact("malformed-tasks").fix(CORRECT_THE_QUEUE),
    /// A field of tasks that could not be read: it counts as absent.
    UnreadField => NoteKindInfo::fact("unread-field"),
    /// The queue answers RUNNING with the pending tasks.
    RunningIgnored => NoteKindInfo::fact("running-ignored").fix(CORRECT_THE_QUEUE),
    /// Workers were told to stop and did not say that they do.
    PromiseLapsed => NoteKindInfo::fact("promise-lapsed").fix(
        "have workers say `stopping` right after they are told to stop, and repeat it until they are \
         answered",
    ),
    /// EC2 shows a state this version does not know.
    UnknownState => NoteKindInfo::fact("unknown-state").fix("upgrade"),
    /// The plan broke a fence and was not executed.
    CheckFailed => NoteKindInfo::withheld("check-failed")
        .fix("report it, with what `provisionerd plan --save-snapshot` saves"),
}

const NAME_MORE_POOLS: &str =
    "name more `instance-types`, or narrow `availability-zones` and `subnets` less";
const CORRECT_WHAT_EC2_NAMES: &str =
    "correct what EC2's message names; `provisionerd validate --aws` looks for it";
const CORRECT_THE_QUEUE: &str = "correct the queue's answer";

impl NoteKind {
    /// A stable name for logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Whether something that is wanted is withheld: `run --once` then ends with 4.
    pub const fn withholds(self) -> bool {
        self.row().withholds
    }

    /// Whether it says that something is wrong, and not only how things are.
    pub const fn is_problem(self) -> bool {
        self.row().is_problem
    }

    /// Whether it says that the operator, or a lost ledger, forbids launches that tasks wait for.
    pub const fn is_fence(self) -> bool {
        self.row().is_fence
    }

    /// What the user can do about it, in a few words, where that is more than to wait.
    pub const fn fix(self) -> Option<&'static str> {
        self.row().fix
    }
}
