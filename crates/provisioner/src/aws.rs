//! EC2 through the AWS SDK.
//!
//! Conversions and calls only: what to do is decided elsewhere. Every call is bounded in time, and
//! only [`Error`] knows what the SDK's errors look like.

#[cfg(feature = "aws")]
mod attempts;
#[cfg(feature = "aws")]
mod bulk;
#[cfg(feature = "aws")]
mod client;
#[cfg(feature = "aws")]
mod convert;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod dry_run;
#[cfg(feature = "aws")]
mod error;
#[cfg(feature = "aws")]
mod execute;
#[cfg(feature = "aws")]
mod iam;
pub mod iam_policy;
#[cfg(feature = "aws")]
mod inventory;
#[cfg(feature = "aws")]
mod key_pair;
#[cfg(feature = "aws")]
mod listing;
#[cfg(feature = "aws")]
mod observe;
#[cfg(feature = "aws")]
mod offerings;
#[cfg(feature = "aws")]
mod only_looks;
#[cfg(feature = "aws")]
mod pages;
pub mod preflight;
#[cfg(feature = "aws")]
mod prices;
#[cfg(feature = "aws")]
mod request;
#[cfg(feature = "aws")]
mod resolve;
pub mod shared_config;
#[cfg(feature = "aws")]
mod state;
#[cfg(feature = "aws")]
mod tags;
#[cfg(feature = "aws")]
mod time;
#[cfg(feature = "aws")]
mod whole;

#[cfg(feature = "aws")]
pub use attempts::{AttemptCounts, Attempts};
#[cfg(feature = "aws")]
pub use client::{Client, ConnectError, ConnectOptions, NoRegion};
#[cfg(feature = "aws")]
pub use error::Error;
#[cfg(feature = "aws")]
pub use execute::Call;
#[cfg(feature = "aws")]
pub(crate) use iam::{Ensured, FoundPolicy, FoundWorkerProfile, PAUSES as IAM_PAUSES};
#[cfg(feature = "aws")]
pub(crate) use inventory::{FoundInstance, FoundRequest};
#[cfg(feature = "aws")]
pub use observe::Look;
