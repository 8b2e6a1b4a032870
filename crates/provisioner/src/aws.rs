//! EC2 through the AWS SDK.
//!
//! Conversions and calls only: what to do is decided elsewhere. Every call is bounded in time, and
//! only [`Error`] knows what the SDK's errors look like.

mod attempts;
mod bulk;
mod client;
mod convert;
mod credentials;
mod dry_run;
mod error;
mod execute;
mod iam;
mod inventory;
mod key_pair;
mod listing;
mod observe;
mod offerings;
mod only_looks;
mod pages;
mod preflight;
mod prices;
mod request;
mod resolve;
mod state;
mod tags;
mod time;
mod whole;

pub use attempts::{AttemptCounts, Attempts};
pub use client::{Client, ConnectError, ConnectOptions, NoRegion};
pub use error::Error;
pub use execute::Call;
pub(crate) use iam::{Ensured, FoundPolicy, FoundWorkerProfile, PAUSES as IAM_PAUSES};
pub(crate) use inventory::{FoundInstance, FoundRequest};
pub use observe::Look;
