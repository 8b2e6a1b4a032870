//! EC2 capacity for task queues.
//!
//! Watches what a queue wants and what EC2 has, and decides what to request, cancel and terminate, per
//! worker type. The decisions are a synchronous state machine without I/O, clock or randomness; thin
//! adapters around it speak to EC2, to the queue and to the disk.
//!
//! The programs `provisionerd`, `setup-aws` and `cleanup-aws` are made of it. Embedders bring a queue of
//! their own ([`queue::source::DemandSource`]) and run `daemon::Daemon` with it, as the repository's
//! `examples/embed.rs` does. The decisions alone need neither AWS nor a queue:
//!
//! ```
//! use std::{path::Path, sync::Arc};
//!
//! use jiff::Timestamp;
//! use provisioner::config;
//! use provisioner::domain::demand::Demand;
//! use provisioner::engine::{
//!     Engine, Inputs, LedgerFound, Memory, Resolved, Start, StopConsent,
//! };
//! use provisioner::domain::ids::{KeyName, WorkerTypeName};
//! use provisioner::domain::launch::{ResolvedPlacement, ResolvedWorkerType};
//! use provisioner::domain::observed::Observation;
//!
//! let text = r#"
//!     [worker-types.linux]
//!     image-id = "ami-0123456789abcdef0"
//!     instance-types = ["c7g.large"]
//!     max-instances = 20
//! "#;
//! let settings = Arc::new(config::parse(text, Path::new("/"))?.settings);
//! let (linux, now) = (WorkerTypeName::parse("linux")?, Timestamp::now());
//! let start = Start { ledger: LedgerFound::AssumedClean, memory: Memory::default(), nonce: 7 };
//! let mut engine = Engine::new(settings, KeyName::parse("mine")?, start, now);
//! let resolved = Resolved::from([(linux.clone(), Ok(ResolvedWorkerType {
//!     image_id: "ami-0123456789abcdef0".to_owned(),
//!     security_group_ids: Vec::new(),
//!     user_data: None,
//!     placements: vec![ResolvedPlacement::default()],
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
//! # Features
//!
//! | feature | default | what for |
//! |---|---|---|
//! | `aws` | yes | EC2 through the AWS SDK; implies `tls` |
//! | `tls` | yes | a queue behind https |
#![forbid(unsafe_code)]

pub mod aws;
#[cfg(feature = "aws")]
pub mod cleanup;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod engine;
mod files;
pub mod policy;
pub mod pools;
pub mod queue;
pub mod settings;
#[cfg(feature = "aws")]
pub mod setup;
pub mod state_dir;
pub mod status;
