//! A simulated EC2 and task queue in virtual time, in which the provisioner's engine runs unchanged.
//!
//! The [`world`] misbehaves as EC2 does, at random from one seed ([`rng`]) or on demand ([`faults`]).
//! [`driver`] is the loop around an engine, with a disk and crashes. [`query_api`] is the world in EC2's
//! own protocol; with the feature `aws`, `sdk_transport` carries it to the real adapter and `http_server`
//! to other programs. [`demo`] is what `provisionerd demo` shows. The same seed gives the same run to the
//! byte. Except for `http_server`, nothing in here uses a network or reads a clock.
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
//! let mut driver: Driver = Driver::new(world, &["us-west-2a"]);
//! driver.run(at(5 * 60));
//! assert_eq!(driver.world.queue.pending(&name("linux")), 0);
//! assert_eq!(driver.world.live().count(), 3);
//! ```

pub mod demo;
pub mod deployment;
pub mod driver;
pub mod faults;
#[cfg(feature = "aws")]
pub mod http_server;
pub mod lagged;
pub mod query_api;
pub mod queue;
pub mod rng;
#[cfg(feature = "aws")]
pub mod sdk_transport;
#[cfg(feature = "aws")]
mod visitors_queue;
pub mod world;
mod written;
