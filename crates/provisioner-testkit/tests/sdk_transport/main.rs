//! The real EC2 adapter and the real daemon's rounds in the simulated world, through the SDK's own
//! transport and under paused time.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of it is test code; clippy's own exception knows test functions only"
)]

mod dropped;
mod effects;
mod http_server;
mod observing;
mod planted_bugs;
mod random_worlds;
mod rig;
mod running;
