//! EC2 capacity for task queues.
//!
//! Watches what a queue wants and what EC2 has, and decides what to request, cancel and terminate, per
//! worker type. The decisions are a synchronous state machine without I/O, clock or randomness; thin
//! adapters around it speak to EC2, to the queue and to the disk.
//!
//! The programs `provisionerd`, `setup-aws` and `cleanup-aws` are made of it. Embedders bring a queue of
//! their own ([`DemandSource`]) and run `Daemon` with it, as the repository's
//! `examples/embed.rs` does. The decisions alone need neither AWS nor a queue:
//!
//! ```
//! use std::{path::Path, sync::Arc};
//!
//! use jiff::Timestamp;
//! use provisioner::{
//!     Demand, Engine, Inputs, KeyName, LedgerFound, Memory, Observation, Resolved,
//!     ResolvedPlacement, ResolvedWorkerType, Start, StopConsent, WorkerTypeName, parse_config,
//! };
//!
//! let text = r#"
//!     [worker-types.linux]
//!     image-id = "ami-0123456789abcdef0"
//!     instance-types = ["c7g.large"]
//!     max-instances = 20
//! "#;
//! let settings = Arc::new(parse_config(text, Path::new("/"))?.settings);
//! let (linux, now) = (WorkerTypeName::parse("linux")?, Timestamp::now());
//! let start = Start { ledger: LedgerFound::AssumedClean, memory: Memory::default(), nonce: 7 };
//! let mut engine = Engine::new(settings, KeyName::parse("mine")?, start, now);
//! let resolved = Resolved::from([(linux.clone(), Ok(ResolvedWorkerType {
//!     image_id: "ami-0123456789abcdef0".to_owned(),
//!     security_group_ids: Vec::new(),
//!     user_data: None,
//!     placements: vec![ResolvedPlacement::default()],
//!     lasting_devices: Vec::new(),
//! }))]);
//! let mut demand = Demand::default();
//! demand.pending.entry(linux).or_default().count = 35;
//! let inputs = Inputs {
//!     resolved: &resolved,
//!     observation: &Observation::default(),
//!     observed: now,
//!     demand: Ok(demand),
//! };
//!
//! let round = engine.begin_round(inputs, &mut StopConsent::default(), now);
//! assert_eq!(round.plan().actions[0].kind.count(), 20);
//! println!("{}", round.plan().actions[0].reason.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is public
//!
//! The root exports what an embedder needs: configuration and settings, demand and its source, the engine
//! with its inputs and effects, the daemon with its connection to AWS, and the status document. The state
//! that the engine keeps on disk ([`Memory`], [`Ledger`]) is opaque: it is stored and given back. No type
//! of the AWS SDK occurs in a signature.
//!
//! # Features
//!
//! | feature | default | what for |
//! |---|---|---|
//! | `aws` | yes | EC2 through the AWS SDK; implies `tls` |
//! | `tls` | yes | a queue behind https |
#![forbid(unsafe_code)]

mod aws;
#[cfg(feature = "aws")]
mod cleanup;
mod config;
mod daemon;
mod domain;
mod engine;
mod files;
#[doc(hidden)]
pub mod internal;
mod policy;
mod pools;
mod queue;
mod settings;
#[cfg(feature = "aws")]
mod setup;
mod state_dir;
mod status;

// Configuration.
pub use config::{
    ConfigError, ConfigProblem, Entry, Loaded, Origin, Override, Sources, Warning,
    load as load_config, parse as parse_config,
};
pub use settings::{
    AskRunning, Aws, Limits, Provisioner, QueueSettings, RetiredKeyName, Server, Settings, Strays,
    WorkerServer, WorkerType,
};

// Demand, and where it comes from.
pub use domain::demand::{
    Demand, FinishedTask, PendingTasks, Running, Skipped, TaskWaits, UnreadField,
};
pub use queue::Queue;
pub use queue::source::{DemandError, DemandErrorKind, DemandSource};

// The words that all of it is said in.
pub use domain::ids::{
    ClientToken, InstanceId, InstanceType, InvalidName, KeyName, SpotRequestId, StatusText,
    SubnetId, VolumeId, WorkerTypeName, Zone,
};
pub use domain::launch::{
    BlockDeviceMapping, Ebs, LaunchCall, LaunchSpecification, Monitoring, NetworkInterface,
    Placement, Pool, ResolvedPlacement, ResolvedWorkerType,
};
pub use domain::ledger::Ledger;
pub use domain::money::{Usd, UsdPerHour};
pub use domain::observed::{
    EndedBy, Instance, InstanceState, KeyPair, Observation, OwnTags, SpotRequest, SpotRequestState,
    StateReason,
};
pub use domain::refusal::{Refusal, RefusalClass};
pub use domain::stop_secret::StopSecret;
pub use domain::user_data::UserData;
pub use policy::Policy;

// The engine: inputs in, effects out.
pub use engine::{
    Action, ActionKind, ActionOutcome, ActionResult, Effect, Engine, GrantedRequest, Inputs,
    LedgerFound, Machines, Memory, Note, NoteKind, Outcome, Plan, Reason, ReasonKind, Report,
    Resolved, Round, Start, StopAnswer, StopAskError, StopConsent, StopConsentCounts, Usage,
    WorkerReport, WorkerTypeStatus,
};

// The daemon, and its connection to AWS.
#[cfg(feature = "aws")]
pub use aws::{Client, ConnectError, ConnectOptions, Error as AwsError};
pub use daemon::StopListener;
#[cfg(feature = "aws")]
pub use daemon::{
    Clock, Daemon, GaveUp, MissingLedger, NeedsRestart, QueueRead, Reloader, RoundEnd, RoundSummary,
};
pub use state_dir::{StateDir, StateDirError};

// The status document.
pub use status::{
    ActionCounts, HourlyCost, LastRound, OtherMachines, Problem, ProblemScope, ProblemSeen,
    RoundOutcome, RoundRecord, Status, StatusNote, StatusPicture, StatusSource, Trigger,
    WorkerTypeRow,
};
