//! The instances of one worker type under a policy, simulated event by event.
//!
//! The model is small on purpose. It contains what decides cost and waiting (boots, billing, stale
//! observations, the choice of the idle worker that takes a task, reclaimed instances) and leaves out
//! EC2's API. The policies are the daemon's own ([`provisioner::internal::policy`]). Four days of a busy queue take
//! a fraction of a second.
//!
//! Random times are drawn per instance in the order of launches, so that two policies that launch alike
//! see the same boots.

mod bounds;
mod outcome;
mod run;
mod setup;

pub use bounds::{Bounds, bounds};
pub use outcome::{Distribution, Moment, Outcome};
pub use run::run;
pub use setup::{Setup, Wake, WorkerKnowledge, WorldModel, WorldName};

#[cfg(test)]
mod market_tests;
#[cfg(test)]
mod self_test;
#[cfg(test)]
mod tests;
