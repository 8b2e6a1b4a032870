//! EC2 and IAM through the AWS SDK.
//!
//! The adapter converts and calls; it decides nothing. No other room names a type of the SDK, and only
//! `error` knows the shape of the SDK's errors. A [`Client`] is cheap to clone and works in one region.
//!
//! # What it assumes of EC2
//!
//! - **Listings are paged and shift while they are read.** [`Client::observe`] reads every page of every
//!   call or fails: half a listing would look like a smaller world, and the engine would launch again what
//!   it did not see. `pages` notices a listing without an end, `truncation_guard` an answer without its
//!   end. An item that appears on two pages is kept once, in its later form.
//! - **Answers lag and contradict each other.** Each answer may come from a replica that does not know the
//!   latest call. The adapter reports what it read. Joining requests with instances by id, and waiting
//!   until a launch becomes visible, is the engine's task. Requests are read before instances, since a
//!   request fulfilled in between then shows twice rather than not at all. IAM lags too: `iam` repeats a
//!   call whose refusal may come from that.
//! - **Launching calls are sent once, with a client token.** The SDK would repeat a call after
//!   `InsufficientInstanceCapacity`, but the engine decides what to try instead. After a lost answer the
//!   same call with the same token returns the same requests. Other calls have the SDK's retries, as
//!   repeating them does no harm.
//! - **Every call is bounded in time.** See the time-outs in `client`. A call without an answer has failed
//!   with an open result ([`RefusalClass::Transient`](crate::domain::refusal::RefusalClass::Transient)).
//! - **A bulk call fails for one bad id.** The refusal names the id; see
//!   [`split_around_bad_ids`](crate::domain::bulk::split_around_bad_ids).
//! - **Answers are large.** EC2 sends seven kilobytes for each instance. `listing` reads the dozen elements
//!   that matter while the answer arrives.
//!
//! [`preflight`], [`iam_policy`] and [`shared_config`] are also built without the feature `aws`.

#[cfg(feature = "aws")]
mod bulk;
#[cfg(feature = "aws")]
mod call_counter;
#[cfg(feature = "aws")]
mod client;
#[cfg(feature = "aws")]
mod convert;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod describe;
#[cfg(feature = "aws")]
mod dry_run;
#[cfg(feature = "aws")]
mod error;
#[cfg(feature = "aws")]
mod execute;
#[cfg(feature = "aws")]
mod iam;
pub(crate) mod iam_policy;
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
mod pages;
pub(crate) mod preflight;
#[cfg(feature = "aws")]
mod prices;
#[cfg(feature = "aws")]
mod read_only;
#[cfg(feature = "aws")]
mod request;
#[cfg(feature = "aws")]
mod resolve;
pub(crate) mod shared_config;
#[cfg(feature = "aws")]
mod state;
#[cfg(feature = "aws")]
mod tags;
#[cfg(feature = "aws")]
mod time;
#[cfg(feature = "aws")]
mod truncation_guard;

#[cfg(feature = "aws")]
pub use call_counter::{CallCounter, CallCounts};
#[cfg(feature = "aws")]
pub use client::{Client, ConnectError, ConnectOptions, NoRegion, client_from_sdk_config};
#[cfg(feature = "aws")]
pub use error::Error;
#[cfg(feature = "aws")]
pub use execute::Call;
#[cfg(feature = "aws")]
pub(crate) use iam::{Ensured, FoundPolicy, FoundWorkerProfile, PAUSES as IAM_PAUSES};
#[cfg(feature = "aws")]
pub(crate) use inventory::{FoundInstance, FoundRequest};
#[cfg(feature = "aws")]
pub use observe::Observed;
#[cfg(feature = "aws")]
pub use resolve::{KnownPlaces, NotRead};
