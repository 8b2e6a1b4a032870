//! A simulated EC2 and task queue in virtual time.
//!
//! Deterministic: all chance comes from one seed, a stream per purpose ([`chance`]). Nothing in here
//! speaks to a network or reads a clock.
//!
//! [`load`] has the tasks of a simulation.
#![forbid(unsafe_code)]

pub mod chance;
pub mod fleet;
pub mod load;
