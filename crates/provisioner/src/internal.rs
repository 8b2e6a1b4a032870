//! What only the crates of this workspace need: the programs, the simulators and their tests.
//!
//! Nothing here is covered by semantic versioning. Embedders use what the crate's root exports.

#![allow(missing_docs, reason = "the items are documented where they are defined")]

pub mod aws {
    #[cfg(feature = "aws")]
    pub use crate::aws::{
        Call, CallCounter, CallCounts, Client, ConnectOptions, Error, KnownPlaces, NoRegion,
        NotRead, Observed, client_from_sdk_config,
    };
    pub mod iam_policy {
        pub use crate::aws::iam_policy::{
            IamPolicy, NoKeyName, PolicyProgram, PolicyRequest, PolicyWarning, PolicyWarningKind,
            policy, statement_ids,
        };
    }
    pub mod preflight {
        pub use crate::aws::preflight::{
            DryRunAnswer, Finding, ImageFacts, PassedCheck, PreflightFacts, PreflightReport,
            Severity, assess,
        };
    }
    pub mod shared_config {
        pub use crate::aws::shared_config::{DEFAULT_PROFILE, ProfileRegion, SharedConfig};
    }
}

#[cfg(feature = "aws")]
pub mod cleanup {
    pub use crate::cleanup::{
        CleanupError, CleanupOptions, CleanupOutcome, CleanupPlan, CleanupReport, execute,
        key_names_in_force, targets,
    };
}

pub mod config {
    pub use crate::config::{
        ConfigError, ConfigProblem, Entry, Key, KeyKind, Loaded, Origin, Override, Sources,
        Warning, diff, keys, load, parse,
    };
    pub mod edit {
        pub use crate::config::edit::{ConfigFile, EditError};
    }
    pub mod lookup {
        pub use crate::config::lookup::{SYSTEM_FILE, local_file, skipped_local_file};
    }
}

pub mod daemon {
    pub use crate::daemon::StopListener;
    #[cfg(feature = "aws")]
    pub use crate::daemon::{
        Clock, ClockOffset, Daemon, MissingLedger, ProbeReach, ProcessSeed, QueueRead, Reloader,
        RoundEnd, RoundSummary, StatusProbe,
    };
}

pub mod domain {
    pub mod clock {
        pub use crate::domain::clock::{after, age, last_midnight, next_midnight};
    }
    pub mod demand {
        pub use crate::domain::demand::{Demand, FinishedTask, PendingTasks, Running, TaskWaits};
    }
    pub mod duration {
        pub use crate::domain::duration::{brief, brief_seconds, format, parse, rounded, show};
    }
    pub mod ids {
        pub use crate::domain::ids::{
            ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, StatusText, SubnetId,
            VolumeId, WorkerTypeName, Zone,
        };
    }
    pub mod launch {
        pub use crate::domain::launch::{
            BlockDeviceMapping, Ebs, LaunchCall, LaunchSpecification, Monitoring, NetworkInterface,
            Placement, Pool, ResolvedPlacement, ResolvedWorkerType, TAG_INTENT, TAG_KEY_NAME,
            TAG_WORKER_TYPE,
        };
    }
    pub mod ledger {
        pub use crate::domain::ledger::{Intent, Ledger, LedgerId};
    }
    pub mod loopback {
        pub use crate::domain::loopback::is_loopback;
    }
    pub mod money {
        pub use crate::domain::money::{Usd, UsdPerHour};
    }
    pub mod observed {
        pub use crate::domain::observed::{
            EndedBy, Instance, InstanceState, KeyPair, KeyPairType, Observation, OwnTags,
            SpotRequest, SpotRequestState, StateReason,
        };
    }
    pub mod shown {
        pub use crate::domain::shown::{Shown, shown};
    }
    pub mod spending {
        pub use crate::domain::spending::Spending;
    }
    pub mod plural {
        pub use crate::domain::plural::count;
    }
    pub mod prices {
        pub use crate::domain::prices::SpotPrices;
    }
    pub mod refusal {
        pub use crate::domain::refusal::{Refusal, RefusalClass, classify_answer};
    }
    pub mod stop_secret {
        pub use crate::domain::stop_secret::StopSecret;
    }
    pub mod suggest {
        pub use crate::domain::suggest::hint;
    }
    pub mod user_data {
        pub use crate::domain::user_data::{UserData, Variables};
    }
}

pub mod engine {
    pub use crate::engine::{
        Action, ActionKind, ActionOutcome, ActionResult, Effect, Engine, GrantedRequest, Inputs,
        LEASE, LedgerFound, Machines, Memory, Note, NoteKind, Outcome, Plan, Reason, ReasonKind,
        Report, Resolved, Round, Start, StopAnswer, StopAskError, StopConsent, StopConsentCounts,
        Usage, WorkerReport, WorkerTypeStatus,
    };
    pub mod memory {
        pub use crate::engine::{failing_worker_types, observed_startups, unknown_profiles};
    }
    pub mod snapshot {
        pub use crate::engine::snapshot::{Snapshot, VERSION};
    }
}

pub mod policy {
    pub use crate::policy::{Adaptive, Policy, PolicyError, PolicyMemory, Rule, Situation};
}

pub mod pools {
    pub use crate::pools::{PoolRecord, divide};
}

pub mod queue {
    pub use crate::queue::Queue;
    pub mod http {
        pub use crate::queue::http::address::shown_text;
        pub use crate::queue::http::{PendingResponse, TaskFilter};
    }
    pub mod source {
        pub use crate::queue::source::{DemandError, DemandSource};
    }
}

pub mod settings {
    pub use crate::settings::{
        AskRunning, Aws, Limits, Provisioner, QueueSettings, Server, Settings, Strays,
        WorkerServer, WorkerType,
    };
}

#[cfg(feature = "aws")]
pub mod setup {
    pub use crate::setup::{SetupOptions, SetupReport, SpotRoleState, finish, setup};
}

pub mod state_dir {
    pub use crate::state_dir::{LedgerState, LockHolder, RecordedLoad, StateDir, StateDirError};
}

pub mod status {
    pub use crate::status::{
        ActionCounts, AskError, HourlyCost, LastReload, LastRound, OtherMachines, Problem,
        ProblemScope, ProblemSeen, ROUTE, ReloadRecord, RoundOutcome, RoundRecord, Status,
        StatusNote, StatusPicture, StatusSource, Trigger, VERSION, WorkerTypeRow, ask,
    };
    pub mod cost {
        pub use crate::status::cost::{Cost, usd_per_hour};
    }
}
