//! IAM: the worker profile that `setup-aws` makes and `cleanup-aws` deletes, the service-linked role for
//! spot requests, and the instance profiles that a configuration names.
//!
//! Unlike everything else under a key-name, IAM's resources belong to all regions of an account. So they
//! are also tagged with the key-name's region, and resources with another region are not touched.

mod lag;
mod profile;
mod spot_role;
mod worker_profile;

pub(crate) use lag::PAUSES;
pub(crate) use worker_profile::{FoundPolicy, FoundWorkerProfile};

/// Whether a resource had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It was made.
    Created,
    /// It existed already.
    Unchanged,
}
