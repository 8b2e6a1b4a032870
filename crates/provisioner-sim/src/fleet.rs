//! One worker type's instances under a policy, event by event.
//!
//! Small on purpose: what decides cost and waiting is in it (boots, billing, stale looks, which idle
//! worker is woken, reclaimed instances), and what EC2's API does is not. The policies are the daemon's
//! own ([`provisioner::policy`]). Four days of a busy pool take a fraction of a second.
//!
//! All chance is drawn per instance in the order of launches, so that two policies that launch alike see
//! the same boots.

mod bounds;
mod outcome;
mod run;
mod world;

pub use bounds::{Bounds, bounds};
pub use outcome::{Moment, Outcome, Waits};
pub use run::run;
pub use world::{Knowledge, Setup, Wake, World, WorldName};

#[cfg(test)]
mod market_tests;
#[cfg(test)]
mod self_test;
#[cfg(test)]
mod tests;
