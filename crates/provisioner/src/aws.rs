//! EC2 through the AWS SDK.
//!
//! Conversions and calls only: what to do is decided elsewhere. Every call is bounded in time, and
//! only [`Error`] knows what the SDK's errors look like.

mod bulk;
mod client;
mod error;
mod inventory;
mod key_pair;
mod request;
mod state;
mod tags;
mod time;

pub use client::{Client, ConnectOptions, NoRegion};
pub use error::Error;
pub(crate) use inventory::{FoundInstance, FoundRequest};
