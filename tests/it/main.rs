//! Process tests: the three programs over loopback against moto, looked at from outside.
//!
//! `harness` knows moto, the fake queue and processes, and nothing of the product's code. Each
//! other module is a theme. A test takes an account of its own, so all of them run in parallel.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

mod aws_profiles;
mod cleanup;
mod config_errors;
mod conformance;
mod crash;
mod demo;
mod harness_itself;
mod iam_calls;
mod iam_policy;
mod lifecycle;
mod limits;
mod metrics;
mod profile;
mod queue_faults;
mod readme;
mod reload;
mod run_rounds;
mod running;
mod setup;
mod should_stop;
mod soak;
mod status;
mod strays;
mod validate_aws;
