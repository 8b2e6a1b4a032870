//! The decision engine in a simulated world: an EC2 that lags, refuses, loses answers and races; a queue;
//! a disk; and crashes between any two steps.
//!
//! `PROVISIONER_SEEDS=n` plays n random worlds instead of the usual number; `PROVISIONER_SEED=s` plays only
//! that world and prints its story.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod consent;
mod crashes;
mod knowledge;
mod ledgers;
mod places;
mod plans;
mod planted_bugs;
mod policies;
mod random_worlds;
mod refusals;
mod scenarios;
mod stories;
