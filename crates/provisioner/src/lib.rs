//! EC2 capacity for task queues.
//!
//! Watches what a queue wants and what EC2 has, and decides what to request, cancel and terminate, per
//! worker type. The decisions are a synchronous state machine without I/O, clock or randomness; thin
//! adapters around it speak to EC2, to the queue and to the disk.
//!
//! # Features
//!
//! | feature | default | what for |
//! |---|---|---|
//! | `aws` | yes | EC2 through the AWS SDK; implies `tls` |
//! | `tls` | yes | a queue behind https |
#![forbid(unsafe_code)]

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod cleanup;
pub mod clock;
pub mod config;
#[cfg(feature = "aws")]
pub mod daemon;
pub mod demand;
pub mod engine;
pub mod ids;
pub mod launch;
pub mod ledger;
pub mod money;
pub mod observed;
#[cfg(feature = "aws")]
mod private_key;
pub mod queue;
pub mod refusal;
pub mod settings;
#[cfg(feature = "aws")]
pub mod setup;
pub mod snapshot;
pub mod source;
pub mod state_dir;
pub mod user_data;
