//! IAM: the worker profile that `setup-aws` makes and `cleanup-aws` deletes, the service-linked role for
//! spot requests, and a look at any instance profile.
//!
//! IAM is one for all regions of an account, unlike everything else under a key-name: what is made here
//! is tagged with the key-name's region too, and what bears another region is not touched.

mod lag;
mod profile;
mod spot_role;
mod worker_profile;

pub(crate) use lag::PAUSES;
pub(crate) use worker_profile::{FoundPolicy, FoundWorkerProfile};

/// Whether something had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It was made.
    Created,
    /// It was there.
    Unchanged,
}
