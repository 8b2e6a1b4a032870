//! Test tools that no program links: they run the engine in the simulated world and judge it.
//!
//! [`invariants`] must hold of every plan and every call, whatever the world does; an [`Inspector`] checks
//! them at every step of a [`Driver`], keeps the story of its run, and can plant one of the [`planted_bugs`]
//! that the tests must catch. [`random`] makes worlds with random faults and shrinks those that fail.
//! [`script`] plays scenarios that a person can read.
//!
//! The tests of the engine and of the EC2 adapter in the simulated world are in `tests/` of this crate.

mod inspector;
pub mod invariants;
pub mod planted_bugs;
pub mod random;
pub mod script;

pub use inspector::Inspector;

/// A driver whose every step is checked.
pub type Driver = provisioner_sim::driver::Driver<Inspector>;
