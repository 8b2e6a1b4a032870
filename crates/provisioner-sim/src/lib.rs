//! A simulated EC2 and task queue in virtual time, in which the provisioner's engine runs unchanged.
//!
//! [`world`] misbehaves as EC2 does, by chance from one seed ([`chance`]) or on demand ([`faults`]);
//! [`driver`] is the loop around an engine, with a disk and crashes; [`judge`] holds every step against
//! what must hold, in worlds by chance ([`random`]) too; [`replay`] has it serve a load; [`wire`] is the world in EC2's own protocol. Same
//! seed, same run, to the byte. Nothing in here speaks to a network or reads a clock.
//!
//! Beside it stands a smaller and much faster one, for measuring policies: a [`load`] is run by one
//! worker type's [`fleet`], and [`report`] compares what it comes to.
//!
//! ```
//! use std::sync::Arc;
//!
//! use provisioner_sim::deployment::{at, mins, name, settings, start, worker_type};
//! use provisioner_sim::driver::Driver;
//! use provisioner_sim::queue::Knowledge;
//! use provisioner_sim::world::World;
//!
//! let settings = settings([("linux", worker_type(&["c7g.large"], 10))]);
//! let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, start());
//! world.add_tasks(&name("linux"), 3, mins(10));
//! let mut driver = Driver::new(world, &["us-west-2a"]);
//! driver.run(at(5 * 60));
//! assert_eq!(driver.world.queue.pending(&name("linux")), 0);
//! assert_eq!(driver.world.live().count(), 3);
//! ```

pub mod chance;
pub mod demo;
pub mod deployment;
pub mod driver;
pub mod faults;
pub mod fleet;
pub mod judge;
pub mod lagged;
pub mod load;
#[cfg(feature = "aws")]
pub mod loopback;
pub mod queue;
pub mod random;
pub mod replay;
pub mod report;
pub mod sabotage;
pub mod script;
#[cfg(feature = "aws")]
pub mod sdk_door;
pub mod wire;
pub mod world;
