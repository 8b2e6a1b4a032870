//! The policy simulator behind `provisionerd simulate`.
//!
//! It answers two questions before a policy is deployed: how many instance-hours does it cost, and how
//! long do tasks wait? A [`load`] is run by the instances of one worker type ([`simulation`]) under a
//! [`policy`], perhaps in a recorded spot market ([`spot`]), and [`report`] compares several policies side
//! by side.
//!
//! Unlike `provisioner-sim`, it runs the policies alone, without the engine and without EC2's API, which
//! makes it fast enough for days of a busy queue. The same seed gives the same result to the byte.

pub mod load;
pub mod policy;
pub mod report;
pub mod simulation;
pub mod spot;
mod time;
